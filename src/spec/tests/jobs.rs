//! The exporter's job and the digests.

use super::super::{Versions, load};
use super::{check, entries, lines, project};
use serde_json::json;

const TEXT: &str = "
family: text
defaults: {axes: {batch: [2, 3], sequence: [5, 7]}}
models: [{name: a, class: A, task: text-generation, config: {x: 1, y: [true, null]}, without: [position_ids]}]
";

#[test]
fn the_exporters_json() {
    let entry = &entries(&[("text.yaml", TEXT)])[0];
    let expected = json!({
        "model": "a", "family": "text", "task": "text-generation", "class": "A", "source": "transformers",
        "checkpoint": null, "weights": "random", "config": {"x": 1, "y": [true, null]}, "seed": 0,
        "padding": "right",
        "dims": {"vocabulary": ["vocab_size", "text_config.vocab_size", "decoder.vocab_size"]},
        "cases": [
            {"name": "traced", "sizes": {"batch": 2, "sequence": 5}},
            {"name": "batch", "sizes": {"batch": 3, "sequence": 5}},
            {"name": "sequence", "sizes": {"batch": 2, "sequence": 7}},
        ],
        "inputs": [
            {"name": "input_ids", "dtype": "int64", "shape": ["batch", "sequence"], "fill": {"kind": "tokens"}},
            {"name": "attention_mask", "dtype": "int64", "shape": ["batch", "sequence"], "fill": {"kind": "mask"}},
        ],
        "placeholders": {},
        "outputs": [
            {"name": "logits", "dtype": "float32", "shape": ["batch", "sequence", "vocabulary"], "range": "finite"},
        ],
        "generation":
            {"grows": "input_ids", "mask": "attention_mask", "positions": null, "logits": "logits"},
        "rows": {"batch": 1}, "pads": true, "causal": "input_ids", "new_tokens": 16, "half": ["bfloat16"],
    });
    assert_eq!(serde_json::to_value(entry.job()).unwrap(), expected);
}

#[test]
fn a_digest_follows_what_is_exported_and_nothing_else() {
    let digest = |text: &str| {
        let spec = check(&[("text.yaml", text.as_bytes())]).unwrap();
        spec.entries[0].digest(&spec.versions)
    };
    let first = digest(TEXT);
    assert_eq!(first.len(), 16);
    assert_eq!(first, digest(&TEXT.replace("models", "\n# moved\n\nmodels")));
    assert_eq!(first, digest(&TEXT.replace("x: 1, y: [true, null]", "y: [true, null], x: 1")));
    assert_eq!(first, digest(&TEXT.replace("name: a,", "name: a, priority: high,")));
    assert_ne!(first, digest(&TEXT.replace("x: 1", "x: 2")));
    assert_ne!(first, digest(&TEXT.replace("name: a,", "name: a, seed: 1,")));
    assert_ne!(first, digest(&TEXT.replace("name: a,", "name: a, omit: {half: slow},")));
}

#[test]
fn a_digest_follows_the_pins() {
    let spec = check(&[("text.yaml", TEXT.as_bytes())]).unwrap();
    let digest = |versions: &Versions| spec.entries[0].digest(versions);
    let mut newer = spec.versions.clone();
    newer.python.insert("torch".to_owned(), "9.9.9".to_owned());
    assert_ne!(digest(&spec.versions), digest(&newer));
    let mut other_source = spec.versions.clone();
    other_source.sources.insert("other".to_owned(), spec.versions.sources["transformers"].clone());
    assert_eq!(digest(&spec.versions), digest(&other_source));
}

#[test]
fn the_checked_in_spec_has_no_problems() {
    let spec = load(project()).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    let sorted = spec.entries.is_sorted_by_key(|entry| (entry.family.clone(), entry.name.clone()));
    assert!(sorted && !spec.entries.is_empty());
}
