//! An entry before it is one, and its YAML.

use crate::spec::Base;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use wildmatch::WildMatch;

/// Longest line before a mapping is written over several lines.
const LINE_MAX: usize = 110;

/// What the exporter suggests for a name, and why.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Draft {
    pub family: String,
    pub model_type: String,
    pub task: String,
    pub class: String,
    pub checkpoint: Option<String>,
    /// One line for every choice.
    #[serde(default)]
    pub reasons: Vec<String>,
    pub config: Map<String, Value>,
    #[serde(deserialize_with = "axes")]
    pub axes: Map<String, Value>,
    pub dims: Map<String, Value>,
    pub inputs: Map<String, Value>,
    #[serde(default)]
    pub outputs: Map<String, Value>,
    pub without: Vec<String>,
    pub placeholders: Map<String, Value>,
    /// Where padding is, if not where the base has it.
    #[serde(default)]
    pub padding: Option<String>,
    /// The seed, where not every one does.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Check → why it is left out; null for one that the entry it is like leaves out, and this one does not.
    pub omit: BTreeMap<String, Option<String>>,
    /// The entry whose code is nearest.
    #[serde(default)]
    pub near: Option<String>,
    /// The entry to inherit from.
    #[serde(default)]
    pub like: Option<String>,
    /// Parameters that move no output → why.
    #[serde(skip)]
    pub idle: Map<String, Value>,
    #[serde(skip)]
    pub priority: Option<String>,
    #[serde(skip)]
    pub source: Option<String>,
}

/// Axes in the spec's words: `{"dynamic": [2, 3]}` is `[2, 3]`.
fn axes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let axes = Map::deserialize(deserializer)?;
    Ok(axes.into_iter().map(|(name, axis)| (name, axis.get("dynamic").cloned().unwrap_or(axis))).collect())
}

impl Draft {
    /// The entry's lines, the first with its dash; only what differs from `base`.
    pub fn lines(&self, name: &str, base: &Base) -> Vec<String> {
        let text = |value: &str| Value::from(value);
        let new = |value: &str, inherited: &Option<String>| {
            (inherited.as_deref() != Some(value)).then(|| text(value))
        };
        let mapping = |map: &Map<String, Value>| (!map.is_empty()).then(|| Value::from(map.clone()));
        let omit: Map<String, Value> =
            self.omit.iter().map(|(check, why)| (check.clone(), Value::from(why.clone()))).collect();
        let fields = [
            ("name", Some(text(name))),
            ("like", self.like.as_deref().map(text)),
            ("class", new(&self.class, &base.class)),
            ("task", new(&self.task, &base.task)),
            ("checkpoint", self.checkpoint.as_deref().map(text)),
            ("priority", self.priority.as_deref().filter(|priority| *priority != "low").map(text)),
            ("source", self.source.as_deref().map(text)),
            ("seed", self.seed.map(Value::from)),
            ("padding", self.padding.as_deref().map(text)),
            ("config", mapping(&self.config)),
            ("axes", mapping(&self.axes)),
            ("dims", mapping(&self.dims)),
            ("placeholders", mapping(&self.placeholders)),
            ("inputs", mapping(&self.inputs)),
            ("outputs", mapping(&self.outputs)),
            ("without", (!self.without.is_empty()).then(|| self.without.clone().into())),
            ("omit", mapping(&omit)),
            ("idle", mapping(&self.idle)),
        ];
        let mut lines = Vec::new();
        for (key, value) in fields {
            lines.extend(value.into_iter().flat_map(|value| field(key, &value, 2)));
        }
        lines[0].replace_range(..1, "-");
        lines
    }
}

/// What `idle` says of parameters that move no output: the fewest patterns that name them, and no other of all parameters.
pub(super) fn idle(names: &[&str], all: &[&str]) -> Map<String, Value> {
    let reason = "measured when it was added: moves no output at these inputs";
    let is_honest =
        |pattern: &WildMatch| all.iter().all(|name| names.contains(name) || !pattern.matches(name));
    let mut left = names.to_vec();
    let mut found = Map::new();
    while let Some(first) = left.first() {
        let covered = |text: &String| {
            let pattern = WildMatch::new(text);
            let count = left.iter().filter(|name| pattern.matches(name)).count();
            (if is_honest(&pattern) { count } else { 0 }, Reverse(text.len()))
        };
        let best = patterns(first).into_iter().max_by_key(covered).unwrap_or_else(|| (*first).to_owned());
        left.retain(|name| !WildMatch::new(&best).matches(name));
        found.insert(best, reason.into());
    }
    found
}

