//! One layer of an entry: what a family's `defaults` or a single model says, before anything is inherited.
//!
//! In: a mapping. Out: a [`Layer`], in which every key is checked on its own; what depends on other keys is
//! checked when layers are laid over each other.

use super::checks::Check;
use super::decode::{At, Record};
use super::entry::{Axis, DimSource, Padding, Place, Priority, Waiver};
use super::ports;
use super::problem::{Problems, one_of, quoted};
use super::sizes;
use super::tree::{Field, Node, Value};
use super::waiver;
use crate::task::{self, Contract, Input, Output};
use jiff::civil::Date;
use serde_json::Map;

/// Keys of `defaults`.
pub(super) const DEFAULTS_KEYS: [&str; 18] = [
    "class",
    "task",
    "priority",
    "source",
    "seed",
    "padding",
    "attention",
    "config",
    "axes",
    "dims",
    "placeholders",
    "without",
    "inputs",
    "outputs",
    "omit",
    "idle",
    "time_limit",
    "memory_limit",
];

/// Checks that no entry leaves out: without them nothing else that is said of the model means anything.
pub const NEVER_OMITTED: [Check; 2] = [Check::Loads, Check::MatchesReference];

/// The kinds of attention that an entry may have alone.
pub const ATTENTIONS: [&str; 2] = ["eager", "sdpa"];

/// What a layer says under one key: nothing, `null`, or a value.
pub(super) type Said<T> = Option<At<Option<T>>>;

/// What a layer says under the keys of a mapping; `None` where it says `null`.
pub(super) type Keyed<T> = Vec<Item<T>>;

/// One key of a mapping and what it says.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    pub key: String,
    pub place: Place,
    pub value: Option<T>,
}

/// What one layer says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub class: Said<String>,
    pub task: Said<&'static Contract>,
    pub checkpoint: Said<String>,
    pub priority: Said<Priority>,
    pub source: Said<String>,
    pub seed: Said<u64>,
    pub padding: Said<Padding>,
    pub attention: Keyed<String>,
    pub config: Map<String, serde_json::Value>,
    pub axes: Keyed<Axis>,
    pub dims: Keyed<DimSource>,
    pub placeholders: Keyed<usize>,
    pub without: Said<Vec<At<String>>>,
    pub inputs: Keyed<Input>,
    pub outputs: Keyed<Output>,
    pub omit: Keyed<String>,
    pub idle: Keyed<String>,
    pub time_limit: Said<u64>,
    pub memory_limit: Said<u64>,
    pub tolerance: Said<Vec<At<Waiver>>>,
    /// Something in it is wrong (and noted): what inherits it cannot be judged.
    pub broken: bool,
}

/// Reads a layer from a mapping with known keys.
pub(super) fn layer(record: &Record, today: Date, problems: &mut Problems) -> Layer {
    let before = problems.count();
    let mut reader = Reader { record, problems };
    let mut layer = Layer {
        class: reader.said("class", |node, problems| node.identifier("class", problems).map(str::to_owned)),
        task: reader.said("task", contract),
        checkpoint: reader.said("checkpoint", checkpoint),
        priority: reader.said("priority", |node, problems| node.choice("priority", &PRIORITIES, problems)),
        source: reader.said("source", |node, problems| node.text("source", problems).map(str::to_owned)),
        seed: reader.said("seed", seed),
        padding: reader.said("padding", |node, problems| node.choice("padding", &PADDINGS, problems)),
        attention: reader.keyed("attention", attention),
        config: reader.config(),
        axes: reader.keyed("axes", sizes::axis),
        dims: reader.keyed("dims", sizes::dim),
        placeholders: reader.keyed("placeholders", sizes::placeholder),
        without: reader.said("without", names),
        inputs: reader.keyed("inputs", ports::input),
        outputs: reader.keyed("outputs", ports::output),
        omit: reader.keyed("omit", reason),
        idle: reader.keyed("idle", idle),
        time_limit: reader.said("time_limit", time_limit),
        memory_limit: reader.said("memory_limit", memory_limit),
        tolerance: reader.said("tolerance", |node, problems| waiver::waivers(node, today, problems)),
        broken: false,
    };
    layer.broken = problems.count() > before;
    layer
}

const PRIORITIES: [(&str, Priority); 4] = [
    ("critical", Priority::Critical),
    ("high", Priority::High),
    ("medium", Priority::Medium),
    ("low", Priority::Low),
];

const PADDINGS: [(&str, Padding); 3] =
    [("left", Padding::Left), ("right", Padding::Right), ("none", Padding::None)];

/// Reads the values of a layer's keys.
struct Reader<'a, 'p> {
    record: &'a Record<'a>,
    problems: &'p mut Problems,
}

impl Reader<'_, '_> {
    fn said<T>(&mut self, key: &str, read: impl FnOnce(&Node, &mut Problems) -> Option<T>) -> Said<T> {
        let node = &self.record.field(key)?.node;
        let value = match node.value {
            Value::Null => None,
            _ => Some(read(node, self.problems)?),
        };
        Some(At { place: node.place.clone(), value })
    }

