//! `test`: exports what changed, runs the generated tests on libtorch, ends with a summary.

use super::round::{Options, Round, spinner};
use super::{regenerate, spec};
use anyhow::{Context, Result};
use hf_conformance::report;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::spec::{Check, Entry, Spec};
use serde::Deserialize;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Runs the tests of the entries that the filters mean; a failure is exit code 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    let spec = spec()?;
    regenerate(&spec)?;
    // Compiling and exporting need nothing of each other.
    let (round, built) = std::thread::scope(|scope| {
        let built = scope.spawn(|| build(&spec));
        (Round::begin(&spec, options), built.join())
    });
    let (round, built) = (round?, built.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    let broke_off = match round.planned.is_empty() {
        true => None,
        false => built.map_or_else(|| suite(&round, round.is_whole(&spec)), |said| Ok(Some(said)))?,
    };
    round.end(broke_off)
}

/// Compiles the test target; what the compiler said if it failed.
fn build(spec: &Spec) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Message {
        fresh: Option<bool>,
    }
    let started = Instant::now();
    let mut command = cargo_test();
    command.args(["--no-run", "--message-format", "json-render-diagnostics"]);
    let spinner = spinner("compiling the tests");
    let output = command.stderr(Stdio::piped()).output().context("starting cargo test")?;
    spinner.finish_and_clear();
    let said = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    if !output.status.success() {
        let errors = said(&output.stderr);
        return Ok(Some(format!(
            "{errors}\nthe tests were not compiled: cargo ended with {}",
            output.status
        )));
    }
    let messages = said(&output.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    if messages.any(|message| message.fresh == Some(false)) {
        cost::keep(Step::Build, spec.entries.len(), started.elapsed())?;
    }
    Ok(None)
}

/// Runs the test target on the planned checks; what it printed if it did not end well.
fn suite(round: &Round, whole: bool) -> Result<Option<String>> {
    let mut command = cargo_test();
    command.arg("--");
    if !whole {
        // Exact names: `bert` must not run albert's tests.
        let name = |(entry, check): &(&Entry, Check)| {
            format!("libtorch::{}::{}::{}", entry.family.module(), entry.name.module(), check.name())
        };
        command.arg("--exact").args(round.planned.iter().map(name));
    }
    command.env("HF_CONFORMANCE_RUN", report::run()).env("HF_CONFORMANCE_DEVICE", round.device.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
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
    cost::keep(Step::Test, round.models(), started.elapsed())?;
    let [output, errors] = [output, errors].map(|thread| thread.join().unwrap_or_default());
    Ok((!status.success()).then(|| format!("{output}{errors}\nthe test process ended with {status}")))
}

/// `cargo test` on the test target, as both its halves need it.
fn cargo_test() -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(["test", "--quiet", "--features", "libtorch", "--test", "suite"]);
    command
}

fn read_all(stream: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
