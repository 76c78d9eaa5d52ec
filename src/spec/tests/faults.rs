//! One planted fault after another, and what is said about it.

use super::super::{load, parse};
use super::{check, lines, project, today};
use std::path::Path;

/// File names and their contents.
type Files = &'static [(&'static str, &'static [u8])];

/// Faults in the one model of a family: its extra lines.
const MODEL: &[(&str, &str)] = &[
    ("unknown key", "chekpoint: a/b"),
    ("unknown key, nothing near", "colour: red"),
    ("wrong type: mapping", "config: [1, 2]"),
    ("wrong type: list", "without: input_ids"),
    ("wrong type: text", "checkpoint: 42"),
    ("wrong type: number", "seed: twelve"),
    ("null where a mapping is expected", "axes:"),
    ("empty text", "checkpoint: ''"),
    ("negative seed", "seed: -1"),
    ("no time at all", "time_limit: 0"),
    ("memory in words", "memory_limit: 8 GiB"),
    ("no class", "class: null"),
    ("no task", "task: null"),
    ("unknown task, one near", "task: fil-mask"),
    ("unknown task, none near", "task: cooking"),
    ("a number as task", "task: 3"),
    ("class is no identifier", "class: Bert-For-MaskedLM"),
    ("checkpoint without its organisation", "checkpoint: bert-base-uncased"),
    ("checkpoint with too many parts", "checkpoint: a/b/c"),
    ("checkpoint with odd characters", "checkpoint: 'org/na me'"),
    ("unknown priority", "priority: hihg"),
    ("unknown source", "source: transformer"),
    ("unknown padding", "padding: middle"),
    ("config: number that JSON has not", "config: {scale: .nan}"),
    ("config: YAML 1.1 truth value", "config: {tie_weights: no}"),
    ("config: YAML 1.1 merge", "config: {<<: {hidden_size: 8}, text_config: {'<<': {hidden_size: 8}}}"),
    ("config: number too large", "config: {size: 99999999999999999999}"),
    ("axis: a bare number", "axes: {sequence: 5}"),
    ("axis: one size", "axes: {sequence: [5]}"),
    ("axis: the same size twice", "axes: {sequence: [5, 5]}"),
    ("axis: size 0", "axes: {sequence: [0, 5]}"),
    ("axis: huge size", "axes: {sequence: [5, 5000000]}"),
    ("axis: fixed without a reason", "axes: {sequence: {size: 5}}"),
    ("axis: fixed, misspelt", "axes: {sequence: {size: 5, fixd: why}}"),
    ("axis: per an unknown axis", "axes: {sequence: {per: bacth, count: 2}}"),
    (
        "axis: per a dependent axis",
        "axes: {batch: {per: sequence, count: 2}, sequence: {per: batch, count: 2}}",
    ),
    ("axis: per without a count", "axes: {sequence: {per: batch}}"),
    ("axis: unused", "axes: {sequnce: [5, 7]}"),
    ("axis: name of a case", "axes: {traced: [5, 7]}"),
    ("axis: no identifier", "axes: {2d: [5, 7]}"),
    ("axis: nothing to remove", "axes: {target: null}"),
    ("axis: removed, so nothing gives the size", "axes: {sequence: null}"),
    ("dim: wrong form", "dims: {vocabulary: {a: b}}"),
    ("dim: bad path", "dims: {vocabulary: text_config..vocab_size}"),
    ("dim: unused", "dims: {labels: 3}"),
    ("dim: also an axis", "dims: {sequence: 5}"),
    ("placeholder: wrong type", "placeholders: {image_token_id: many}"),
    ("placeholder: bad path", "placeholders: {image token: 3}"),
    ("without: unknown input", "without: [token_type_idz, attention_maks]"),
    ("without: everything", "without: [input_ids, attention_mask]"),
    ("input: no fill, no shape", "inputs: {bbox: {dtype: int64}}"),
    ("input: no identifier", "inputs: {bb-ox: {shape: [batch, 4], fill: boxes}}"),
    ("input: a list as fill", "inputs: {bbox: {shape: [batch, 4], fill: [boxes]}}"),
    ("input: unknown fill", "inputs: {bbox: {shape: [batch, 4], fill: boxs}}"),
    ("input: unknown fill, none near", "inputs: {bbox: {shape: [batch, 4], fill: water}}"),
    ("input: unknown dtype", "inputs: {bbox: {shape: [batch, 4], fill: boxes, dtype: int32x}}"),
    ("input: boxes without 4 sides", "inputs: {bbox: {shape: [batch, sequence], fill: boxes}}"),
    ("input: float tokens", "inputs: {input_ids: {shape: [batch, sequence], fill: tokens, dtype: float32}}"),
    ("input: whole normal numbers", "inputs: {noise: {shape: [batch], fill: normal, dtype: int64}}"),
    ("input: integers the wrong way round", "inputs: {kind: {shape: [batch], fill: {integers: [3, 0]}}}"),
    ("input: values that do not fit", "inputs: {sizes: {shape: [batch, 3], fill: {values: [1, 2]}}}"),
    ("input: a grid of one side", "inputs: {places: {shape: [batch, 4, 2], fill: {grid: [2]}}}"),
    ("input: a grid without columns", "inputs: {places: {shape: [batch, 4, 2], fill: {grid: [0, 2]}}}"),
    ("input: a grid without coordinates", "inputs: {places: {shape: [batch, 4], fill: {grid: [2, 2]}}}"),
    ("input: unknown mapping as fill", "inputs: {kind: {shape: [batch], fill: {integer: [0, 3]}}}"),
    ("input: a symbol without size", "inputs: {input_features: {shape: [batch, frames], fill: normal}}"),
    ("input: a shape that is none", "inputs: {noise: {shape: batch, fill: normal}}"),
    ("input: a dimension of 0", "inputs: {noise: {shape: [0], fill: normal}}"),
    ("output: unknown range", "outputs: {probs: {shape: [batch], range: unti}}"),
    ("output: unknown dtype", "outputs: {probs: {shape: [batch], dtype: float31}}"),
    ("output: unknown key", "outputs: {probs: {shape: [batch], fill: ones}}"),
    ("output: range of another type", "outputs: {ids: {shape: [batch], range: token-ids}}"),
    ("output: nothing to drop", "outputs: {logit: null}"),
    ("output: none left", "outputs: {logits: null}"),
    ("omit: unknown check", "omit: {harf: no half kernel}"),
    ("omit: no reason", "omit: {half: [1]}"),
    ("omit: checks that are never left out", "omit: {loads: slow, matches_reference: off by one}"),
    ("omit: no effect", "omit: {causal: reads both ways}"),
    ("omit: nothing to remove", "omit: {half: null}"),
    ("idle: every parameter", "idle: {'*.*': they are many}"),
    ("tolerance: not a list", "tolerance: {check: half}"),
    ("tolerance: nothing in it", "tolerance: [{}]"),
    (
        "tolerance: unknown check",
        "tolerance: [{check: maches_reference, k: 4, reason: r, issue: 'https://a.b/1'}]",
    ),
    ("tolerance: exact", "tolerance: [{check: exact, k: 4, reason: r, issue: 'https://a.b/1'}]"),
    ("tolerance: k", "tolerance: [{check: half, k: -4, reason: r, issue: 'https://a.b/1'}]"),
    ("tolerance: k is text", "tolerance: [{check: half, k: four, reason: r, issue: 'https://a.b/1'}]"),
    (
        "tolerance: k above its limit",
        "tolerance: [{check: half, k: 100.5, reason: r, issue: 'https://a.b/1'}]",
    ),
    ("tolerance: no end", "tolerance: [{check: half, k: 4, reason: r}]"),
    ("tolerance: issue is no link", "tolerance: [{check: half, k: 4, reason: r, issue: '#12'}]"),
    ("tolerance: until is no date", "tolerance: [{check: half, k: 4, reason: r, until: tomorrow}]"),
    ("tolerance: check that is not run", "tolerance: [{check: causal, k: 4, reason: r, until: 2026-01-31}]"),
    (
        "tolerance: unknown output",
        "tolerance: [{check: half, output: logit, k: 4, reason: r, until: 2026-02-01}]",
    ),
    (
        "tolerance: twice",
        "tolerance: [{check: half, k: 4, reason: r, until: 2027-01-01}, {check: half, output: logits, k: 5, reason: r, until: 2027-01-01}]",
    ),
    ("needs: an input that checks use", "{task: text-generation, without: [input_ids]}"),
    ("like: itself", "like: bert"),
    ("like: unknown model", "like: brt"),
];

