//! `stress`: runs ended in the middle, started twice and starved, and whether all is well after it.

use super::progress::bar;
use super::{export, show, spec, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::engine;
use hf_conformance::export::Anew;
use hf_conformance::process;
use hf_conformance::runner::stress::{FAULTS, Survival, Yard};
use std::process::ExitCode;

/// Models that are exported and checked all the time: small ones, of one source.
const MODELS: [&str; 3] = ["bert", "gpt2", "vit"];
/// Complaints that are printed of each fault.
const PRINTED: usize = 3;

#[derive(Args)]
pub struct Arguments {
    /// Each fault a few times only, as continuous integration does
    #[arg(long)]
    short: bool,
    /// Only the faults with these words in their names
    words: Vec<String>,
}

/// Tries every fault and prints how often all was well after it; one that was not survived is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    if engine::real().is_none() {
        bail!("this build has no libtorch; use: just stress");
    }
    let meant = |name: &str| arguments.words.iter().all(|word| name.contains(word.as_str()));
    let faults: Vec<_> = FAULTS
        .iter()
        .filter(|fault| meant(fault.name) && fault.times[usize::from(arguments.short)] > 0)
        .collect();
    if faults.is_empty() {
        let names: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
        bail!("no fault is called so; there are: {}", names.join(", "));
    }
    let entries: Vec<_> = spec.entries.iter().filter(|entry| MODELS.contains(&entry.name.as_str())).collect();
    if export::artifacts(&spec, &entries, <_>::default(), Anew::Due)?.iter().any(|one| one.outcome.is_err()) {
        bail!("runs are disturbed that go well by themselves");
    }
    let program = std::env::current_exe().context("looking for this program")?;
    let yard = Yard::new(&spec, entries, program, artifact::root()).context("timing runs by themselves")?;
    let trials = faults.iter().map(|fault| fault.times[usize::from(arguments.short)]).sum();
    let bar = bar("disturbing", trials);
    let mut suffered = Vec::new();
    for fault in faults {
        if process::interrupted().is_some() {
            break;
        }
        let survival = fault.suffer(&yard, arguments.short, &|| bar.inc(1))?;
        for complaint in survival.complaints.iter().take(PRINTED) {
            bar.suspend(|| println!("{}: {complaint}\n", fault.name));
        }
        suffered.push((fault.name, survival));
    }
    bar.finish_and_clear();
    show(overview(&suffered))?;
    let survived = suffered.iter().all(|(_, survival)| survival.complaints.is_empty());
    Ok(if survived { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn overview(suffered: &[(&str, Survival)]) -> String {
    let mut rows = table(["fault", "times tried", "survived", "measured"]);
    for (name, survival) in suffered {
        let survived = survival.tried - survival.complaints.len();
        let measured = survival.measured.clone().unwrap_or_default();
        rows.add_row([(*name).to_owned(), survival.tried.to_string(), survived.to_string(), measured]);
    }
    rows.to_string()
}
