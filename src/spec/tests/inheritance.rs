//! Which layer counts.

use super::super::{Axis, Check, DimSource, Padding, Priority};
use super::{Entry, entries};
use serde_json::json;

const TEXT: &str = "
family: text
defaults:
  task: fill-mask
  padding: left
  axes: {batch: [2, 3], sequence: [5, 7], target: [1, 2]}
  config: {hidden_size: 32, layers: {count: 2, kind: plain}}
models:
  - name: base
    class: Base
    checkpoint: org/base
    priority: high
    seed: 7
    config: {layers: {kind: odd}, eps: 1e-5}
    omit: {half: no kernel}
    inputs: {bbox: {shape: [batch, sequence, 4], fill: boxes}}
    tolerance: [{check: generalises, k: 4, reason: r, until: 2026-12-31}]
  - name: child
    like: base
    checkpoint: org/child
    config: {hidden_size: null, layers: {count: 3}, pad_token_id: null}
    omit: {half: null, reloads: slow}
    without: [bbox]
    tolerance: []
  - name: grandchild
    like: child
    class: Grand
    checkpoint: null
    without: []
    padding: null
";

fn named(name: &str) -> Entry {
    entries(&[("text.yaml", TEXT)]).into_iter().find(|entry| entry.name.as_str() == name).unwrap()
}

fn inputs(entry: &Entry) -> Vec<&str> {
    entry.inputs.iter().map(|input| input.name.as_ref()).collect()
}

#[test]
fn an_entry_speaks_over_the_defaults() {
    let base = named("base");
    assert_eq!(
        json!(base.config),
        json!({"hidden_size": 32, "layers": {"count": 2, "kind": "odd"}, "eps": 1e-5})
    );
    assert_eq!((base.seed, base.priority, base.padding), (7, Priority::High, Padding::Left));
    assert_eq!(inputs(&base), ["input_ids", "attention_mask", "bbox"]);
    assert_eq!(
        Vec::from_iter(base.axes.keys()),
        ["batch", "sequence"],
        "target is unused, and only a default"
    );
    assert!(base.omit.contains_key(&Check::Half));
    assert_eq!((base.place.line, base.place.column), (9, 5));
}

#[test]
fn an_entry_speaks_over_what_it_is_like() {
    let child = named("child");
    let config = json!({"layers": {"count": 3, "kind": "odd"}, "eps": 1e-5, "pad_token_id": null});
    assert_eq!(json!(child.config), config);
    assert_eq!((child.class.as_str(), child.seed), ("Base", 7));
    assert_eq!(child.checkpoint.as_deref(), Some("org/child"));
    assert_eq!(Vec::from_iter(child.omit.keys()), [&Check::Reloads]);
    assert_eq!(inputs(&child), ["input_ids", "attention_mask"]);
    assert!(child.tolerance.is_empty());
}

#[test]
fn likeness_has_no_end() {
    let grandchild = named("grandchild");
    assert_eq!((grandchild.class.as_str(), grandchild.seed, grandchild.checkpoint), ("Grand", 7, None));
    assert_eq!(grandchild.padding, Padding::Right, "null falls back to the built-in default");
    assert_eq!(inputs(&named("grandchild")), ["input_ids", "attention_mask", "bbox"]);
}

#[test]
fn a_liked_model_of_another_family_speaks_over_this_familys_defaults() {
    let other = "
family: other
defaults: {task: text-generation, config: {hidden_size: 64, other: 1}, axes: {batch: [4, 5]}}
models: [{name: cousin, like: base, class: Cousin}]
";
    let entries = entries(&[("text.yaml", TEXT), ("other.yaml", other)]);
    let cousin = entries.iter().find(|entry| entry.name.as_str() == "cousin").unwrap();
    assert_eq!(cousin.task.name, "fill-mask");
    assert_eq!((&cousin.config["hidden_size"], &cousin.config["other"]), (&json!(32), &json!(1)));
    assert_eq!(cousin.axes["batch"], Axis::Dynamic { traced: 2, second: 3 });
}

#[test]
fn inherited_words_that_do_not_fit_are_left_aside() {
    let text = "
family: text
defaults:
  without: [position_ids]
  omit: {causal: leaks}
  axes: {batch: [2, 3], sequence: [5, 7]}
models:
  - {name: a, class: A, task: text-generation}
  - {name: b, class: B, task: fill-mask}
";
    let entries = entries(&[("text.yaml", text)]);
    assert_eq!(entries[0].omit.len(), 1);
    assert!(entries[1].omit.is_empty());
    assert_eq!(inputs(&entries[0]), inputs(&entries[1]));
}

#[test]
fn dimensions_come_from_the_task_unless_the_entry_says_otherwise() {
    let text = "
family: text
defaults: {task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}
models:
  - {name: a, class: A}
  - {name: b, class: B, dims: {vocabulary: decoder.vocab_size}}
  - {name: c, class: C, dims: {vocabulary: 99}}
  - {name: d, class: D, outputs: {logits: {shape: [batch, hidden]}}}
";
    let entries = entries(&[("text.yaml", text)]);
    assert!(matches!(&entries[0].dims["vocabulary"], DimSource::Paths(paths) if paths[0] == "vocab_size"));
    assert_eq!(entries[1].dims["vocabulary"], DimSource::Paths(vec!["decoder.vocab_size".to_owned()]));
    assert_eq!(entries[2].dims["vocabulary"], DimSource::Size(99));
    assert_eq!(
        Vec::from_iter(entries[3].dims.keys()),
        ["hidden", "vocabulary"],
        "token ids need a vocabulary"
    );
}

#[test]
fn an_axis_that_another_one_is_per_stays() {
    let text = "
family: text
models:
  - name: a
    class: A
    task: image-classification
    axes: {pages: [2, 3], batch: {per: pages, count: 2}, image: {size: 8, fixed: learned positions}}
";
    let entry = &entries(&[("text.yaml", text)])[0];
    assert_eq!(Vec::from_iter(entry.axes.keys()), ["batch", "image", "pages"]);
    assert_eq!(entry.cases()[1].sizes["batch"], 6);
    assert_eq!(entry.padding, Padding::None, "nothing to pad without a mask");
}