/// Patterns that name a parameter: itself, its modules from the innermost on, and what it is called in whatever layer.
fn patterns(name: &str) -> Vec<String> {
    let parts = Vec::from_iter(name.split('.'));
    let modules = (1..parts.len()).map(|end| format!("{}.*", parts[..end].join(".")));
    let ends = (1..parts.len().saturating_sub(1)).map(|start| format!("*.{}", parts[start..].join(".")));
    let is_number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
    let starred = parts.iter().map(|part| if is_number(part) { "*" } else { part });
    let layers = Vec::from_iter(starred).join(".");
    let inside = layers.rsplit_once('.').map(|(module, _)| format!("{module}.*"));
    [name.to_owned(), layers].into_iter().chain(inside).chain(modules).chain(ends).collect()
}

/// `key: value` on one line, or a mapping over several.
fn field(key: &str, value: &Value, indent: usize) -> Vec<String> {
    let line = format!("{:indent$}{}: {}", "", scalar(key), flow(value));
    match value {
        // Two more for the indentation of the list.
        Value::Object(fields) if line.chars().count() + 2 > LINE_MAX => {
            let inner = fields.iter().flat_map(|(key, value)| field(key, value, indent + 2));
            std::iter::once(format!("{:indent$}{}:", "", scalar(key))).chain(inner).collect()
        }
        _ => vec![line],
    }
}

/// A value on one line.
pub fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", Vec::from_iter(items.iter().map(flow)).join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", Vec::from_iter(fields).join(", "))
        }
        other => other.to_string(),
    }
}

/// Text as YAML: plain where no reader of YAML could take it for something else, else in quotes.
fn scalar(text: &str) -> String {
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
    match begins && plain && !words.contains(&text.to_lowercase().as_str()) {
        true => text.to_owned(),
        // JSON's strings are YAML's.
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Base {
        let text = "family: text\ndefaults: {task: fill-mask}\nmodels: []\n";
        let today = crate::spec::today();
        let mut bases = crate::spec::bases(&[("spec/text.yaml".into(), text.into())], today);
        bases.remove("text").unwrap()
    }

    fn draft(config: Value) -> Draft {
        serde_json::from_value(json!({
            "family": "text", "model_type": "b", "task": "fill-mask", "class": "BForMaskedLM", "checkpoint": "o/b-1",
            "config": config, "axes": {"image": {"dynamic": [32, 48]}}, "dims": {}, "inputs": {},
            "without": ["position_ids"], "placeholders": {}, "omit": {"half": "eager: \"x\": no kernel", "generates": null},
        }))
        .unwrap()
    }

    #[test]
    fn an_entry_says_only_what_differs_from_its_base() {
        let expected = "- name: b\n  class: BForMaskedLM\n  checkpoint: o/b-1\n  config: {a: [1, 2], b: null}\n  \
                        axes: {image: [32, 48]}\n  without: [position_ids]\n  omit: {generates: null, half: \"eager: \\\"x\\\": no kernel\"}";
        assert_eq!(draft(json!({"a": [1, 2], "b": null})).lines("b", &base()).join("\n"), expected);
    }

    #[test]
    fn idle_parameters_are_named_by_few_patterns_and_no_other_with_them() {
        let all =
            ["a.0.k.bias", "a.0.q.bias", "a.1.k.bias", "a.1.q.bias", "b.x.weight", "b.y.weight", "c.weight"];
        let patterns =
            |names: &[&str]| Vec::from_iter(idle(names, &all).into_iter().map(|(pattern, _)| pattern));
        assert_eq!(patterns(&["a.0.k.bias", "a.1.k.bias", "b.x.weight", "b.y.weight"]), ["a.*.k.*", "b.*"]);
        assert_eq!(patterns(&["a.0.k.bias", "b.x.weight"]), ["a.0.k.*", "b.x.*"]);
    }

    #[test]
    fn a_long_mapping_is_written_over_several_lines() {
        let long = "a".repeat(60);
        let lines = draft(json!({"outer": {"a": long, "b": long}})).lines("b", &base());
        assert_eq!(&lines[3..6], ["  config:", "    outer:", &format!("      a: {long}")]);
    }

    #[test]
    fn text_that_yaml_would_read_as_something_else_is_quoted() {
        let table = [("no", "\"no\""), ("1e3", "\"1e3\""), ("a: b", "\"a: b\""), ("a.b/c-d_1", "a.b/c-d_1")];
        for (text, yaml) in table {
            assert_eq!(flow(&text.into()), yaml);
        }
    }
}
