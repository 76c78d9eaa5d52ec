//! Which entries a FILTER on the command line means.

use anyhow::{Result, bail};
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
            let near = |entry: &&Entry| (strsim::jaro_winkler(entry.name.as_str(), filter) * 1e6) as u64;
            let nearest = spec.entries.iter().max_by_key(near);
            let hint = nearest.map(|entry| format!("; nearest: {}", entry.name)).unwrap_or_default();
            bail!("no model, family or task matches '{filter}'{hint}");
        }
    }
    let is_meant = |entry: &&Entry| {
        filters.iter().any(|filter| meant(spec, filter).any(|meant| std::ptr::eq(meant, *entry)))
    };
    Ok(spec.entries.iter().filter(is_meant).collect())
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
