//! `explain`: where a program's error comes from, operator by operator.

use super::{AUTO, export, failed, select::select, show, spec, table};
use anyhow::{Result, bail};
use clap::Args;
use comfy_table::CellAlignment;
use hf_conformance::artifact::{self, Format, Lane};
use hf_conformance::check::{Session, body};
use hf_conformance::engine::{self, Explained, StepReport};
use hf_conformance::model::RuntimeSpec;
use hf_conformance::spec::Check;
use hf_conformance::task::Dtype;
use hf_conformance::typed::Typed;
use std::process::ExitCode;

/// Operators that are listed as those that add most.
const LISTED: usize = 10;
/// Characters of a line of source that are shown.
const SHOWN: usize = 60;

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    model: String,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = AUTO)]
    device: String,
    /// Which case: traced, or that of an axis at its second size
    #[arg(long, default_value = "traced")]
    case: String,
}

/// Runs the model's graph beside itself in float64; an operator that is wrong, or a graph that is not eager, is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let [entry] = select(&spec, std::slice::from_ref(&arguments.model))?[..] else {
        bail!("'{}' means several models; name one of them", arguments.model);
    };
    let Some(engine) = engine::of(Format::Pt2) else {
        bail!("this build has no libtorch; use: just explain")
    };
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let lane = Lane::new(Format::Pt2, device);
    for one in export::artifacts(&spec, &[entry], lane, false)? {
        one.outcome.map_err(|failure| failed(&failure))?;
    }
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let model = subject.model();
    let folder = artifact::root().join(entry.name.as_str());
    let session = Session::open(&folder, &model, engine, lane).map_err(|failure| failed(&failure))?;
    let cases = Vec::from_iter(session.artifact.manifest.cases.iter().map(|case| case.name.as_str()));
    if !cases.contains(&arguments.case.as_str()) {
        bail!("{} has no case '{}'; there are: {}", entry.name, arguments.case, cases.join(", "));
    }
    let context = session.context(&model, entry.task);
    let inputs = context.inputs(&arguments.case).map_err(|failure| failed(&failure))?;
    let path = session.artifact.program(Dtype::Float32);
    let found = engine.explain(&path, device, &inputs).map_err(|failure| failed(&failure))?;
    println!("{}, case {}", entry.name, arguments.case);
    println!("  device     {explained}");
    println!("  operators  {}, of which {} make tensors", found.operators, found.reports.len());
    let exact = body(Check::Exact)(&context);
    match &exact {
        Ok(_) => println!("  graph      in float64 it is eager Python in float64"),
        Err(failure) => {
            println!("  graph      in float64 it is not eager Python: {}", failure.message);
            println!("             in which layer it begins: {}", Typed::replay(entry.name.as_str()));
        }
    }
    show(told(&found))?;
    let is_well = exact.is_ok() && !found.reports.iter().any(StepReport::is_wrong);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The operators that are wrong, or where none is, those that add most.
fn told(found: &Explained) -> String {
    let wrong = Vec::from_iter(found.reports.iter().filter(|report| report.is_wrong()));
    if !wrong.is_empty() {
        let count = wrong.len();
        let head = format!("{count} off by more than rounding explains, the first of them first");
        return format!("\n{head}:\n\n{}", rows(wrong.into_iter().take(LISTED)));
    }
    let mut most = Vec::from_iter(found.reports.iter().filter(|report| report.own > 0.0));
    most.sort_by(|a, b| b.own.total_cmp(&a.own));
    most.truncate(LISTED);
    let head = format!("no operator is off by more than rounding explains; the {} that add most", most.len());
    format!("\n{head}:\n\n{}", rows(most))
}

fn rows<'a>(reports: impl IntoIterator<Item = &'a StepReport>) -> String {
    let mut rows = table(["step", "operator", "by itself", "so far", "line", ""]);
    for place in [1, 4, 5] {
        rows.column_mut(place).into_iter().for_each(|column| {
            column.set_cell_alignment(CellAlignment::Left);
        });
    }
    for StepReport { place, operator, own, so_far, line } in reports {
        let (line, code) = line.clone().unwrap_or_default();
        let code: String = code.chars().take(SHOWN).collect();
        rows.add_row([
            place.to_string(),
            operator.clone(),
            format!("{own:.1e}"),
            format!("{so_far:.1e}"),
            line,
            code,
        ]);
    }
    format!("{rows}\n\nerrors as shares of the size of what an operator makes, against float64")
}