/// Faults of a whole file called `text.yaml`.
const FILE: &[(&str, &[u8])] = &[
    ("empty file", b""),
    ("only a comment", b"# nothing\n"),
    ("only null", b"---\n"),
    ("not a mapping", b"- family: text\n"),
    ("no family, no models", b"defaults: {task: fill-mask}\n"),
    ("unknown key of the file", b"family: text\nmodel: []\nmodels: []\n"),
    ("family of another name", b"family: txt\nmodels: []\n"),
    ("models is a mapping", b"family: text\nmodels: {bert: {}}\n"),
    ("a model is text", b"family: text\nmodels: [bert]\n"),
    ("a model without a name", b"family: text\nmodels: [{class: A, task: fill-mask}]\n"),
    ("defaults is a list", b"family: text\ndefaults: []\nmodels: [{name: a, class: A}]\n"),
    ("defaults with a key of models", b"family: text\ndefaults: {checkpoint: a/b}\nmodels: []\n"),
    (
        "a fault in defaults is told once",
        b"family: text\ndefaults: {task: x}\nmodels: [{name: a}, {name: b}]\n",
    ),
    ("syntax error", b"family: text\nmodels: [\n"),
    ("bad indentation", b"family: text\nmodels:\n  - name: a\n   class: B\n"),
    ("anchor", b"family: text\ndefaults: &a {task: fill-mask}\nmodels: []\n"),
    ("alias", b"family: text\nmodels: [&a {name: x}, *a]\n"),
    ("tag", b"family: !!str text\nmodels: []\n"),
    ("two documents", b"family: text\nmodels: []\n---\nfamily: more\n"),
    ("key twice", b"family: text\nmodels: []\nfamily: text\n"),
    ("key that is no text", b"family: text\nmodels: [{1: a}]\n"),
    ("key that is a list", b"family: text\n? [a]\n: 1\n"),
    ("tab", b"family: text\nmodels:\n \t- name: a\n"),
    ("NUL", b"family: te\0xt\nmodels: []\n"),
    ("invalid UTF-8", b"family: text\r\nmodels: [\xff]\r\n"),
    ("invalid UTF-8 after a BOM", b"\xef\xbb\xbffamily: \xc3\n"),
    ("control characters in a message", b"family: text\nmodels: []\n\"a\\nb\\e[31m\": 1\n"),
    ("name: null", b"family: text\nmodels: [{name: ~}]\n"),
    ("name: a number", b"family: text\nmodels: [{name: 1e3}]\n"),
    ("name: a truth value", b"family: text\nmodels: [{name: true}]\n"),
    ("name: leading digit", b"family: text\nmodels: [{name: '1e3'}]\n"),
    ("name: keyword", b"family: text\nmodels: [{name: gen}]\n"),
    ("name: characters", b"family: text\nmodels: [{name: a/b}]\n"),
    ("name: punctuation at an end", b"family: text\nmodels: [{name: .a}]\n"),
    (
        "name: longer than a file's",
        b"family: text\nmodels: [{name: a-name-of-two-hundred-and-forty-one-letters-and-hyphens-is-longer-than-the-\
          name-of-a-file-may-be-once-there-is-room-for-the-ending-that-a-module-has-and-for-the-one-of-an-artifact-\
          that-another-process-is-just-about-to-put-in-place-of-the-old}]\n",
    ),
    ("name: empty", b"family: text\nmodels: [{name: ''}]\n"),
];

