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
        "checkpoint": null, "weights": "random", "config": {"x": 1, "y": [true, null]}, "seed": 0, "attention": null,
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
        "rows": {"batch": 1}, "pads": true, "causal": "input_ids", "new_tokens": 16, "decoded_tokens": 41, "half": ["bfloat16"],
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
    for package in ["transformers", "numpy"] {
        let mut newer = spec.versions.clone();
        newer.python.insert(package.to_owned(), "9.9.9".to_owned());
        assert_ne!(digest(&spec.versions), digest(&newer), "{package}");
    }
    let mut other_source = spec.versions.clone();
    other_source.sources.insert("other".to_owned(), spec.versions.sources["transformers"].clone());
    assert_eq!(digest(&spec.versions), digest(&other_source));
}

#[test]
fn an_overlay_counts_for_the_entries_of_its_source_and_hides_what_it_replaces() {
    let spec = check(&[("text.yaml", TEXT.as_bytes())]).unwrap();
    let plain = &spec.entries[0];
    let mut laid_over = plain.clone();
    laid_over.source = "older".to_owned();
    let versions = |python: &[(&str, &str)], overlay: &[(&str, &str)]| {
        let mut versions = spec.versions.clone();
        let pins = |pins: &[(&str, &str)]| {
            pins.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect::<Vec<_>>()
        };
        versions.python.extend(pins(python));
        let mut older = versions.sources["transformers"].clone();
        older.overlay = pins(&[("transformers", "4.0.0")]).into_iter().chain(pins(overlay)).collect();
        versions.sources.insert("older".to_owned(), older);
        versions
    };
    let before = versions(&[], &[]);
    let moved =
        |after: &Versions| [plain, &laid_over].map(|entry| entry.digest(&before) != entry.digest(after));
    assert_eq!(moved(&versions(&[], &[("transformers", "4.0.1")])), [false, true]);
    assert_eq!(moved(&versions(&[], &[("tokenizers", "0.1.0")])), [false, true]);
    assert_eq!(moved(&versions(&[("torch", "9.9.9")], &[])), [true, true]);
    assert_eq!(moved(&versions(&[("transformers", "9.9.9")], &[])), [true, false]);
}

#[test]
fn the_checked_in_spec_has_no_problems() {
    let spec = load(project()).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    let sorted = spec.entries.is_sorted_by_key(|entry| (entry.family.clone(), entry.name.clone()));
    assert!(sorted && !spec.entries.is_empty());
}
