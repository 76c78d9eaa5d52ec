//! `test`: exports what changed, runs the generated tests on libtorch, ends with a summary.
//!
//! The tests themselves write their outcomes to the results store; the table and the last line are read from
//! there, so that a test which never ran cannot be counted as passed.

use super::{export, failed, select::select, spec, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::engine;
use hf_conformance::report::{self, Record};
use hf_conformance::spec::{Check, Entry};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = "auto")]
    device: String,
    /// Only this check
    #[arg(long)]
    check: Option<String>,
    /// Skipped and not run are failures too
    #[arg(long, env = "HF_CONFORMANCE_STRICT", value_parser = clap::builder::FalseyValueParser::new())]
    strict: bool,
}

/// What every check of a run came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Tests that should have left a record and did not.
    lost: usize,
}

/// Runs the tests of the entries that the filters mean; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let checks = checks(arguments.check.as_deref())?;
    if engine::real().is_none() {
        bail!("this build has no libtorch; use: just test");
    }
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    println!("device {explained}");
    let exported = export::artifacts(&spec, &entries, false)?;
    let broken: BTreeSet<&str> =
        exported.iter().filter(|one| one.outcome.is_err()).map(|one| one.model.as_str()).collect();

    let planned: Vec<(&Entry, Check)> = entries
        .iter()
        .filter(|entry| !broken.contains(entry.name.as_str()))
        .flat_map(|entry| checks.iter().map(move |check| (*entry, *check)))
        .filter(|(entry, check)| check.omitted(entry).is_none())
        .collect();
    let run = format!("{}-{}", jiff::Timestamp::now().as_second(), std::process::id());
    let started = Instant::now();
    let whole = arguments.filter.is_empty() && arguments.check.is_none() && broken.is_empty();
    let (status, printed) = suite(&planned, whole, &run, &device.to_string())?;
    let records = report::read(&run).with_context(|| format!("reading {}", report::path().display()))?;

    for record in records.iter().filter(|record| record.status == "failed") {
        println!("\n{}", record.failure_text());
    }
    let tally = tally(&planned, &records, broken.len(), arguments.strict);
    if tally.lost > 0 || (!status.success() && tally.failed == 0) {
        println!("\n{printed}\nthe test process ended with {status}; {} test(s) left no result", tally.lost);
    }
    println!("\n{}", summary(&entries, &checks, &records, &broken));
    println!(
        "\n{} checks on {} models in {:.1} s",
        planned.len(),
        entries.len(),
        started.elapsed().as_secs_f64()
    );
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed + tally.lost, tally.skipped);
    let good = status.success() && tally.failed + tally.lost == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn checks(only: Option<&str>) -> Result<Vec<Check>> {
    let Some(name) = only else { return Ok(Check::ALL.to_vec()) };
    match Check::find(name) {
        Some(check) => Ok(vec![check]),
        None => bail!("no check is called '{name}'; there are: {}", Check::ALL.map(Check::name).join(", ")),
    }
}

/// Runs the test target on the planned tests; its exit status and all it printed.
fn suite(planned: &[(&Entry, Check)], whole: bool, run: &str, device: &str) -> Result<(ExitStatus, String)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet", "--features", "libtorch", "--test", "suite", "--"]);
    if !whole {
        // Exact names: `bert` must not run albert's tests.
        let name = |(entry, check): &(&Entry, Check)| {
            format!("libtorch::{}::{}::{}", entry.family.module(), entry.name.module(), check.name())
        };
        command.arg("--exact").args(planned.iter().map(name));
    }
    command.env("HF_CONFORMANCE_RUN", run).env("HF_CONFORMANCE_DEVICE", device);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if planned.is_empty() {
        return Ok((ExitStatus::default(), String::new()));
    }
    let mut child = command.spawn().context("starting cargo test")?;
    let bar = bar(planned.len());
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || read_all(stderr.as_mut()));
    let output = std::thread::spawn(move || read_all(stdout.as_mut()));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        bar.set_position(report::read(run).map_or(0, |records| records.len() as u64));
        std::thread::sleep(Duration::from_millis(200));
    };
    bar.finish_and_clear();
    let [output, errors] = [output, errors].map(|thread| thread.join().unwrap_or_default());
    Ok((status, format!("{output}{errors}")))
}

fn read_all(stream: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn bar(count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    if let Ok(style) = ProgressStyle::with_template("testing   {bar:30} {pos}/{len} [{elapsed}, {eta} left]")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Counts outcomes; every planned test without one is lost, every model that was not exported is a failure.
fn tally(planned: &[(&Entry, Check)], records: &[Record], broken: usize, strict: bool) -> Tally {
    let status: BTreeMap<(&str, &str), &str> = records
        .iter()
        .map(|record| ((record.model.as_str(), record.check.as_str()), record.status.as_str()))
        .collect();
    let mut tally = Tally { failed: broken, ..Tally::default() };
    for (entry, check) in planned {
        match status.get(&(entry.name.as_str(), check.name())) {
            Some(&"passed") => tally.passed += 1,
            Some(&"failed") => tally.failed += 1,
            Some(_) if strict => tally.failed += 1,
            Some(_) => tally.skipped += 1,
            None => tally.lost += 1,
        }
    }
    tally
}

/// Models × checks, one sign each.
fn summary(entries: &[&Entry], checks: &[Check], records: &[Record], broken: &BTreeSet<&str>) -> String {
    let mut rows = table(["model", "passed", "failed", "left out", "seconds", "failed checks"]);
    for entry in entries {
        let name = entry.name.as_str();
        let own: Vec<&Record> = records.iter().filter(|record| record.model == name).collect();
        let passed = own.iter().filter(|record| record.status == "passed").count();
        let failed: Vec<&str> = own
            .iter()
            .filter(|record| record.status == "failed")
            .map(|record| record.check.as_str())
            .collect();
        let left_out = checks.iter().filter(|check| check.omitted(entry).is_some()).count();
        let seconds: f64 = own.iter().map(|record| record.seconds).sum();
        let why = if broken.contains(name) { "export".to_owned() } else { failed.join(" ") };
        let failures = if broken.contains(name) { 1 } else { failed.len() };
        rows.add_row([
            name.to_owned(),
            passed.to_string(),
            failures.to_string(),
            left_out.to_string(),
            format!("{seconds:.2}"),
            why,
        ]);
    }
    rows.to_string()
}
