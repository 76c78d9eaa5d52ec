//! `explain`: where a program's error comes from, operator by operator.

use super::{AUTO, export, failed, select::select, show, spec, table};
use anyhow::{Result, bail};
use clap::Args;
use comfy_table::CellAlignment;
use hf_conformance::artifact::{self, Format, Lane};
use hf_conformance::check::{CheckResult, Session, body};
use hf_conformance::engine::{self, Explained, StepReport};
use hf_conformance::export::Anew;
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
    for one in export::artifacts(&spec, &[entry], lane, Anew::Due)? {
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
    println!("  graph      {}", of_graph(&exact, entry.name.as_str()));
    show(told(&found))?;
    Ok(if is_well(&exact, &found) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the graph is without rounding; where that is not eager Python, with what says more.
fn of_graph(exact: &CheckResult, model: &str) -> String {
    match exact {
        Ok(_) => "in float64 it is eager Python in float64".to_owned(),
        Err(failure) => format!(
            "in float64 it is not eager Python: {}\n             \
             whether the file is at fault, or what makes it: {} && {}\n             \
             then in which layer it begins: {}",
            failure.message,
            Typed::export([model]).option("--engine", Some("pt2")).flag("--force", true),
            Typed::explain(model),
            Typed::replay(model)
        ),
    }
}

/// Whether the graph is eager's, and no operator of it is wrong.
fn is_well(exact: &CheckResult, found: &Explained) -> bool {
    exact.is_ok() && !found.reports.iter().any(StepReport::is_wrong)
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

#[cfg(test)]
mod tests {
    use super::*;
    use hf_conformance::failure::{Failure, Stage};

    /// A program of one operator that is off by that share.
    fn off_by(own: f64) -> Explained {
        let operator = "aten::mul.Tensor".to_owned();
        Explained {
            operators: 1,
            reports: vec![StepReport { place: 0, operator, own, so_far: own, line: None }],
        }
    }

    #[test]
    fn a_graph_that_is_not_eager_is_told_with_what_says_more_though_no_operator_is_off() {
        let exact: CheckResult = Err(Failure::new(Stage::Compare, "logits (traced) is off by 1.00e-9 rmse"));
        let expected = "in float64 it is not eager Python: logits (traced) is off by 1.00e-9 rmse\n             \
                        whether the file is at fault, or what makes it: \
                        just export gpt2 --engine pt2 --force && just explain gpt2\n             \
                        then in which layer it begins: just replay gpt2";
        assert_eq!(of_graph(&exact, "gpt2"), expected);
        assert!(!is_well(&exact, &off_by(1e-8)));
    }

    #[test]
    fn a_graph_that_is_eager_is_well_where_no_operator_is_off() {
        let exact: CheckResult = Ok(Vec::new());
        assert_eq!(of_graph(&exact, "gpt2"), "in float64 it is eager Python in float64");
        assert!(is_well(&exact, &off_by(1e-8)));
        assert!(!is_well(&exact, &off_by(1e-3)));
    }
}
