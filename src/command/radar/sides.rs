//! What the artifacts of two versions say of each other, beyond the checks of each.

use super::super::adapters::trials;
use super::super::{failed, progress::bar};
use anyhow::Result;
use hf_conformance::artifact;
use hf_conformance::export::adapters::carry_out;
use hf_conformance::export::{self, Freshness};
use hf_conformance::runner::moved::{Moved, Outputs, first_changed_line, outputs};
use hf_conformance::runner::radar::Row;
use hf_conformance::spec::{Entry, Spec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The artifacts of both versions.
pub(super) struct Sides<'a> {
    pub pinned: &'a Spec,
    pub other: &'a Spec,
    /// Those of the other version.
    pub artifacts: PathBuf,
}

impl Sides<'_> {
    /// The models that compute something else, of those whose artifacts of both versions are up to date.
    pub fn moved(&self, entries: &[&Entry]) -> Result<BTreeMap<String, Moved>> {
        let fresh = |entry: &Entry, spec: &Spec, root: &Path| {
            export::state(entry, &spec.versions, root) == Freshness::Fresh
        };
        let mut moved = BTreeMap::new();
        let mut compared = 0;
        for entry in entries {
            let (root, name) = (artifact::root(), entry.name.to_string());
            if !fresh(entry, self.pinned, &root) || !fresh(entry, self.other, &self.artifacts) {
                continue;
            }
            let found = outputs(&root.join(&name), &self.artifacts.join(&name));
            match found.map_err(|failure| failed(&failure))? {
                Outputs::Moved(one) => drop(moved.insert(name, one)),
                Outputs::Same => {}
                Outputs::Incomparable => continue,
            }
            compared += 1;
        }
        eprintln!("outputs of {compared} of {} models held to those under the pins", entries.len());
        Ok(moved)
    }

    /// Notes where the class's file changes, of models that are worse.
    pub fn point(&self, models: &mut [Row], before: &Path, after: &Path) {
        for row in models.iter_mut().filter(|row| row.standing.is_worse()) {
            let roots = [artifact::root(), self.artifacts.clone()];
            let lines = roots.iter().map(|root| first_changed_line(&root.join(&row.model), before, after));
            row.changed = lines.flatten().next();
        }
    }

    /// Adapter → green models that can be traced without it.
    pub fn unneeded(&self, entries: &[&Entry], models: &[Row]) -> Result<BTreeMap<String, Vec<String>>> {
        let is_green = |entry: &&&Entry| {
            let row = models.iter().find(|row| row.model == entry.name.as_str());
            row.is_some_and(|row| row.whose.is_none())
        };
        let green: Vec<&Entry> = entries.iter().filter(is_green).copied().collect();
        let trials = trials(&green, &self.artifacts)?;
        let bar = bar("tracing without adapters", trials.len());
        let verdicts = carry_out(self.other, &trials, |_| bar.inc(1));
        bar.finish_and_clear();
        let mut unneeded: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for verdict in verdicts.map_err(|failure| failed(&failure))? {
            if verdict.needed.is_none() {
                unneeded.entry(verdict.trial.without).or_default().push(verdict.trial.entry.name.to_string());
            }
        }
        Ok(unneeded)
    }
}
