//! `bench-suite`: what the suite costs, against a pytest suite that puts eager Python to the same checks.

use super::{export, failed, select::select, show, spec, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact::{self, Lane};
use hf_conformance::bench::suite::{self, PytestSuite, SuiteCost};
use hf_conformance::engine;
use hf_conformance::export::Anew;
use hf_conformance::report;
use hf_conformance::spec::Entry;
use hf_conformance::typed::Typed;
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks
    #[arg(required = true)]
    filter: Vec<String>,
    /// How often each suite is run, in turns; medians are shown
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// Runs both suites in turns and compares what they cost.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    if engine::real().is_none() {
        let filters = arguments.filter.iter().map(String::as_str);
        bail!("this build has no libtorch; use: {}", Typed::just("bench-suite").words(filters));
    }
    let (entries, others): (Vec<&Entry>, Vec<&Entry>) =
        select(&spec, &arguments.filter)?.into_iter().partition(|entry| entry.source == suite::SOURCE);
    for entry in &others {
        println!(
            "left out {} · its classes are in {}, and one process has one {}",
            entry.name,
            entry.source,
            suite::SOURCE
        );
    }
    let exported = export::artifacts(&spec, &entries, Lane::default(), Anew::Due)?;
    if exported.iter().any(|one| one.outcome.is_err()) {
        return Ok(ExitCode::FAILURE);
    }
    let folder = report::path().with_file_name("suite");
    let root = artifact::root();
    let pytest =
        PytestSuite::ready(&entries, &spec.versions, &root, &folder).map_err(|failure| failed(&failure))?;
    let program = std::env::current_exe().context("this program's own file")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        theirs.push(pytest.run().map_err(|failure| failed(&failure))?);
        let results = folder.join("results.jsonl");
        ours.push(suite::rust(&program, &entries, &results).map_err(|failure| failed(&failure))?);
    }
    show(compared(&ours, &theirs))?;
    println!("\n{}", beforehand(&entries, &root)?);
    Ok(ExitCode::SUCCESS)
}

/// A line for each suite.
fn compared(ours: &[SuiteCost], theirs: &[SuiteCost]) -> String {
    let mut rows =
        table(["suite", "checks", "seconds", "least", "most", "ms/check", "×", "processor s", "×"]);
    let processor = |cost: &SuiteCost| cost.processor.unwrap_or(f64::NAN);
    let (base, base_processor) = (median(theirs, |cost| cost.seconds), median(theirs, processor));
    for (name, costs) in [("pytest, eager transformers", theirs), ("hf-conformance, libtorch", ours)] {
        let seconds = median(costs, |cost| cost.seconds);
        let all = || costs.iter().map(|cost| cost.seconds);
        rows.add_row([
            name.to_owned(),
            costs[0].checks.to_string(),
            format!("{seconds:.2}"),
            format!("{:.2}", all().fold(f64::INFINITY, f64::min)),
            format!("{:.2}", all().fold(0.0, f64::max)),
            format!("{:.1}", median(costs, SuiteCost::per_check)),
            format!("{:.2}", base / seconds),
            format!("{:.2}", median(costs, processor)),
            format!("{:.2}", base_processor / median(costs, processor)),
        ]);
    }
    format!(
        "\n{rows}\n\nseconds: from start to end of the command, median of {} runs in turns; ×: pytest's over the suite's.\nprocessor s: of all processes, which other work on the machine moves less",
        ours.len()
    )
}

/// What both suites find there, and what it took to make.
fn beforehand(entries: &[&Entry], root: &Path) -> Result<String> {
    let mut seconds = 0.0;
    for entry in entries {
        let manifest =
            artifact::manifest(&root.join(entry.name.as_str())).map_err(|failure| failed(&failure))?;
        seconds += manifest.map_or(0.0, |manifest| manifest.seconds);
    }
    Ok(format!(
        "beforehand: the artifacts of {} models, {seconds:.0} s of export after imports; inputs and references of both suites come from them",
        entries.len()
    ))
}

fn median(costs: &[SuiteCost], of: impl Fn(&SuiteCost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_both_suites_stand_side_by_side() {
        let cost = |seconds| SuiteCost { checks: 10, seconds, processor: Some(seconds) };
        let shown = compared(&[cost(1.0), cost(9.0), cost(2.0)], &[cost(4.0), cost(4.0), cost(4.0)]);
        let line = shown.lines().find(|line| line.contains("hf-conformance")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[2..], ["10", "2.00", "1.00", "9.00", "200.0", "2.00", "2.00", "2.00"]);
    }
}
