//! `test`: exports what changed, runs the generated tests on libtorch, ends with a summary.

use super::progress::{bar, spinner};
use super::testing::{BrokeOff, Options, begin, end};
use super::{regenerate, spec};
use anyhow::{Context, Result};
use hf_conformance::report;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::report::typed::test_path;
use hf_conformance::runner::TestRun;
use hf_conformance::spec::{Check, Entry, Spec};
use serde::Deserialize;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Runs the tests of the entries that the filters mean; a failure is exit code 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let spec = spec()?;
    regenerate(&spec)?;
    // Compiling and exporting need nothing of each other.
    let (run, built) = std::thread::scope(|scope| {
        let built = scope.spawn(|| build(&spec));
        (begin(&spec, options), built.join())
    });
    let (run, built) = (run?, built.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    let broke_off = match (run.planned.is_empty(), built) {
        (true, _) => None,
        (false, Some(broken)) => Some(broken),
        (false, None) => suite(&run)?,
    };
    end(run, broke_off.as_ref(), options.strict, started.elapsed())
}

/// Compiles the test target; what the compiler said if it failed.
fn build(spec: &Spec) -> Result<Option<BrokeOff>> {
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
        let why = format!("the tests were not compiled: cargo ended with {}", output.status);
        return Ok(Some(BrokeOff { why, said: said(&output.stderr) }));
    }
    let messages = said(&output.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    if messages.any(|message| message.fresh == Some(false)) {
        cost::keep(Step::Build, spec.entries.len(), started.elapsed())?;
    }
    Ok(None)
}

/// Runs the test target on the planned checks; what it printed if it did not end well.
fn suite(run: &TestRun) -> Result<Option<BrokeOff>> {
    let mut command = cargo_test();
    command.arg("--");
    if !run.is_whole() {
        // Exact names: `bert` must not run albert's tests.
        let name =
            |(entry, check): &(&Entry, Check)| test_path("libtorch", &entry.family, &entry.name, *check);
        command.arg("--exact").args(run.planned.iter().map(name));
    }
    command.env("HF_CONFORMANCE_RUN", report::run()).env("HF_CONFORMANCE_DEVICE", run.device.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().context("starting cargo test")?;
    let (bar, mut growth) = (bar("checking", run.planned.len()), run.growth());
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || read_all(stderr.as_mut()));
    let output = std::thread::spawn(move || read_all(stdout.as_mut()));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        bar.set_position(growth.lines() as u64);
        std::thread::sleep(Duration::from_millis(200));
    };
    bar.finish_and_clear();
    cost::keep(Step::Test, run.models(), started.elapsed())?;
    let [output, errors] = [output, errors].map(|thread| thread.join().unwrap_or_default());
    let why = format!("the test process ended with {status}");
    Ok((!status.success()).then(|| BrokeOff { why, said: format!("{output}{errors}") }))
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
