//! `faults`: the checks on trial.
//!
//! In: healthy models. Out: a table of faults × checks, and exit code 1 when a fault is missed by the check that
//! exists to catch it, or a check is not turned red by any fault.

use super::{TORCHSCRIPT, export, failed, select::select, spec, table};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use hf_conformance::artifact::{self, Format, Lane};
use hf_conformance::check::faults::{Fault, FaultyModel, Plant, Weight};
use hf_conformance::check::{self, Session, faults};
use hf_conformance::device::Device;
use hf_conformance::engine::{self, Engine};
use hf_conformance::export::{Anew, ExportPlan, Order, export as carry_out};
use hf_conformance::failure::Failure;
use hf_conformance::model::RuntimeSpec;
use hf_conformance::spec::{Check, Entry, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// A model in which a change of one weight by this share goes unseen is no proof of anything.
const INSENSITIVE: f64 = 1e-2;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = "auto")]
    device: String,
    /// torchscript or pt2
    #[arg(long, env = "HF_CONFORMANCE_ENGINE", default_value = TORCHSCRIPT)]
    engine: Format,
}

/// One fault in one model.
struct PlantedFault<'a> {
    entry: &'a Entry,
    fault: Fault,
    /// The checks that turned red; or why the fault cannot be planted.
    caught: Result<BTreeSet<Check>, String>,
}

/// Plants every fault in every selected model.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let engine = engine_of(arguments.engine)?;
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    println!("device {explained}");
    let lane = Lane::new(arguments.engine, device);
    if export::artifacts(&spec, &entries, lane, Anew::Due)?.iter().any(|one| one.outcome.is_err()) {
        bail!("faults are planted in healthy models only");
    }
    let (refused, broken) = plant_in_programs(&spec, &entries, lane)?;
    let mut trials = Vec::new();
    for entry in &entries {
        for fault in faults::faults(entry, lane.format) {
            let refusal = refused.get(&(entry.name.as_str(), fault.name.clone()));
            let caught = match refusal {
                Some(reason) => Err(reason.clone()),
                None => caught(&spec, entry, &fault, engine, device),
            };
            trials.push(PlantedFault { entry, fault, caught });
        }
    }
    println!("\n{}", matrix(&trials, lane.format));
    let (smallest, insensitive) = sensitivity(&spec, &entries, engine, device)?;
    println!("\n{smallest}");
    let missed: Vec<String> = missed(&trials, &entries, lane.format).into_iter().chain(insensitive).collect();
    for line in &missed {
        println!("MISSED {line}");
    }
    for line in &broken {
        println!("FAILED {line}");
    }
    let tried = trials.iter().filter(|trial| trial.caught.is_ok()).count();
    println!(
        "\n{tried} faults planted in {} models, {} not applicable, {} missed",
        entries.len(),
        trials.len() - tried,
        missed.len()
    );
    Ok(if missed.is_empty() && broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The engine of a format whose programs can be faulty.
fn engine_of(format: Format) -> Result<&'static dyn Engine> {
    if format.target().is_some() {
        bail!(
            "faults are planted in programs of torchscript and pt2, not in compiled ones: leave out --engine"
        );
    }
    engine::of(format).ok_or_else(|| anyhow!("this build has no libtorch; use: just faults"))
}

/// Why faults are in no program, by model and fault.
type Refused<'a> = BTreeMap<(&'a str, String), String>;

/// Has the exporter make the faulty programs; which of them there are not, and a line for each that should be there.
fn plant_in_programs<'a>(
    spec: &Spec,
    entries: &[&'a Entry],
    lane: Lane,
) -> Result<(Refused<'a>, Vec<String>)> {
    let mut orders = Vec::new();
    for &entry in entries {
        let in_program =
            faults::faults(entry, lane.format).into_iter().filter(|fault| fault.plant == Plant::Program);
        orders.extend(in_program.map(|fault| Order { fault: Some(fault.name), ..Order::plain(entry) }));
    }
    let plan = ExportPlan { spec, orders, lane, anew: Anew::Due, root: artifact::root() };
    let bar = export::Bar::quiet();
    let exported = carry_out(&plan, &bar).map_err(|failure| failed(&failure))?;
    bar.end();
    let (mut refused, mut broken) = (Refused::new(), Vec::new());
    for one in exported {
        let (Some(fault), Err(failure)) = (one.fault, one.outcome) else { continue };
        if failure.refusal().is_none() {
            broken.push(format!(
                "planting {fault} in {}: stage {}: {}",
                one.model, failure.stage, failure.message
            ));
        }
        let why = failure.refusal().unwrap_or(&failure.message).to_owned();
        if let Some(entry) = entries.iter().find(|entry| entry.name.as_str() == one.model) {
            refused.insert((entry.name.as_str(), fault), why);
        }
    }
    Ok((refused, broken))
}

/// The checks that turn red on a faulty model, or why it cannot have the fault; when it does not even load, `loads` alone has
/// seen that.
fn caught(
    spec: &Spec,
    entry: &Entry,
    fault: &Fault,
    engine: &'static dyn Engine,
    device: Device,
) -> Result<BTreeSet<Check>, String> {
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let model = subject.model();
    let planted = (fault.plant == Plant::Program).then(|| fault.name.clone());
    let folder = Order { fault: planted, ..Order::plain(entry) }.folder(&artifact::root());
    match FaultyModel::new(&folder, &model, fault, engine, device) {
        Err(failure) => match failure.refusal() {
            Some(why) => Err(why.to_owned()),
            None => Ok(BTreeSet::from([Check::Loads])),
        },
        Ok(faulty) => faulty.caught(&model, entry.task, engine.format().due(entry)),
    }
}

