//! `test`: exports what changed, runs the generated tests on libtorch, ends with a summary.

use super::progress::{bar, spinner};
use super::testing::{Options, begin, end};
use super::{regenerate, spec};
use anyhow::{Context, Result};
use hf_conformance::process::{self, Process};
use hf_conformance::report;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::report::journal::{Item, Journal};
use hf_conformance::runner::{BrokeOff, Planned, TestRun, carry_out};
use hf_conformance::spec::Spec;
use hf_conformance::typed::test_path;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

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
    let (mut run, built) = (run?, built.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    let broken = match (run.planned.is_empty() || process::interrupted().is_some(), built) {
        (true, _) => Vec::new(),
        (false, Err(broken)) => vec![broken],
        (false, Ok(program)) => suite(&mut run, &program, options)?,
    };
    end(run, &broken, options.strict, started.elapsed())
}

/// Compiles the test target; what the compiler said if it failed.
fn build(spec: &Spec) -> Result<Result<PathBuf, BrokeOff>> {
    let started = Instant::now();
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(["test", "--quiet", "--features", "libtorch", "--test", "suite", "--no-run"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let spinner = spinner("compiling the tests");
    let output = process::output(&mut command).context("starting cargo test")?;
    spinner.finish_and_clear();
    let said = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    if !output.status.success() {
        let why = format!("the tests were not compiled: cargo ended with {}", output.status);
        return Ok(Err(BrokeOff::new(why, said(&output.stderr))));
    }
    let messages = said(&output.stdout);
    let (program, compiled) = built(&messages);
    if compiled {
        cost::keep(Step::Build, spec.entries.len(), started.elapsed())?;
    }
    program.map(Ok).context("cargo named no test program")
}

/// The test program that cargo's messages name, and whether anything was compiled.
fn built(messages: &str) -> (Option<PathBuf>, bool) {
    #[derive(Deserialize)]
    struct Message {
        fresh: Option<bool>,
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages.fold((None, false), |(program, compiled), message| {
        let is_suite = message.target.is_some_and(|target| target.name == "suite");
        (message.executable.filter(|_| is_suite).or(program), compiled || message.fresh == Some(false))
    })
}

/// Runs the test program on the planned checks; what it printed if it did not end well.
fn suite(run: &mut TestRun, program: &Path, options: &Options) -> Result<Vec<BrokeOff>> {
    let (bar, started) = (bar("checking", run.planned.len()), Instant::now());
    let start = |run: &TestRun, checks: &[Item], alone: bool, journal: &Journal| {
        start(program, run, checks, alone, journal)
    };
    let broken = carry_out(run, &start, &options.limits.asked(), &|checks| bar.inc(checks as u64))?;
    bar.finish_and_clear();
    if process::interrupted().is_none() {
        cost::keep(Step::Test, run.models(), started.elapsed())?;
    }
    Ok(broken)
}

/// Starts the test program on some checks of a run: on as many at a time as there are processors, or one, where they are
/// alone.
fn start(
    program: &Path,
    run: &TestRun,
    checks: &[Item],
    alone: bool,
    journal: &Journal,
) -> io::Result<Process> {
    let mut command = Command::new(program);
    command
        .arg("--quiet")
        .env(report::RUN, report::run())
        .env("HF_CONFORMANCE_ENGINE", run.lane.format.name())
        .env("HF_CONFORMANCE_DEVICE", run.lane.device.to_string())
        .env("HF_CONFORMANCE_HALF", run.lane.half.name());
    if alone {
        command.arg("--test-threads=1");
    }
    if !(run.is_whole() && checks.len() == run.planned.len()) {
        let asked: BTreeSet<(&str, &str)> =
            checks.iter().map(|(model, check)| (model.as_str(), check.as_str())).collect();
        let is_asked = |(entry, check): &&Planned| asked.contains(&(entry.name.as_str(), check.name()));
        let name = |(entry, check): &Planned| test_path("libtorch", &entry.family, &entry.name, *check);
        // Exact names: `bert` must not run albert's tests.
        command.arg("--exact").args(run.planned.iter().filter(is_asked).map(name));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Process::spawn(journal.of(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_told_from_what_else_cargo_names() {
        let messages = r#"{"reason": "compiler-artifact", "target": {"name": "hf-conformance"}, "executable": "a", "fresh": false}
            {"reason": "compiler-artifact", "target": {"name": "suite"}, "executable": "target/suite-1", "fresh": true}
            {"reason": "build-finished", "success": true}"#;
        assert_eq!(built(messages), (Some("target/suite-1".into()), true));
        assert_eq!(built(r#"{"reason": "build-finished", "success": true}"#), (None, false));
    }
}
