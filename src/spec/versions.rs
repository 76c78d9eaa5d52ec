//! `versions.yaml`: every pin, once.
//!
//! In: the tree of the file. Out: [`Versions`].

use super::entry::{Source, Versions};
use super::package;
use super::problem::{Problems, quoted};
use super::tree::{Field, Node};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads `versions.yaml`.
pub(super) fn versions(root: &Node, problems: &mut Problems) -> Option<Versions> {
    let record = root.record("versions.yaml", &["python", "tch", "sources", "extras"], problems)?;
    let python = record.need("python", problems).and_then(|node| pins("python", node, problems));
    let sources = record.need("sources", problems).and_then(|node| node.map("sources", problems));
    let (python, fields) = (python?, sources?);
    let sources = fields.iter().filter_map(|field| source(field, &python, problems)).collect();
    let tch = record.optional("tch", |node| pins("tch", node, problems))?.unwrap_or_default();
    let extras = record.optional("extras", |node| extras(node, problems))?.unwrap_or_default();
    Some(Versions { python, sources, tch, extras })
}

/// `gguf: {gguf: 0.19.0, accelerate: 1.14.0}`.
fn extras(node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let fields = node.map("extras", problems)?;
    let extra = |field: &Field| {
        let pins = pins(&format!("extras.{}", field.key), &field.node, problems)?;
        Some((field.key.clone(), pins))
    };
    fields.iter().map(extra).collect()
}

/// `transformers: {package: transformers, version: 5.17.0, overlay: {…}}`.
fn source(
    field: &Field,
    python: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<(String, Source)> {
    let what = format!("sources.{}", field.key);
    let record = field.node.record(
        &what,
        &["package", "version", "path", "module", "config", "overlay", "build"],
        problems,
    )?;
    let package = record.need("package", problems).and_then(|node| node.text("package", problems));
    let path = record.optional("path", |node| node.text("path", problems).map(PathBuf::from))?;
    let version = match &path {
        // Its files are its version.
        Some(path) => Some(package::version(path)),
        None => record.need("version", problems).and_then(|node| version("version", node, problems)),
    };
    let module = record.optional("module", |node| dotted(&format!("{what}.module"), node, problems));
    let config = record.optional("config", |node| dotted(&format!("{what}.config"), node, problems));
    let overlay = record.optional("overlay", |node| pins(&format!("{what}.overlay"), node, problems));
    let build = record.optional("build", |node| pins(&format!("{what}.build"), node, problems));
    let source = Source {
        package: package?.to_owned(),
        version: version?,
        module: module?,
        config: config?,
        path,
        overlay: overlay?.unwrap_or_default(),
        build: build?.unwrap_or_default(),
        tried: None,
    };
    let (set, pins) =
        if source.overlay.is_empty() { ("python", python) } else { ("its overlay", &source.overlay) };
    if source.path.is_none() && pins.get(&source.package) != Some(&source.version) {
        let message = format!("`{what}` is {} {}, which {set} does not pin", source.package, source.version);
        problems.add(&field.place, message);
    }
    Some((field.key.clone(), source))
}

/// `name: version` pairs.
fn pins(what: &str, node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let fields = node.map(what, problems)?;
    fields
        .iter()
        .map(|field| {
            let version = version(&format!("{what}.{}", field.key), &field.node, problems)?;
            Some((field.key.clone(), version))
        })
        .collect()
}

/// A path of Python names: `torchscale.model.BEiT3`.
fn dotted(what: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(what, problems)?;
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let valid = text.split('.').all(is_name);
    if !valid {
        let message = format!("`{what}` must be Python names with dots between them, not {}", quoted(text));
        problems.add(&node.place, message);
    }
    valid.then(|| text.to_owned())
}

/// One exact version.
fn version(what: &str, node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(what, problems)?;
    let valid = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+-".contains(c));
    if !valid {
        problems.add(&node.place, format!("`{what}` must be one exact version, not {}", quoted(text)));
    }
    valid.then(|| text.to_owned())
}
