//! `export`: artifacts for what changed.

use super::{failed, select::select, spec};
use anyhow::Result;
use clap::Args;
use hf_conformance::artifact::{self, Beside, Format, Lane};
use hf_conformance::engine;
use hf_conformance::export::{self, Anew, ExportPlan, Exported, FaultOf, Order, Progress};
use hf_conformance::failure::Failure;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::spec::{Entry, Spec};
use hf_conformance::task::Dtype;
use hf_conformance::typed::Typed;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// Also export what is up to date
    #[arg(long)]
    force: bool,
    /// Take what somebody else made of the same entries as it is, from now on: programs are code
    #[arg(long, env = "HF_CONFORMANCE_TRUST", conflicts_with = "force", value_parser = clap::builder::FalseyValueParser::new())]
    trust: bool,
    /// torchscript, or pt2 or aot for its programs beside the others
    #[arg(long, env = "HF_CONFORMANCE_ENGINE", default_value = super::TORCHSCRIPT)]
    engine: Format,
    /// What aot compiles for and half precision is computed on: auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    device: String,
    /// The half precision that is wanted: bfloat16 or float16
    #[arg(long, env = "HF_CONFORMANCE_HALF", default_value = super::BFLOAT16, value_parser = artifact::half)]
    half: Dtype,
}

/// Exports and says what became of it; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let (device, _) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let lane = Lane::new(arguments.engine, device).with_half(arguments.half).map_err(anyhow::Error::msg)?;
    let anew = match (arguments.force, arguments.trust) {
        (true, _) => Anew::All,
        (_, true) => Anew::Trusting,
        _ => Anew::Due,
    };
    let exported = artifacts(&spec, &entries, lane, anew)?;
    let failed = exported.iter().filter(|one| one.outcome.is_err()).count();
    let fresh = exported.iter().filter(|one| matches!(one.outcome, Ok(None))).count();
    let interrupted = exported.iter().filter(|one| one.fault_of == FaultOf::Interrupt).count();
    let made = exported.len() - fresh - failed;
    let failed = failed - interrupted;
    let not_tried = if interrupted > 0 { format!(", {interrupted} not tried") } else { String::new() };
    println!("{made} exported, {fresh} up to date, {failed} failed{not_tried}");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Exports what changed among `entries` under a progress bar, with what programs of that format need on a device;
/// failures are printed as they come.
pub fn artifacts(spec: &Spec, entries: &[&Entry], lane: Lane, anew: Anew) -> Result<Vec<Exported>> {
    let orders = entries.iter().map(|entry| Order::plain(entry)).collect();
    let needed = lane.needed().into_iter().next();
    carry_out(spec, orders, lane, anew, artifact::root(), &|model| {
        let typed = Typed::export([model]);
        needed.into_iter().fold(typed, |typed, what| what.made_by(typed)).flag("--force", anew == Anew::All)
    })
}

/// Carries out orders below `root` under a progress bar; failures are printed as they come, each with the command that `again` gives
/// for its model: the very one that was typed, where its orders are not plain.
pub fn carry_out(
    spec: &Spec,
    orders: Vec<Order>,
    lane: Lane,
    anew: Anew,
    root: PathBuf,
    again: &dyn Fn(&str) -> Typed,
) -> Result<Vec<Exported>> {
    let plan = ExportPlan { spec, orders, lane, anew, root };
    let bar = Bar::telling(again);
    let exported = export::export(&plan, &bar).map_err(|failure| failed(&failure))?;
    bar.end();
    bar.costs.take().into_iter().try_for_each(|(step, count, took)| cost::keep(step, count, took))?;
    Ok(exported)
}

/// A progress bar over models; silent when standard error is not a terminal.
pub struct Bar<'a> {
    bar: OnceCell<ProgressBar>,
    /// How long it took to make so many of what was wanted.
    costs: RefCell<Vec<(Step, usize, Duration)>>,
    /// What repeats the export of a model; none where failures are the caller's to tell.
    again: Option<&'a dyn Fn(&str) -> Typed>,
}

impl<'a> Bar<'a> {
    /// A bar that leaves it to the caller to tell of failures.
    pub fn quiet() -> Self {
        Self { bar: OnceCell::new(), costs: RefCell::default(), again: None }
    }

    /// A bar that prints failures as they come.
    fn telling(again: &'a dyn Fn(&str) -> Typed) -> Self {
        Self { bar: OnceCell::new(), costs: RefCell::default(), again: Some(again) }
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar<'_> {
    fn foreign(&self, count: usize) {
        // Who tells of failures itself has a folder of its own.
        if self.again.is_some() {
            let take = Typed::export([]).flag("--trust", true);
            eprintln!(
                "made elsewhere, and so made anew: {count}; to take such artifacts as they are: {take}"
            );
        }
    }

    fn waits(&self, holder: &str) {
        eprintln!("waiting for {holder}, which exports into the same folder");
    }

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

    fn over(&self, made: Option<Beside>, exported: &[Exported], took: Duration) {
        let step = match made {
            None | Some(Beside::Programs(Format::TorchScript)) => Step::Export,
            Some(Beside::Programs(Format::Pt2)) => Step::ExportGraphs,
            Some(Beside::Programs(Format::Aot(_))) => Step::ExportPackages,
            Some(Beside::Half(..)) => Step::ExportHalves,
        };
        let count = exported.iter().filter(|one| matches!(one.outcome, Ok(Some(_)))).count();
        self.costs.borrow_mut().push((step, count, took));
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
