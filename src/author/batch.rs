//! Batches: many requests in one file.
//!
//! In: JSON or YAML, family → list of `{name, template, task, original_name}`. Out: [`AddRequest`]es, or every mistake.

use super::AddRequest;
use crate::roster::{self, Row, plain};
use crate::spec::{self, Problem};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One element of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    /// The name with underscores, or in any other spelling.
    name: String,
    /// The entry to be like, where that makes a shorter entry.
    template: Option<String>,
    task: Option<String>,
    /// The name as HuggingFace spells it; it becomes the entry's.
    original_name: Option<String>,
}

/// Why a batch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}:{}:{}: not JSON: {error}", path.display(), error.line(), error.column())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("{}", Vec::from_iter(.0.iter().map(ToString::to_string)).join("\n"))]
    Yaml(Vec<Problem>),
    #[error("{}: a batch is a mapping from families to lists of {{name, template, task, original_name}}", .0.display())]
    Shape(PathBuf),
    #[error("{}: {family}[{index}]: {error}", path.display())]
    Item { path: PathBuf, family: String, index: usize, error: serde_json::Error },
}

/// Reads a batch; the roster tells what its names mean.
///
/// # Errors
/// The first mistake of the file.
pub fn read(path: &Path, rows: &[Row]) -> Result<Vec<AddRequest>, BatchError> {
    let bytes = std::fs::read(path).map_err(|error| BatchError::Io { path: path.to_owned(), error })?;
    parse(path, &bytes, rows)
}

/// Reads the bytes of a batch.
pub(crate) fn parse(path: &Path, bytes: &[u8], rows: &[Row]) -> Result<Vec<AddRequest>, BatchError> {
    let Value::Object(families) = value(path, bytes)? else { return Err(BatchError::Shape(path.to_owned())) };
    let mut requests: BTreeMap<String, AddRequest> = BTreeMap::new();
    for (family, items) in families {
        let Value::Array(items) = items else { return Err(BatchError::Shape(path.to_owned())) };
        for (index, item) in items.into_iter().enumerate() {
            let error =
                |error| BatchError::Item { path: path.to_owned(), family: family.clone(), index, error };
            let request = request(&family, serde_json::from_value(item).map_err(error)?, rows);
            // A name that is there twice is one request.
            requests.entry(plain(request.name.as_ref().unwrap_or(&request.asked))).or_insert(request);
        }
    }
    Ok(requests.into_values().collect())
}

fn value(path: &Path, bytes: &[u8]) -> Result<Value, BatchError> {
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_slice(bytes)
            .map_err(|error| BatchError::Json { path: path.to_owned(), error });
    }
    spec::value(path, bytes).map_err(BatchError::Yaml)
}

fn request(family: &str, item: Item, rows: &[Row]) -> AddRequest {
    let asked = item.original_name.clone().unwrap_or(item.name.clone());
    let row = roster::find(rows, &asked).or_else(|| roster::find(rows, &item.name));
    AddRequest {
        asked,
        name: item.original_name,
        task: item.task,
        family: Some(family.replace('_', "-")),
        template: item.template,
        row: row.cloned(),
        ..AddRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"decoder_only": [
        {"name": "command_r", "template": "gpt2", "task": "text-generation", "original_name": "command-r"},
        {"name": "qwen2"}, {"name": "Qwen2"}]}"#;

    fn requests(name: &str, text: &str) -> Result<Vec<AddRequest>, BatchError> {
        let rows = roster::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        parse(Path::new(name), text.as_bytes(), &rows)
    }

    #[test]
    fn the_plans_format_is_read_as_json_and_as_yaml() {
        let yaml = "decoder_only:\n- {name: command_r, template: gpt2, task: text-generation, original_name: command-r}\n- name: qwen2\n";
        for (name, text) in [("a.json", JSON), ("a.yaml", yaml)] {
            let requests = requests(name, text).unwrap();
            let names: Vec<_> = requests.iter().map(|request| request.asked.as_str()).collect();
            assert_eq!(names, ["command-r", "qwen2"]);
            assert_eq!(requests[0].name.as_deref(), Some("command-r"));
            assert_eq!(requests[0].family.as_deref(), Some("decoder-only"));
            assert_eq!(requests[0].row.as_ref().and_then(|row| row.model_type.as_deref()), Some("cohere"));
        }
    }

    #[test]
    fn what_is_wrong_with_a_batch_is_said_in_one_line() {
        let table = [
            ("a.json", "{", "a.json:1:1: not JSON: EOF while parsing an object at line 1 column 1"),
            (
                "a.yaml",
                "a: [",
                "a.yaml:2:1: not YAML: while parsing a node, did not find expected node content",
            ),
            (
                "a.yaml",
                "[]",
                "a.yaml: a batch is a mapping from families to lists of {name, template, task, original_name}",
            ),
            ("a.json", r#"{"vision": [{"task": "x"}]}"#, "a.json: vision[0]: missing field `name`"),
            (
                "a.json",
                r#"{"vision": [{"name": "x", "tsk": "x"}]}"#,
                "a.json: vision[0]: unknown field `tsk`, expected one of `name`, `template`, `task`, `original_name`",
            ),
        ];
        for (name, text, expected) in table {
            assert_eq!(requests(name, text).unwrap_err().to_string(), expected);
        }
    }
}
