//! `export`: artifacts for what changed.

use super::{failed, select::select, spec};
use anyhow::Result;
use clap::Args;
use hf_conformance::artifact::{self, Format};
use hf_conformance::export::{self, ExportPlan, Exported, FaultOf, Order, Progress};
use hf_conformance::failure::Failure;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::report::typed::Typed;
use hf_conformance::spec::{Entry, Spec};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// Also export what is up to date
    #[arg(long)]
    force: bool,
    /// torchscript, or pt2 for its programs beside the others
    #[arg(long, env = "HF_CONFORMANCE_ENGINE", default_value = super::TORCHSCRIPT)]
    engine: Format,
}

/// Exports and says what became of it; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let exported = artifacts(&spec, &entries, arguments.engine, arguments.force)?;
    let failed = exported.iter().filter(|one| one.outcome.is_err()).count();
    let fresh = exported.iter().filter(|one| matches!(one.outcome, Ok(None))).count();
    let interrupted = exported.iter().filter(|one| one.fault_of == FaultOf::Interrupt).count();
    let made = exported.len() - fresh - failed;
    let failed = failed - interrupted;
    let not_tried = if interrupted > 0 { format!(", {interrupted} not tried") } else { String::new() };
    println!("{made} exported, {fresh} up to date, {failed} failed{not_tried}");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Exports what changed among `entries` under a progress bar, with programs for that engine; failures are printed as they
/// come.
pub fn artifacts(spec: &Spec, entries: &[&Entry], engine: Format, force: bool) -> Result<Vec<Exported>> {
    let orders = entries.iter().map(|entry| Order::plain(entry)).collect();
    carry_out(spec, orders, engine, force, artifact::root(), &|model| {
        Typed::export([model]).engine(engine).flag("--force", force)
    })
}

/// Carries out orders below `root` under a progress bar; failures are printed as they come, each with the command that `again` gives
/// for its model: the very one that was typed, where its orders are not plain.
///
/// Programs for another engine than TorchScript come after the artifact, whose failure is theirs.
pub fn carry_out(
    spec: &Spec,
    orders: Vec<Order>,
    engine: Format,
    force: bool,
    root: PathBuf,
    again: &dyn Fn(&str) -> Typed,
) -> Result<Vec<Exported>> {
    let artifacts = Format::TorchScript;
    let mut plan = ExportPlan { spec, orders, format: artifacts, force: force && engine == artifacts, root };
    let exported = carried_out(&plan, again, Step::Export)?;
    if engine == artifacts {
        return Ok(exported);
    }
    let (good, mut done): (Vec<_>, Vec<_>) = exported.into_iter().partition(|one| one.outcome.is_ok());
    let is_good = |order: &Order| good.iter().any(|one| one.model == order.entry.name.as_str());
    plan.orders.retain(is_good);
    done.extend(carried_out(&ExportPlan { format: engine, force, ..plan }, again, Step::ExportGraphs)?);
    Ok(done)
}

fn carried_out(plan: &ExportPlan, again: &dyn Fn(&str) -> Typed, step: Step) -> Result<Vec<Exported>> {
    let (bar, started) = (Bar::telling(again), Instant::now());
    let exported = export::export(plan, &bar).map_err(|failure| failed(&failure))?;
    bar.end();
    let made = exported.iter().filter(|one| matches!(one.outcome, Ok(Some(_)))).count();
    cost::keep(step, made, started.elapsed())?;
    Ok(exported)
}

/// A progress bar over models; silent when standard error is not a terminal.
pub struct Bar<'a> {
    bar: OnceCell<ProgressBar>,
    /// What repeats the export of a model; none where failures are the caller's to tell.
    again: Option<&'a dyn Fn(&str) -> Typed>,
}

impl<'a> Bar<'a> {
    /// A bar that leaves it to the caller to tell of failures.
    pub fn quiet() -> Self {
        Self { bar: OnceCell::new(), again: None }
    }

    /// A bar that prints failures as they come.
    fn telling(again: &'a dyn Fn(&str) -> Typed) -> Self {
        Self { bar: OnceCell::new(), again: Some(again) }
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar<'_> {
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
        // Whoever interrupts knows that, and need not hear it of every model.
        let again = self.again.filter(|_| exported.fault_of != FaultOf::Interrupt);
        if let (Err(failure), Some(again)) = (&exported.outcome, again) {
            bar.suspend(|| eprintln!("{}", text(exported, failure, &again(&exported.model))));
        }
        bar.inc(1);
    }
}

/// A failed export as people read it: `NOT RUN` where the exporter did not come to the model.
fn text(exported: &Exported, failure: &Failure, again: &Typed) -> String {
    let word = match exported.fault_of {
        FaultOf::Model => "FAILED",
        FaultOf::Environment | FaultOf::Exporter | FaultOf::Interrupt => "NOT RUN",
    };
    let details: String = failure.details.iter().map(|detail| format!("\n  | {detail}")).collect();
    format!(
        "{word} {} · stage {}\n  {}{details}\n  again: {again}",
        exported.model, failure.stage, failure.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hf_conformance::failure::Stage;

    #[test]
    fn a_failed_export_ends_in_the_command_that_was_typed() {
        let failure = Failure::new(Stage::Export, "no such folder").with("OSError");
        let exported = |fault_of| Exported {
            model: "bert".to_owned(),
            fault: None,
            outcome: Err(failure.clone()),
            fault_of,
        };
        let again = Typed::run("bert", Some("some/folder"), &[("batch".to_owned(), 3)], Some("cuda:0"));
        assert_eq!(
            text(&exported(FaultOf::Model), &failure, &again),
            "FAILED bert · stage export\n  no such folder\n  | OSError\n  \
            again: just run bert --weights some/folder --size batch=3 --device cuda:0"
        );
        assert!(text(&exported(FaultOf::Environment), &failure, &again).starts_with("NOT RUN bert"));
    }
}
