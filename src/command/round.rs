//! A round of checks: which models and checks it is about, and how it ends.
//!
//! `test` carries a round out through the generated modules, `check` straight from the spec; both end in the
//! same table and the same last line, read from the results store, so that a check which never ran cannot be
//! counted as passed.

use super::{export, failed, select::select, show, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::CellAlignment;
use hf_conformance::engine::{self, Device};
use hf_conformance::failure::Failure;
use hf_conformance::model::Subject;
use hf_conformance::numerics::Tolerance;
use hf_conformance::report::junit::{self, Planned};
use hf_conformance::report::{self, About, Record, github};
use hf_conformance::spec::{Check, Entry, Spec};
use hf_conformance::verdict::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Models, families or tasks; everything when left out
    pub filter: Vec<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = "auto")]
    pub device: String,
    /// Only this check
    #[arg(long)]
    pub check: Option<String>,
    /// Skipped and not run are failures too
    #[arg(long, env = "HF_CONFORMANCE_STRICT", value_parser = clap::builder::FalseyValueParser::new())]
    pub strict: bool,
}

/// Models and checks of one run, their artifacts made.
pub struct Round<'a> {
    pub device: Device,
    /// Every check that is due and can run: its model has an artifact.
    pub planned: Vec<(&'a Entry, Check)>,
    due: Vec<(&'a Entry, Check)>,
    entries: Vec<&'a Entry>,
    checks: Vec<Check>,
    /// Models whose export failed: with that, all their checks have failed.
    broken: BTreeSet<String>,
    strict: bool,
    started: Instant,
    /// Where the results store ended before.
    place: u64,
}

/// What every check of a round came to.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Checks that should have left a record and did not.
    lost: usize,
}

impl<'a> Round<'a> {
    /// Chooses models, checks and device, and exports what changed.
    ///
    /// # Errors
    /// Unknown models or checks, an absent device, a build without libtorch, no Python environment.
    pub fn begin(spec: &'a Spec, options: &Options) -> Result<Self> {
        let started = Instant::now();
        let entries = select(spec, &options.filter)?;
        let checks = checks(options.check.as_deref())?;
        if engine::real().is_none() {
            bail!("this build has no libtorch; use: just test");
        }
        let (device, explained) = engine::choose(&options.device).map_err(|failure| failed(&failure))?;
        println!("device {explained}");
        let place = report::end();
        let due: Vec<(&Entry, Check)> = entries
            .iter()
            .flat_map(|entry| checks.iter().map(move |check| (*entry, *check)))
            .filter(|(entry, check)| check.omitted(entry).is_none())
            .collect();
        let mut broken = BTreeMap::new();
        for one in export::artifacts(spec, &entries, false)? {
            if let Err(failure) = one.outcome {
                broken.insert(one.model, failure);
            }
        }
        let (lost, planned): (Vec<_>, Vec<_>) =
            due.iter().partition(|(entry, _)| broken.contains_key(entry.name.as_str()));
        for (entry, check) in lost {
            record(spec, entry, check, device, &broken[entry.name.as_str()])?;
        }
        Ok(Self {
            device,
            planned,
            due,
            entries,
            checks,
            broken: broken.into_keys().collect(),
            strict: options.strict,
            started,
            place,
        })
    }

    /// Whether every check of every model of the spec is due.
    pub fn is_whole(&self, spec: &Spec) -> bool {
        self.entries.len() == spec.entries.len()
            && self.checks.len() == Check::ALL.len()
            && self.broken.is_empty()
    }

    /// How many models have checks that are due.
    pub fn models(&self) -> usize {
        self.planned.chunk_by(|(a, _), (b, _)| std::ptr::eq(*a, *b)).count()
    }

    /// What the checks of this round have left so far.
    pub fn records(&self) -> std::io::Result<Vec<Record>> {
        let since = report::read_since(self.place)?;
        Ok(since.into_iter().filter(|record| record.run == report::run()).collect())
    }

    /// A progress bar over the planned checks.
    pub fn bar(&self) -> ProgressBar {
        bar("checking", self.planned.len())
    }

