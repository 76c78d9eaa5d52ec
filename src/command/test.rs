//! `test`: exports what changed, runs the generated tests on libtorch, ends with a summary.

use super::round::{Options, Round};
use super::spec;
use anyhow::{Context, Result};
use hf_conformance::spec::{Check, Entry};
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Runs the tests of the entries that the filters mean; a failure is exit code 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    let spec = spec()?;
    // Compiling and exporting need nothing of each other. Whatever is wrong is said by the build that `suite` starts.
    let mut ahead = cargo(&["--no-run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting cargo test")?;
    let round = Round::begin(&spec, options);
    ahead.wait()?;
    let round = round?;
    let broke_off = if round.planned.is_empty() { None } else { suite(&round, round.is_whole(&spec))? };
    round.end(broke_off)
}

/// `cargo test` of the generated modules.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(["test", "--quiet", "--features", "libtorch", "--test", "suite"]).args(arguments);
    command
}

/// Runs the test target on the planned checks; what it printed if it did not end well.
fn suite(round: &Round, whole: bool) -> Result<Option<String>> {
    let mut command = cargo(&["--"]);
    if !whole {
        // Exact names: `bert` must not run albert's tests.
        let name = |(entry, check): &(&Entry, Check)| {
            format!("libtorch::{}::{}::{}", entry.family.module(), entry.name.module(), check.name())
        };
        command.arg("--exact").args(round.planned.iter().map(name));
    }
    command.env("HF_CONFORMANCE_RUN", &round.run).env("HF_CONFORMANCE_DEVICE", round.device.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting cargo test")?;
    let bar = round.bar();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || read_all(stderr.as_mut()));
    let output = std::thread::spawn(move || read_all(stdout.as_mut()));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        bar.set_position(round.records().map_or(0, |records| records.len() as u64));
        std::thread::sleep(Duration::from_millis(200));
    };
    bar.finish_and_clear();
    let [output, errors] = [output, errors].map(|thread| thread.join().unwrap_or_default());
    Ok((!status.success()).then(|| format!("{output}{errors}\nthe test process ended with {status}")))
}

fn read_all(stream: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
