//! `export`: artifacts for what changed.

use super::{failed, select::select, spec};
use anyhow::Result;
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::export::{self, Exported, Order, Plan, Progress};
use hf_conformance::report::cost::{self, Step};
use hf_conformance::spec::{Entry, Spec};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// Also export what is up to date
    #[arg(long)]
    force: bool,
}

/// Exports and says what became of it; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let exported = artifacts(&spec, &entries, arguments.force)?;
    let failed = exported.iter().filter(|one| one.outcome.is_err()).count();
    let fresh = exported.iter().filter(|one| matches!(one.outcome, Ok(None))).count();
    println!("{} exported, {fresh} up to date, {failed} failed", exported.len() - fresh - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Exports what changed among `entries` under a progress bar; failures are printed as they come.
pub fn artifacts(spec: &Spec, entries: &[&Entry], force: bool) -> Result<Vec<Exported>> {
    carry_out(spec, entries.iter().map(|entry| Order::plain(entry)).collect(), force)
}

/// Carries out orders under a progress bar; failures are printed as they come.
pub fn carry_out(spec: &Spec, orders: Vec<Order>, force: bool) -> Result<Vec<Exported>> {
    let plan = Plan { spec, orders, force, root: artifact::root() };
    let (bar, started) = (Bar::default(), Instant::now());
    let exported = export::export(&plan, &bar).map_err(|failure| failed(&failure))?;
    bar.end();
    let made = exported.iter().filter(|one| matches!(one.outcome, Ok(Some(_)))).count();
    cost::keep(Step::Export, made, started.elapsed())?;
    Ok(exported)
}

/// A progress bar over models; silent when standard error is not a terminal.
#[derive(Default)]
pub struct Bar {
    bar: OnceCell<ProgressBar>,
    /// Failures are the caller's to tell.
    quiet: bool,
}

impl Bar {
    /// A bar that leaves it to the caller to tell of failures.
    pub fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn begin(&self, count: usize) {
        let bar = self.bar.get_or_init(|| ProgressBar::new(count as u64));
        bar.reset();
        bar.set_length(count as u64);
        let template = "exporting {bar:30} {pos}/{len} [{elapsed}, {eta} left] {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn started(&self, model: &str) {
        if let Some(bar) = self.bar.get() {
            bar.set_message(model.to_owned());
        }
    }

    fn finished(&self, exported: &Exported) {
        let Some(bar) = self.bar.get() else { return };
        if let (Err(failure), false) = (&exported.outcome, self.quiet) {
            bar.suspend(|| {
                eprintln!("FAILED {} · stage {}\n  {}", exported.model, failure.stage, failure.message);
                failure.details.iter().for_each(|detail| eprintln!("  | {detail}"));
                eprintln!("  again: just export {}", exported.model);
            });
        }
        bar.inc(1);
    }
}
