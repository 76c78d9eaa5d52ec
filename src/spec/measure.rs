//! The sizes of an entry: axes and config dimensions for the symbols of its ports.
//!
//! In: an entry with its ports, and its layers. Out: its `axes` and `dims`, exactly those that its ports use.

use super::decode::unknown;
use super::entry::{Axis, DimSource, Entry};
use super::layers::{Kept, Layers};
use super::problem::{Problems, quoted};
use crate::task::{CONFIG_DIMS, Dim, Range};
use std::collections::{BTreeMap, BTreeSet};

type Axes<'a> = BTreeMap<&'a str, Kept<'a, Axis>>;
type Dims<'a> = BTreeMap<&'a str, Kept<'a, DimSource>>;

/// Gives the entry its axes and dimensions.
pub(super) fn sizes(entry: &mut Entry, layers: &Layers, problems: &mut Problems) {
    let axes = layers.keyed(|layer| &layer.axes, problems);
    let dims = layers.keyed(|layer| &layer.dims, problems);
    bases(&axes, problems);
    both(&axes, &dims, problems);
    let symbols = symbols(entry);
    let bases =
        axes.iter().filter(|(name, _)| symbols.contains(**name)).filter_map(|(_, kept)| base(kept.value));
    let used_axes: BTreeSet<&str> = symbols.iter().map(String::as_str).chain(bases).collect();
    entry.axes = used(&axes, &used_axes, "axis", problems);
    let known = symbols.iter().map(String::as_str).collect();
    entry.dims = used(&dims, &known, "dimension", problems);
    for (name, paths) in CONFIG_DIMS {
        if symbols.contains(*name) && !entry.axes.contains_key(*name) && !entry.dims.contains_key(*name) {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            entry.dims.insert((*name).to_owned(), DimSource::Paths(paths));
        }
    }
    unsized_symbols(entry, problems);
}

/// Symbols of the entry's ports. Token ids need the vocabulary even where no shape does.
fn symbols(entry: &Entry) -> BTreeSet<String> {
    let inputs = entry.inputs.iter().map(|port| &port.shape);
    let outputs = entry.outputs.iter().map(|port| &port.shape);
    let named = |dim: &Dim| match dim {
        Dim::Named(name) => Some(name.to_string()),
        Dim::Size(_) => None,
    };
    let mut symbols: BTreeSet<_> =
        inputs.chain(outputs).flat_map(|shape| shape.iter()).filter_map(named).collect();
    let ids = entry.inputs.iter().any(|port| port.fill.is_tokens())
        || entry.outputs.iter().any(|port| port.range == Range::TokenIds);
    if ids {
        symbols.insert("vocabulary".to_owned());
    }
    symbols
}

fn base(axis: &Axis) -> Option<&str> {
    match axis {
        Axis::Per { axis, .. } => Some(axis),
        _ => None,
    }
}

/// An axis is per another one that has a size of its own.
fn bases(axes: &Axes, problems: &mut Problems) {
    for (name, kept) in axes {
        let Some(base) = base(kept.value) else { continue };
        match axes.get(base).map(|kept| kept.value) {
            None => {
                let others = axes.keys().copied().filter(|other| other != name);
                unknown(&format!("`axes.{name}` is per an unknown axis"), base, others, kept.place, problems);
            }
            Some(Axis::Per { .. }) => {
                let message = format!("`axes.{name}` is per {}, which has no size of its own", quoted(base));
                problems.add(kept.place, message);
            }
            Some(_) => {}
        }
    }
}

/// A symbol is an axis or a dimension, not both.
fn both(axes: &Axes, dims: &Dims, problems: &mut Problems) {
    for (name, dim) in dims {
        if let Some(axis) = axes.get(name) {
            let (place, also) = if axis.own { (axis.place, dim.place) } else { (dim.place, axis.place) };
            let name = quoted(name);
            let message =
                format!("{name} is both under `axes` and `dims` (see {also}): take one away with null");
            problems.add_between(place, also, message);
        }
    }
}

/// The sizes that the ports use. One that the entry itself gives must be among them.
fn used<T: Clone>(
    sizes: &BTreeMap<&str, Kept<T>>,
    symbols: &BTreeSet<&str>,
    kind: &str,
    problems: &mut Problems,
) -> BTreeMap<String, T> {
    let mut used = BTreeMap::new();
    for (name, kept) in sizes {
        if symbols.contains(name) {
            used.insert((*name).to_owned(), kept.value.clone());
        } else if kept.own {
            let kind = format!("no input or output has {kind}");
            unknown(&kind, name, symbols.iter().copied(), kept.place, problems);
        }
    }
    used
}

/// Every symbol of an input must have a size; outputs may decide theirs.
fn unsized_symbols(entry: &Entry, problems: &mut Problems) {
    let missing: BTreeSet<_> = entry.unsized_symbols().into_iter().collect();
    for symbol in missing {
        let uses = |dim: &Dim| matches!(dim, Dim::Named(name) if name == symbol);
        let users = entry.inputs.iter().filter(|input| input.shape.iter().any(uses));
        let users = Vec::from_iter(users.map(|input| input.name.as_ref())).join(", ");
        let message = format!("no size for '{symbol}' in {users}: add it under `axes` or `dims`");
        problems.add(&entry.place, message);
    }
}