/// Faults between entries and files.
const SPEC: &[(&str, Files)] = &[
    (
        "the same name twice, in one file",
        &[("text.yaml", b"family: text\ndefaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}\nmodels:\n- {name: a}\n- {name: a}\n")],
    ),
    (
        "two names that become one module, in two files",
        &[("a.yaml", b"family: a\ndefaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}\nmodels: [{name: xlm-roberta}]\n"), ("b.yaml", b"family: b\nmodels: [{name: xlm_roberta, like: xlm-roberta}]\n")],
    ),
    (
        "a circle of two, and one that leads into it",
        &[("text.yaml", b"family: text\nmodels: [{name: a, like: b}, {name: b, like: a}, {name: c, like: a}]\n")],
    ),
    (
        "like leads too far",
        &[(
            "text.yaml",
            b"family: text\ndefaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}\nmodels: [{name: a}, {name: b, like: a}, {name: c, like: b}, {name: d, like: c}, {name: e, like: d}, {name: f, like: e}, {name: g, like: f}, {name: h, like: g}, {name: i, like: h}, {name: j, like: i}]\n",
        )],
    ),
    (
        "an unreadable file hides no model that others are like",
        &[("a.yaml", b"family: a\nmodels: [{name: x, like: y}]\n"), ("b.yaml", b"family: [\n")],
    ),
    (
        "missing and there",
        &[("text.yaml", b"family: text\ndefaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}\nmodels: [{name: a}]\nmissing: [{name: a, stage: export, reason: no}]\n")],
    ),
    (
        "missing: an unknown stage, no reason",
        &[("text.yaml", b"family: text\nmodels: []\nmissing: [{name: a, stage: exprt}]\n")],
    ),
    ("versions: empty", &[("versions.yaml", b"")]),
    ("versions: no sources", &[("versions.yaml", b"python: {torch: 2.11.0}\n")]),
    ("versions: a number", &[("versions.yaml", b"python: {torch: 2.11}\nsources: {}\n")]),
    ("versions: a range", &[("versions.yaml", b"python: {torch: '>=2.11'}\nsources: {}\n")]),
    (
        "versions: a source that is not pinned",
        &[("versions.yaml", b"python: {a: 1.0.0}\nsources: {a: {package: a, version: 1.0.1}}\n")],
    ),
    (
        "versions: an overlay of something else",
        &[("versions.yaml", b"python: {a: 1.0.0}\nsources: {a: {package: a, version: 1.0.1, overlay: {b: 1.0.0}}}\n")],
    ),
    (
        "versions: a module and a config that are no names",
        &[("versions.yaml", b"python: {a: 1.0.0}\nsources: {a: {package: a, version: 1.0.0, module: a-b.c, config: a..B}}\n")],
    ),
    (
        "versions: an incomplete source",
        &[("versions.yaml", b"python: {a: 1.0.0}\nsources: {a: {packge: a}}\n")],
    ),
];

