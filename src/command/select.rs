//! Which entries a FILTER on the command line means.

use anyhow::{Result, bail};
use hf_conformance::author;
use hf_conformance::roster::{self, TIERS, plain};
use hf_conformance::spec::{Entry, Spec};
use std::collections::BTreeSet;
use std::path::Path;

/// Means every entry.
const ALL: &str = "all";

/// All entries without a filter or by `all`; the one of exactly that name; else the roster's tier of that name; else
/// those whose name contains it, and those of the family or task of that name. Several filters are united.
///
/// # Errors
/// A filter that means no entry, with the nearest name; a roster that cannot be read.
pub fn select<'a>(spec: &'a Spec, filters: &[String]) -> Result<Vec<&'a Entry>> {
    if filters.is_empty() {
        return Ok(spec.entries.iter().collect());
    }
    let mut meant = BTreeSet::new();
    for filter in filters {
        let found = places(spec, filter)?;
        if found.is_empty() {
            bail!("no model, family, task or tier matches '{filter}'{}", nearest(spec, filter));
        }
        meant.extend(found);
    }
    Ok(meant.into_iter().map(|place| &spec.entries[place]).collect())
}

/// The entry of exactly that name.
///
/// # Errors
/// No such entry, with the nearest name.
pub fn one<'a>(spec: &'a Spec, name: &str) -> Result<&'a Entry> {
    match spec.entries.iter().find(|entry| entry.name.as_str() == name) {
        Some(entry) => Ok(entry),
        None => bail!("there is no entry '{name}'{}", nearest(spec, name)),
    }
}

/// `; nearest: bert (spec/encoder-only.yaml:16:5)`, or nothing in an empty spec.
pub fn nearest(spec: &Spec, name: &str) -> String {
    author::nearest(spec, name)
        .map(|entry| format!("; nearest: {} ({})", entry.name, entry.place))
        .unwrap_or_default()
}

/// Where in the spec the entries stand that a filter means.
fn places(spec: &Spec, filter: &str) -> Result<Vec<usize>> {
    let of = |is_meant: &dyn Fn(&Entry) -> bool| {
        let numbered = spec.entries.iter().enumerate();
        numbered.filter(|(_, entry)| is_meant(entry)).map(|(place, _)| place).collect::<Vec<_>>()
    };
    let exact = of(&|entry| entry.name.as_str() == filter);
    if !exact.is_empty() {
        return Ok(exact);
    }
    if TIERS.contains(&filter) {
        let rows = roster::read(Path::new("."))?;
        let names: BTreeSet<String> =
            rows.iter().filter(|row| row.tier == filter).map(|row| plain(&row.name)).collect();
        return Ok(of(&|entry| names.contains(&plain(entry.name.as_str()))));
    }
    Ok(of(&|entry| {
        filter == ALL
            || entry.name.as_str().contains(filter)
            || entry.family.as_str() == filter
            || entry.task.name == filter
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filters: &[&str]) -> Vec<String> {
        let spec = hf_conformance::spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let found = select(&spec, &filters).unwrap();
        found.into_iter().map(|entry| entry.name.to_string()).collect()
    }

    #[test]
    fn a_filter_is_a_name_a_tier_or_part_of_names_in_this_order() {
        assert_eq!(names(&["bert"]), ["bert"]);
        let of_plan = names(&["plan"]);
        assert!(of_plan.contains(&"bert".to_owned()) && !of_plan.contains(&"modernbert".to_owned()));
        assert_eq!(names(&["roberta"]), ["roberta"]);
        assert!(names(&["-roberta"]).len() > 1);
    }

    #[test]
    fn all_means_every_entry_and_filters_that_overlap_mean_each_once() {
        let all = names(&["all"]);
        assert_eq!(all, names(&[]));
        assert_eq!(names(&["bert", "all", "plan"]), all);
    }
}