/// Faults × checks: in how many of the models that could have it each check caught the fault.
fn matrix(trials: &[PlantedFault], format: Format) -> String {
    let checks = Check::ALL.into_iter().filter(|check| format.unsuited(*check).is_none());
    let checks = Vec::from_iter(checks);
    let mut names: Vec<&str> = Vec::new();
    for trial in trials {
        let name = plain(&trial.fault);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let headers: Vec<String> = ["fault", "models"]
        .into_iter()
        .map(str::to_owned)
        .chain(checks.iter().map(|check| check.name().replace('_', "\n")))
        .collect();
    let mut rows = table(["fault", "models"]);
    rows.set_header(headers);
    for column in rows.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    for name in names {
        let own: Vec<&PlantedFault> = trials.iter().filter(|trial| plain(&trial.fault) == name).collect();
        let planted: Vec<&BTreeSet<Check>> =
            own.iter().filter_map(|trial| trial.caught.as_ref().ok()).collect();
        let mut row = vec![name.to_owned(), planted.len().to_string()];
        let target = own[0].fault.target;
        row.extend(checks.iter().map(|check| {
            let caught = planted.iter().filter(|caught| caught.contains(check)).count();
            match (caught, *check == target) {
                (0, false) => "·".to_owned(),
                (_, false) => caught.to_string(),
                (_, true) => format!("[{caught}]"),
            }
        }));
        rows.add_row(row);
    }
    format!("{rows}\n\nmodels in which each check caught the fault; [n]: the check that exists to catch it")
}

/// The fault's name without its argument.
fn plain(fault: &Fault) -> &str {
    fault.name.split(':').next().unwrap_or(&fault.name)
}

/// Faults that their check missed, and checks that nothing turned red, family by family.
fn missed(trials: &[PlantedFault], entries: &[&Entry], format: Format) -> Vec<String> {
    let mut lines: Vec<String> = trials
        .iter()
        .filter_map(|trial| {
            let caught = trial.caught.as_ref().ok()?;
            let missed = !caught.contains(&trial.fault.target);
            let others: Vec<_> = caught.iter().map(|check| check.name()).collect();
            missed.then(|| {
                let target = trial.fault.target.name();
                let others = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
                format!(
                    "{} in {}: {target} stays green; caught by {others}",
                    trial.fault.name, trial.entry.name
                )
            })
        })
        .collect();
    for entry in entries {
        for check in format.due(entry) {
            let red = |trial: &PlantedFault| {
                trial.entry.family == entry.family
                    && trial.caught.as_ref().is_ok_and(|caught| caught.contains(&check))
            };
            if !trials.iter().any(red) {
                lines.push(format!("{}: no fault in family {} turns it red", check.name(), entry.family));
            }
        }
    }
    lines
}

/// The smallest change of one weight, relative to the weight's own size, that `matches_reference` catches, for every
/// model; and the models in which it misses one of [`INSENSITIVE`].
fn sensitivity(
    spec: &Spec,
    entries: &[&Entry],
    engine: &'static dyn Engine,
    device: Device,
) -> Result<(String, Vec<String>)> {
    let mut rows = table(["family", "model", "smallest change caught", "of weight"]);
    let mut insensitive = Vec::new();
    for entry in entries {
        let (weight, smallest) =
            smallest_change(spec, entry, engine, device).map_err(|failure| failed(&failure))?;
        let told = smallest.map_or("none".to_owned(), |relative| format!("{relative:.0e}"));
        if smallest.is_none_or(|smallest| smallest > INSENSITIVE) {
            insensitive.push(format!(
                "matches_reference in {}: smallest change caught of one weight is {told}, not {INSENSITIVE:.0e}",
                entry.name
            ));
        }
        rows.add_row([entry.family.to_string(), entry.name.to_string(), told, weight]);
    }
    Ok((rows.to_string(), insensitive))
}

/// The weight that was changed, and the smallest power of ten that `matches_reference` catches.
fn smallest_change(
    spec: &Spec,
    entry: &Entry,
    engine: &'static dyn Engine,
    device: Device,
) -> Result<(String, Option<f64>), Failure> {
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let model = subject.model();
    let session = Session::open(
        &Order::plain(entry).folder(&artifact::root()),
        &model,
        engine,
        Lane::new(engine.format(), device),
    )?;
    let weight = Weight::of(&session.artifact, session.program.as_ref())?;
    let mut smallest = None;
    for exponent in 0..8 {
        let relative = 10f64.powi(-exponent);
        let fault = Fault {
            name: String::new(),
            target: Check::MatchesReference,
            plant: Plant::Weight(relative * weight.value),
        };
        let faulty = FaultyModel::new(&session.artifact.folder, &model, &fault, engine, device)?;
        if check::body(Check::MatchesReference)(&faulty.context(&model, entry.task)).is_ok() {
            break;
        }
        smallest = Some(relative);
    }
    Ok((weight.parameter, smallest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hf_conformance::artifact::Target;

    #[test]
    fn no_fault_is_planted_in_a_compiled_program_and_the_refusal_says_what_to_leave_out() {
        for target in [Target::Cpu, Target::Cuda, Target::Mps] {
            let refusal = engine_of(Format::Aot(target)).err().unwrap().to_string();
            let expected = "faults are planted in programs of torchscript and pt2, not in compiled ones: leave out --engine";
            assert_eq!(refusal, expected);
        }
        for format in [Format::TorchScript, Format::Pt2] {
            assert_eq!(engine_of(format).is_ok(), cfg!(feature = "libtorch"), "{}", format.name());
        }
    }
}