/// A family of one model, BERT.
fn family_of_one(extra: &str) -> String {
    let extra = extra.strip_prefix('{').and_then(|extra| extra.strip_suffix('}')).unwrap_or(extra);
    let (own, key) =
        (format!("class: BertForMaskedLM, {extra}"), extra.split(':').next().unwrap_or_default());
    let own = if key == "class" { extra.to_owned() } else { own };
    format!(
        "family: text\n\
         defaults: {{task: fill-mask, axes: {{batch: [2, 3], sequence: [5, 7]}}}}\n\
         models:\n\
         - {{name: bert, {own}}}\n"
    )
}

/// What is said about a spec with a fault: a title and lines.
fn section(title: &str, spec: &[(&str, &[u8])]) -> String {
    match check(spec) {
        Ok(_) => format!("# {title}\nNO PROBLEM\n\n"),
        Err(problems) => format!("# {title}\n{}\n", lines(&problems)),
    }
}

fn snapshot(name: &str, sections: String) {
    assert!(!sections.contains("NO PROBLEM"), "{sections}");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(project().join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, sections));
}

#[test]
fn the_family_without_a_fault_is_fine() {
    let text = family_of_one("seed: 1");
    assert!(check(&[("text.yaml", text.as_bytes())]).is_ok());
}

#[test]
fn a_tolerance_that_has_ended_is_a_warning_until_something_else_is_wrong() {
    let ended = "tolerance: [{check: half, k: 100, reason: r, until: 2026-01-30}]";
    let said = "spec/text.yaml:4:92: this tolerance ended on 2026-01-30: remove it, or repair its cause\n";
    let check = |extra: &str| check(&[("text.yaml", family_of_one(extra).as_bytes())]);
    let spec = check(ended).unwrap();
    assert_eq!(lines(&spec.warnings), said);
    assert_eq!(spec.entries[0].tolerance.len(), 1, "the build goes on with it");
    assert!(check(&ended.replace("-30}", "-31}")).unwrap().warnings.is_empty(), "the last day is part of it");
    let problems = check(&format!("{ended}, sed: 1")).unwrap_err();
    assert!(lines(&problems).starts_with(said) && problems.len() == 2, "{}", lines(&problems));
}

#[test]
fn faults_of_a_model() {
    let sections = MODEL.iter().map(|(title, extra)| {
        let text = family_of_one(extra);
        section(&format!("{title}: {extra}"), &[("text.yaml", text.as_bytes())])
    });
    snapshot("spec_faults_of_a_model", sections.collect());
}

#[test]
fn faults_of_a_file() {
    let sections = FILE.iter().map(|(title, bytes)| section(title, &[("text.yaml", bytes)]));
    snapshot("spec_faults_of_a_file", sections.collect());
}

#[test]
fn faults_between_files() {
    let sections = SPEC.iter().map(|(title, spec)| section(title, spec));
    snapshot("spec_faults_between_files", sections.collect());
}

#[test]
fn many_faults_are_told_at_once() {
    let text = "family: text\nmodels:\n- {name: a, task: x}\n- {name: b, clas: B}\n- {name: 3d, seed: x}\n";
    snapshot("spec_faults_at_once", section("many", &[("text.yaml", text.as_bytes())]));
}

#[test]
fn missing_files() {
    let problems = parse(&[], today()).unwrap_err();
    assert_eq!(lines(&problems), "spec/versions.yaml:1:1: there is no such file\n");
    let problems = load(Path::new("/nonexistent")).unwrap_err();
    assert!(lines(&problems).starts_with("spec:1:1: cannot be read: "));
}

#[test]
fn a_file_that_would_be_left_out() {
    let root = std::env::temp_dir().join(format!("hf-conformance-spec-{}", std::process::id()));
    std::fs::create_dir_all(root.join("spec")).unwrap();
    std::fs::write(root.join("spec/audio.yml"), "family: audio\nmodels: []\n").unwrap();
    let problems = load(&root).unwrap_err();
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(lines(&problems), "spec/audio.yml:1:1: spec files end in .yaml: rename this one\n");
}
