//! Where an entry's values come from.
//!
//! In: the spec's files and a model's name. Out: every value that a layer gives the entry, with the place of the
//! layer that had the last word. The layers are those of `resolve`; here only their places matter.

use super::entry::Place;
use super::layer;
use super::problem::Problems;
use super::tree::{self, Field, Node, Value};
use std::collections::BTreeMap;

/// A value of an entry and the place that gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// `class`, `axes.batch`, `config.text_config.vocab_size`.
    pub key: String,
    pub value: serde_json::Value,
    pub place: Place,
}

/// A family file, unresolved.
struct Raw {
    defaults: Vec<Field>,
    models: BTreeMap<String, Vec<Field>>,
}

/// What every layer of the entry says that no stronger layer replaces or takes away, sorted by key.
///
/// An unknown name, or files with problems, explain nothing.
pub fn explain(files: &[super::File], name: &str) -> Vec<Origin> {
    let families: Vec<Raw> = files.iter().filter_map(raw).collect();
    let mut said = BTreeMap::new();
    for layer in layers(&families, name) {
        for field in layer.iter().filter(|field| !["name", "like"].contains(&field.key.as_str())) {
            say(&mut said, &field.key, field, field.key == "config");
        }
    }
    said.into_iter().map(|(key, (value, place))| Origin { key, value, place }).collect()
}

fn raw((path, bytes): &super::File) -> Option<Raw> {
    let root = tree::parse(path, bytes, &mut Problems::default())?;
    let models = match &field(fields(&root), "models")?.node.value {
        Value::List(items) => {
            items.iter().map(fields).filter_map(|model| Some((text(model, "name")?, model)))
        }
        _ => return None,
    };
    Some(Raw {
        models: models.map(|(name, model)| (name.to_owned(), model.to_vec())).collect(),
        defaults: field(fields(&root), "defaults")
            .map(|field| fields(&field.node).to_vec())
            .unwrap_or_default(),
    })
}

/// The layers of a model, the weakest first: defaults, what it is like, itself.
fn layers<'a>(families: &'a [Raw], name: &str) -> Vec<&'a [Field]> {
    let (mut defaults, mut models): (Vec<&Raw>, Vec<&[Field]>) = (Vec::new(), Vec::new());
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        let Some((family, model)) = families.iter().find_map(|raw| Some((raw, raw.models.get(&name)?)))
        else {
            break;
        };
        if models.iter().any(|seen| std::ptr::eq(*seen, model.as_slice())) {
            break;
        }
        defaults.retain(|seen| !std::ptr::eq(*seen, family));
        defaults.push(family);
        models.push(model);
        next = text(model, "like").map(str::to_owned);
    }
    let defaults = defaults.into_iter().map(|family| family.defaults.as_slice());
    defaults.chain(models.into_iter().rev()).collect()
}

type Said = BTreeMap<String, (serde_json::Value, Place)>;

/// Lays one value over what was said before; mappings merge key by key, `config` at every depth.
fn say(said: &mut Said, key: &str, field: &Field, deep: bool) {
    let depth = key.matches('.').count();
    match &field.node.value {
        Value::Map(fields) if !fields.is_empty() && (deep || depth == 0) => {
            fields.iter().for_each(|inner| say(said, &format!("{key}.{}", inner.key), inner, deep));
        }
        value => {
            let below = format!("{key}.");
            let before = said.len();
            said.retain(|path, _| path != key && !path.starts_with(&below));
            let removed = said.len() < before;
            if *value != Value::Null || (deep && depth > 0 && !removed) {
                let json = layer::json(&field.node, &mut Problems::default()).unwrap_or_default();
                said.insert(key.to_owned(), (json, field.place.clone()));
            }
        }
    }
}

fn fields(node: &Node) -> &[Field] {
    match &node.value {
        Value::Map(fields) => fields,
        _ => &[],
    }
}

fn field<'a>(fields: &'a [Field], key: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.key == key)
}

fn text<'a>(fields: &'a [Field], key: &str) -> Option<&'a str> {
    match &field(fields, key)?.node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "family: text\ndefaults:\n  task: fill-mask\n  config: {a: 1, b: {c: 2, d: 3}}\n  \
                        axes: {batch: [2, 3]}\nmodels:\n  - name: base\n    class: A\n    seed: 4\n  \
                        - name: x\n    like: base\n    class: B\n    seed: null\n    config: {a: null, b: {d: 5}, e: null}\n";

    fn origins(name: &str) -> Vec<String> {
        let files = [("spec/text.yaml".into(), TEXT.as_bytes().to_vec())];
        let line = |origin: Origin| format!("{} {} {}", origin.key, origin.value, origin.place.line);
        explain(&files, name).into_iter().map(line).collect()
    }

    #[test]
    fn every_value_names_the_line_that_has_the_last_word() {
        let expected = [
            "axes.batch [2,3] 5",
            "class \"B\" 12",
            "config.b.c 2 4",
            "config.b.d 5 14",
            "config.e null 14",
            "task \"fill-mask\" 3",
        ];
        assert_eq!(origins("x"), expected);
    }

    #[test]
    fn an_unknown_model_has_no_origins() {
        assert!(origins("y").is_empty());
    }
}
