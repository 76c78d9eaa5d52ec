//! What is generated, and what happens to the files.

use super::{Plan, plan, sync};
use crate::spec::{self, Spec};
use std::fs;
use std::path::Path;

fn checked_in() -> Spec {
    spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn parse(family: &str) -> Spec {
    let versions =
        "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}";
    let file = |name: &str, text: &str| (Path::new("spec").join(name), text.as_bytes().to_vec());
    spec::parse(&[file("text.yaml", family), file("versions.yaml", versions)], spec::today()).unwrap()
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // A new pin or exporter changes digests, not the shape of what is generated.
    settings.add_filter(r#"digest: "[0-9a-f]{16}""#, r#"digest: "…""#);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn one_module_of_each_shape_is_generated_as_reviewed() {
    let plan = plan(&checked_in());
    for (name, path) in [("module_bert", "encoder_only/bert.rs"), ("module_llava", "multimodal/llava.rs")] {
        snapshot(name, &plan[Path::new(path)]);
    }
}

#[test]
fn every_key_that_reaches_a_module_is_generated_as_reviewed() {
    let spec = parse(
        r#"
family: text
models:
  - name: layout-2.5
    class: LayoutForMaskedLM
    task: fill-mask
    axes: {batch: [2, 3], sequence: {size: 8, fixed: "positions are a table of 8"}, parts: {per: batch, count: 2}}
    inputs:
      bbox: {dtype: int64, shape: [batch, sequence, 4], fill: boxes}
      kinds: {dtype: int64, shape: [parts], fill: {integers: [0, 5]}}
      places: {shape: [parts, 4, 2], fill: {grid: [2, 2]}}
    omit: {half: "the model computes in float32 throughout"}
    tolerance:
      - {check: generalises, output: logits, k: 8, reason: "long sums", until: 2099-12-31}
"#,
    );
    let plan = plan(&spec);
    snapshot("module_with_every_key", &plan[Path::new("text/layout_2_5.rs")]);
    snapshot("module_of_a_family", &plan[Path::new("text/mod.rs")]);
    snapshot("module_of_the_root", &plan[Path::new("mod.rs")]);
}

/// A plan of some files.
fn files(files: &[(&str, &str)]) -> Plan {
    files.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect()
}

#[test]
fn a_removed_entry_removes_its_file_and_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    sync(&files(&[("a/b.rs", "1"), ("c/d.rs", "2")]), folder.path()).unwrap();
    sync(&files(&[("a/b.rs", "1")]), folder.path()).unwrap();
    assert!(folder.path().join("a/b.rs").exists());
    assert!(!folder.path().join("c").exists());
}

#[test]
fn a_hand_edit_is_reverted() {
    let folder = tempfile::tempdir().unwrap();
    let plan = files(&[("a.rs", "generated")]);
    sync(&plan, folder.path()).unwrap();
    fs::write(folder.path().join("a.rs"), "edited").unwrap();
    sync(&plan, folder.path()).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("a.rs")).unwrap(), "generated");
}

#[test]
fn a_file_that_is_right_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let plan = files(&[("a/b.rs", "1")]);
    sync(&plan, folder.path()).unwrap();
    let written = || fs::metadata(folder.path().join("a/b.rs")).unwrap().modified().unwrap();
    let before = written();
    sync(&plan, folder.path()).unwrap();
    assert_eq!(written(), before);
}

#[test]
fn the_order_of_entries_does_not_change_what_is_generated() {
    let entry = |name: &str| {
        format!(
            "  - {{name: {name}, class: X, task: fill-mask, axes: {{batch: [2, 3], sequence: [4, 5]}}}}\n"
        )
    };
    let text = |names: [&str; 2]| format!("family: text\nmodels:\n{}{}", entry(names[0]), entry(names[1]));
    assert_eq!(plan(&parse(&text(["b", "a"]))), plan(&parse(&text(["a", "b"]))));
}
