//! Which entries a FILTER on the command line means.

use anyhow::{Result, bail};
use hf_conformance::author;
use hf_conformance::spec::{Entry, Spec};

/// All entries without a filter; the one of exactly that name; else those whose name contains it, and those of
/// the family or task of that name. Several filters are united.
///
/// # Errors
/// A filter that means no entry, with the nearest name.
pub fn select<'a>(spec: &'a Spec, filters: &[String]) -> Result<Vec<&'a Entry>> {
    if filters.is_empty() {
        return Ok(spec.entries.iter().collect());
    }
    for filter in filters {
        if meant(spec, filter).next().is_none() {
            bail!("no model, family or task matches '{filter}'{}", nearest(spec, filter));
        }
    }
    let is_meant = |entry: &&Entry| {
        filters.iter().any(|filter| meant(spec, filter).any(|meant| std::ptr::eq(meant, *entry)))
    };
    Ok(spec.entries.iter().filter(is_meant).collect())
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

fn meant<'a>(spec: &'a Spec, filter: &'a str) -> impl Iterator<Item = &'a Entry> {
    let exact = spec.entries.iter().any(|entry| entry.name.as_str() == filter);
    spec.entries.iter().filter(move |entry| match exact {
        true => entry.name.as_str() == filter,
        false => {
            entry.name.as_str().contains(filter)
                || entry.family.as_str() == filter
                || entry.task.name == filter
        }
    })
}
