//! A family file: `family`, `defaults`, `models`, `missing`.
//!
//! In: the tree of a file. Out: a [`Family`], nothing inherited yet.

use super::decode::At;
use super::entry::{Missing, Place};
use super::layer::{DEFAULTS_KEYS, Layer, layer};
use super::name::Name;
use super::problem::{Problems, quoted};
use super::tree::Node;
use jiff::civil::Date;
use std::path::Path;

/// Keys that a model has beside those of `defaults`.
pub(super) const MODEL_KEYS: [&str; 4] = ["name", "like", "checkpoint", "tolerance"];

/// A family file.
#[derive(Debug)]
pub(super) struct Family {
    pub name: Name,
    pub defaults: Layer,
    pub models: Vec<Model>,
    pub missing: Vec<Missing>,
}

/// An item of `models`.
#[derive(Debug)]
pub(super) struct Model {
    pub name: Name,
    /// Where the name stands.
    pub name_place: Place,
    /// Where the item begins.
    pub place: Place,
    pub like: Option<At<String>>,
    pub layer: Layer,
}

const STAGES: [(&str, &str); 4] =
    [("export", "export"), ("load", "load"), ("run", "run"), ("compare", "compare")];

impl Model {
    /// Where `like` stands, or the item that has none.
    pub fn like_place(&self) -> &Place {
        self.like.as_ref().map_or(&self.place, |like| &like.place)
    }
}

/// Reads a family file; `None` when it cannot be told which models it holds.
pub(super) fn family(file: &Path, root: &Node, today: Date, problems: &mut Problems) -> Option<Family> {
    let what = file.file_name().unwrap_or_default().to_string_lossy();
    let record = root.record(&what, &["family", "defaults", "models", "missing"], problems)?;
    let name = record.need("family", problems).and_then(|node| family_name(file, node, problems));
    let defaults = record.get("defaults").map(|node| defaults(node, today, problems)).unwrap_or_default();
    let items = record.need("models", problems).and_then(|node| node.list("models", problems));
    let models = items?.iter().filter_map(|node| model(node, today, problems)).collect();
    let name = name?;
    let absent = record.get("missing").and_then(|node| node.list("missing", problems)).unwrap_or_default();
    let missing = absent.iter().filter_map(|node| absentee(&name, node, problems)).collect();
    Some(Family { name, defaults, models, missing })
}

/// The family's name, which is its file's.
fn family_name(file: &Path, node: &Node, problems: &mut Problems) -> Option<Name> {
    let name = name("family", node, problems)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    if name.as_str() != stem {
        let message = format!("family {} is in a file called {}", quoted(name.as_str()), quoted(&stem));
        problems.add(&node.place, message);
        return None;
    }
    Some(name)
}

fn name(what: &str, node: &Node, problems: &mut Problems) -> Option<Name> {
    let text = node.text(what, problems)?;
    Name::new(text).map_err(|error| problems.add(&node.place, format!("{}: {error}", quoted(text)))).ok()
}

fn defaults(node: &Node, today: Date, problems: &mut Problems) -> Layer {
    match node.record("defaults", &DEFAULTS_KEYS, problems) {
        Some(record) => layer(&record, today, problems),
        None => Layer { broken: true, ..Layer::default() },
    }
}

fn model(node: &Node, today: Date, problems: &mut Problems) -> Option<Model> {
    let before = problems.count();
    let keys: Vec<_> = MODEL_KEYS.into_iter().chain(DEFAULTS_KEYS).collect();
    let record = node.record("models[]", &keys, problems)?;
    let name = record.need("name", problems).and_then(|node| Some((name("name", node, problems)?, node)));
    let like = record.optional("like", |node| node.text("like", problems).map(|value| (value, node)));
    let mut layer = layer(&record, today, problems);
    layer.broken = problems.count() > before;
    let (name, name_node) = name?;
    let like = like.flatten().map(|(value, node)| At { place: node.place.clone(), value: value.to_owned() });
    Some(Model { name, name_place: name_node.place.clone(), place: node.place.clone(), like, layer })
}

/// `{name: jukebox, stage: export, reason: "…"}`
fn absentee(family: &Name, node: &Node, problems: &mut Problems) -> Option<Missing> {
    let record = node.record("missing[]", &["name", "stage", "reason"], problems)?;
    let name_node = record.need("name", problems);
    let name = name_node.and_then(|node| name("name", node, problems));
    let stage = record.need("stage", problems).and_then(|node| node.choice("stage", &STAGES, problems));
    let reason = record.need("reason", problems).and_then(|node| node.text("reason", problems));
    let place = name_node?.place.clone();
    Some(Missing { name: name?, family: family.clone(), stage: stage?, reason: reason?.to_owned(), place })
}
