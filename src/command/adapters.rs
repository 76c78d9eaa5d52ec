//! `adapters`: which of the patches that models are traced under are still needed.

use super::{export, failed, select::select, show, spec};
use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use hf_conformance::artifact;
use hf_conformance::export::Anew;
use hf_conformance::export::adapters::{Retrace, Retraced, carry_out};
use hf_conformance::spec::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
}

/// Traces every selected model without each of its adapters in turn and lists those it no longer needs.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    if export::artifacts(&spec, &entries, <_>::default(), Anew::Due)?.iter().any(|one| one.outcome.is_err()) {
        bail!("adapters are tried on healthy models only");
    }
    let trials = trials(&entries, &artifact::root())?;
    println!("{} adapters in {} models", trials.len(), entries.len());
    let verdicts = carry_out(&spec, &trials, |verdict| {
        let Retraced { trial, needed } = verdict;
        let verdict = needed.as_deref().map_or("NO LONGER NEEDED".to_owned(), |why| format!("needed: {why}"));
        println!("{} without {}: {verdict}", trial.entry.name, trial.without);
    })
    .map_err(|failure| failed(&failure))?;
    show(format!("\n{}", summary(&verdicts)))?;
    Ok(ExitCode::SUCCESS)
}

/// Every model with every adapter that was active when its artifact below `root` was made.
pub(super) fn trials<'a>(entries: &[&'a Entry], root: &Path) -> Result<Vec<Retrace<'a>>> {
    let mut trials = Vec::new();
    for &entry in entries {
        let folder = root.join(entry.name.as_str());
        let manifest = artifact::manifest(&folder).map_err(|failure| failed(&failure))?;
        let adapters = manifest.into_iter().flat_map(|manifest| manifest.adapters);
        trials.extend(adapters.map(|adapter| Retrace { entry, without: adapter.what }));
    }
    Ok(trials)
}

/// Adapter by adapter, the models that need it and those that no longer do.
fn summary(verdicts: &[Retraced]) -> String {
    let mut adapters: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for verdict in verdicts {
        let (needed, unneeded) = adapters.entry(&verdict.trial.without).or_default();
        match verdict.needed {
            Some(_) => *needed += 1,
            None => {
                unneeded.insert(verdict.trial.entry.name.as_str());
            }
        }
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["adapter", "needed by", "no longer needed by"]);
    for (adapter, (needed, unneeded)) in adapters {
        let names = Vec::from_iter(unneeded).join(", ");
        table.add_row([adapter.to_owned(), needed.to_string(), names]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hf_conformance::spec;

    #[test]
    fn the_summary_names_the_models_that_no_longer_need_an_adapter() {
        let spec = spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let verdict = |entry: usize, without: &str, needed: Option<&str>| Retraced {
            trial: Retrace { entry: &spec.entries[entry], without: without.to_owned() },
            needed: needed.map(ToOwned::to_owned),
        };
        let verdicts =
            [verdict(0, "rope", Some("off")), verdict(1, "rope", None), verdict(0, "sizes", Some("crash"))];
        let text = summary(&verdicts);
        let words: Vec<Vec<&str>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [vec!["rope", "1", spec.entries[1].name.as_str()], vec!["sizes", "1"]]);
    }
}