    /// Prints every failure, what the process that ran the checks said if it broke off, a line per model and the
    /// closing line; failure is exit code 1.
    pub fn end(self, broke_off: Option<String>) -> Result<ExitCode> {
        let records = self.records().with_context(|| format!("reading {}", report::path().display()))?;
        print_failures(&records);
        self.tell_ci(&records)?;
        let tally = self.tally(&records);
        if let (Some(said), true) = (&broke_off, tally.failed == 0 || tally.lost > 0) {
            println!("\n{said}\n{} check(s) left no result", tally.lost);
        }
        show(format!("\n{}", self.summary(&records)))?;
        self.print_paid_debt(&records);
        let seconds = self.started.elapsed().as_secs_f64();
        println!("\n{} checks on {} models in {seconds:.1} s", self.due.len(), self.entries.len());
        let failed = tally.failed + tally.lost;
        println!("{} passed, {failed} failed, {} skipped", tally.passed, tally.skipped);
        Ok(if failed == 0 && broke_off.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Writes the JUnit report beside the results; in GitHub Actions, puts every failure beside its entry.
    fn tell_ci(&self, records: &[Record]) -> Result<()> {
        let due = |entry: &Entry| {
            let own = self.due.iter().filter(|(due, _)| std::ptr::eq(*due, entry));
            own.map(|(_, check)| check.name()).collect()
        };
        let planned = self.entries.iter().map(|entry| Planned {
            model: entry.name.as_str(),
            family: entry.family.as_str(),
            checks: due(entry),
        });
        let xml = junit::xml(&Vec::from_iter(planned), records)?;
        let path = report::path().with_file_name("junit.xml");
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, xml).with_context(|| path.display().to_string())?;
        if std::env::var_os("GITHUB_ACTIONS").is_some() {
            for (record, _) in report::failures(records) {
                if let Some(entry) = self.entries.iter().find(|entry| entry.name.as_str() == record.model) {
                    println!("{}", github::annotation(record, &entry.place));
                }
            }
        }
        Ok(())
    }

    /// Counts outcomes; every check that was due and has none is lost.
    fn tally(&self, records: &[Record]) -> Tally {
        let status: BTreeMap<(&str, &str), &str> = records
            .iter()
            .map(|record| ((record.model.as_str(), record.check.as_str()), record.status.as_str()))
            .collect();
        let mut tally = Tally::default();
        for (entry, check) in &self.due {
            match status.get(&(entry.name.as_str(), check.name())) {
                Some(&"passed") => tally.passed += 1,
                Some(&"failed") => tally.failed += 1,
                Some(_) if self.strict => tally.failed += 1,
                Some(_) => tally.skipped += 1,
                None => tally.lost += 1,
            }
        }
        tally
    }

    /// Looser tolerances that their outputs no longer need, with what to take out of the spec.
    fn print_paid_debt(&self, records: &[Record]) {
        for entry in &self.entries {
            for debt in &entry.tolerance {
                let usual = Tolerance::of(debt.check.dtype());
                let own = records.iter().filter(|record| {
                    record.model == entry.name.as_str() && record.check == debt.check.name()
                });
                let mut metrics = own
                    .filter(|record| record.status == "passed")
                    .flat_map(|record| &record.metrics)
                    .filter(|metric| debt.output.is_none_or(|output| output == metric.output))
                    .peekable();
                if metrics.peek().is_some() && metrics.all(|metric| metric.agreement.holds_with(usual)) {
                    let (check, k) = (debt.check.name(), debt.k);
                    println!(
                        "\n{} passes {check} without its looser tolerance; take out of {}:",
                        entry.name, entry.place
                    );
                    println!("    tolerance:\n    - {{check: {check}, k: {k}, …}}");
                }
            }
        }
    }

    /// A line per model.
    fn summary(&self, records: &[Record]) -> String {
        let mut rows = table(["model", "passed", "failed", "left out", "seconds", "failed checks"]);
        if let Some(words) = rows.column_mut(5) {
            words.set_cell_alignment(CellAlignment::Left);
        }
        for entry in &self.entries {
            let name = entry.name.as_str();
            let own: Vec<&Record> = records.iter().filter(|record| record.model == name).collect();
            let passed = own.iter().filter(|record| record.status == "passed").count();
            let failed = own.iter().filter(|record| record.status == "failed");
            let failed: Vec<&str> = failed.map(|record| record.check.as_str()).collect();
            let words = if self.broken.contains(name) {
                "all: the export failed".to_owned()
            } else {
                failed.join(" ")
            };
            let left_out = self.checks.iter().filter(|check| check.omitted(entry).is_some()).count();
            let seconds = own.iter().fold(0.0, |sum, record| sum + record.seconds);
            rows.add_row([
                name.to_owned(),
                passed.to_string(),
                failed.len().to_string(),
                left_out.to_string(),
                format!("{seconds:.2}"),
                words,
            ]);
        }
        rows.to_string()
    }
}

/// A progress bar with its time left; silent when standard error is not a terminal.
pub fn bar(doing: &str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    let template = format!("{doing:<9} {{bar:30}} {{pos}}/{{len}} [{{elapsed}}, {{eta}} left]");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What shows that something without steps is being done; silent when standard error is not a terminal.
pub fn spinner(doing: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {doing} [{{elapsed}}]")) {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// Every failure; one that stopped all checks of a model in the same way is told once.
fn print_failures(records: &[Record]) {
    for (record, others) in report::failures(records) {
        println!("\n{}", record.failure_text());
        if !others.is_empty() {
            println!("  the same stopped: {}", others.join(", "));
        }
    }
}

/// Records a check that could not run, since its model's export failed.
fn record(spec: &Spec, entry: &Entry, check: Check, device: Device, failure: &Failure) -> Result<()> {
    let subject = Subject::new(entry, &spec.versions);
    let about =
        About { card: &subject.card(), contract: entry.task, check, device: Some(device), manifest: None };
    report::append(&Record::new(&about, &Outcome::Failed(failure.clone()), &[], Duration::ZERO))?;
    Ok(())
}

fn checks(only: Option<&str>) -> Result<Vec<Check>> {
    let Some(name) = only else { return Ok(Check::ALL.to_vec()) };
    match Check::find(name) {
        Some(check) => Ok(vec![check]),
        None => bail!("no check is called '{name}'; there are: {}", Check::ALL.map(Check::name).join(", ")),
    }
}
