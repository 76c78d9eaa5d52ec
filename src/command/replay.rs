//! `replay`: a model's cases on Python's libtorch, to tell an engine's fault from an artifact's.

use super::run::{print_agreement, print_failure};
use super::{failed, select::select, spec};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::artifact::{self, Format, Lane};
use hf_conformance::check::Session;
use hf_conformance::export::{InPython, first_differing};
use hf_conformance::model::RuntimeSpec;
use hf_conformance::spec::{Check, Entry, Spec};
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// The model's name in the spec
    model: String,
}

/// Runs `program.pt` under Python on every stored case and judges it as the tests do; disagreement is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let [entry] = select(&spec, std::slice::from_ref(&arguments.model))?[..] else {
        bail!("'{}' means several models; name one of them", arguments.model);
    };
    let python = InPython::ready(&spec.versions, &entry.source, Format::TorchScript)
        .map_err(|failure| failed(&failure))?;
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let model = subject.model();
    let folder = artifact::root().join(entry.name.as_str());
    let session =
        Session::open(&folder, &model, &python, Lane::default()).map_err(|failure| failed(&failure))?;
    let context = session.context(&model, entry.task);
    let mut status = ExitCode::SUCCESS;
    for case in &session.artifact.manifest.cases {
        let check = if case.name == "traced" { Check::MatchesReference } else { Check::Generalises };
        let returned = context.inputs(&case.name).and_then(|inputs| context.run(&inputs));
        let returned = returned.map_err(|failure| failed(&failure))?;
        let agreement = context.judge_case(check, &case.name, &returned, None);
        println!("\n{} in Python, case {}", model.name, case.name);
        print_agreement(&context, check, &returned, &agreement)?;
        if let Err(failure) = &agreement {
            print_failure(failure);
            if case.name == "traced" {
                println!("  {}", layer(&spec, entry));
            }
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}

/// Where the trace goes wrong, if it is the trace.
fn layer(spec: &Spec, entry: &Entry) -> String {
    match first_differing(spec, entry) {
        Ok(Some(layer)) => format!("first differing layer: {layer}"),
        Ok(None) => {
            "no layer of a new trace differs: the difference arises after them, or the artifact is another"
                .to_owned()
        }
        Err(failure) => format!("layers could not be compared: {failure}"),
    }
}