    fn keyed<T>(&mut self, key: &str, read: fn(&Field, &mut Problems) -> Option<T>) -> Keyed<T> {
        let Some(field) = self.record.field(key) else { return Vec::new() };
        let fields = field.node.map(key, self.problems).unwrap_or_default();
        fields.iter().filter_map(|field| item(field, read, self.problems)).collect()
    }

    fn config(&mut self) -> Map<String, serde_json::Value> {
        let Some(field) = self.record.field("config") else { return Map::new() };
        let fields = field.node.map("config", self.problems).unwrap_or_default();
        object(fields, self.problems)
    }
}

fn item<T>(
    field: &Field,
    read: fn(&Field, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Option<Item<T>> {
    let value = match field.node.value {
        Value::Null => None,
        _ => Some(read(field, problems)?),
    };
    Some(Item { key: field.key.clone(), place: field.place.clone(), value })
}

fn contract(node: &Node, problems: &mut Problems) -> Option<&'static Contract> {
    let words: Vec<_> = task::CONTRACTS.iter().map(|contract| (contract.name, contract)).collect();
    node.choice("task", &words, problems)
}

/// A hub id: `org/name`. The bare names of the hub's first models lead there too.
fn checkpoint(node: &Node, problems: &mut Problems) -> Option<String> {
    let id = node.text("checkpoint", problems)?;
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let parts: Vec<_> = id.split('/').collect();
    if parts.len() == 2 && parts.iter().all(|name| part(name)) {
        return Some(id.to_owned());
    }
    let message =
        format!("{} is no hub id: write `org/name` with letters, digits, '.', '_', '-'", quoted(id));
    problems.add(&node.place, message);
    None
}

fn seed(node: &Node, problems: &mut Problems) -> Option<u64> {
    node.integer("seed", 0..=i64::MAX, problems).map(|seed| seed as u64)
}

/// Seconds: a day at most.
fn time_limit(node: &Node, problems: &mut Problems) -> Option<u64> {
    node.integer("time_limit", 1..=86_400, problems).map(|seconds| seconds as u64)
}

/// GiB.
fn memory_limit(node: &Node, problems: &mut Problems) -> Option<u64> {
    node.integer("memory_limit", 1..=4096, problems).map(|gib| gib as u64)
}

fn names(node: &Node, problems: &mut Problems) -> Option<Vec<At<String>>> {
    let items = node.list("without", problems)?;
    items
        .iter()
        .map(|item| {
            let value = item.text("without[]", problems)?.to_owned();
            Some(At { place: item.place.clone(), value })
        })
        .collect()
}

/// The reason for leaving out a check.
fn reason(field: &Field, problems: &mut Problems) -> Option<String> {
    if waiver::check(&field.key, &field.place, problems).is_some_and(|check| NEVER_OMITTED.contains(&check)) {
        let message = format!("{} is never left out: list the model under `missing`", field.key);
        problems.add(&field.place, message);
    }
    field.node.text(&format!("omit.{}", field.key), problems).map(str::to_owned)
}

/// The reason for an attention.
fn attention(field: &Field, problems: &mut Problems) -> Option<String> {
    if !ATTENTIONS.contains(&field.key.as_str()) {
        let hint = one_of(&field.key, ATTENTIONS);
        problems.add(&field.place, format!("unknown attention {}{hint}", quoted(&field.key)));
    }
    field.node.text(&format!("attention.{}", field.key), problems).map(str::to_owned)
}

/// The reason for parameters that move no output.
fn idle(field: &Field, problems: &mut Problems) -> Option<String> {
    if !field.key.contains(char::is_alphanumeric) {
        let message =
            format!("idle {} excuses every parameter: name those that move nothing", quoted(&field.key));
        problems.add(&field.place, message);
    }
    field.node.text(&format!("idle.{}", field.key), problems).map(str::to_owned)
}

/// A mapping of the config as JSON.
fn object(fields: &[Field], problems: &mut Problems) -> Map<String, serde_json::Value> {
    fields.iter().filter_map(|field| Some((field.key.clone(), json(&field.node, problems)?))).collect()
}

/// A value of the config as JSON; `None` (noted) when JSON has no such value.
pub(super) fn json(node: &Node, problems: &mut Problems) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(_) => {
            problems.add(&node.place, "a number of `config` must be finite");
            return None;
        }
        Value::Text(text) if is_truth_word(text) => {
            problems.add(&node.place, format!("{} is text in YAML 1.2: write true or false", quoted(text)));
            return None;
        }
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().filter_map(|item| json(item, problems)).collect(),
        Value::Map(fields) => object(fields, problems).into(),
    })
}

/// Words that were truth values in YAML 1.1. No config has them as text; to Python they would all be true.
fn is_truth_word(text: &str) -> bool {
    ["yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}
