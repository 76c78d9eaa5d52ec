//! What is said to requests that cannot be met and to specs that only Python can judge, by the real package.

use super::trial::{Trial, Tried};
use super::{AddRequest, SpecFiles, validate};
use crate::export::{Exported, Progress};
use crate::roster::Row;
use std::fs;
use std::path::Path;

const FAMILIES: [(&str, &str); 2] = [
    (
        "text.yaml",
        "family: text
defaults:
  task: fill-mask
  axes: {batch: [2, 3], sequence: [12, 19]}
  config: {vocab_size: 128, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4}
models:
  - {name: bert, class: BertForMaskedLM}
missing:
  - {name: mra, stage: compare, reason: \"needs a CUDA kernel\"}
",
    ),
    (
        "vision.yaml",
        "family: vision
defaults: {task: image-classification, axes: {batch: [2, 3], image: [32, 48]}}
models: []
",
    ),
];

struct Silent;

impl Progress for Silent {
    fn begin(&self, _total: usize) {}
    fn started(&self, _model: &str) {}
    fn finished(&self, _exported: &Exported) {}
}

/// A project with the checked-in pins and these families.
fn project(families: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("spec")).unwrap();
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/versions.yaml");
    fs::copy(versions, root.path().join("spec/versions.yaml")).unwrap();
    for (name, text) in families {
        fs::write(root.path().join("spec").join(name), text).unwrap();
    }
    root
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn a_refusal_names_its_stage_and_an_entry_to_copy_and_leaves_no_trace() {
    let request = |asked: &str, task: Option<&str>, family: Option<&str>| AddRequest {
        asked: asked.to_owned(),
        task: task.map(str::to_owned),
        family: family.map(str::to_owned),
        ..AddRequest::default()
    };
    let requests = [
        request("bret", None, Some("text")),
        request("bert-2", Some("fill-mask"), Some("text")),
        request("electra", Some("depth-estimation"), Some("vision")),
        request("electra", None, Some("txt")),
        request("t5", None, None),
        request("mra", None, Some("text")),
        request("encoder-decoder", None, Some("text")),
        request("omdet-turbo", None, Some("vision")),
    ];
    let root = project(&FAMILIES);
    let mut files = SpecFiles::open(root.path()).unwrap();
    let trial = Trial { engine: None, artifacts: &root.path().join("artifacts"), progress: &Silent };
    let tried = trial.run(&mut files, &requests).unwrap();
    let spec = files.spec().unwrap();
    let told = requests.iter().zip(&tried).map(|(request, tried)| match tried {
        Tried::Refused(refusal) => refusal.told(&request.asked, &spec) + "\n",
        other => panic!("{}: {other:?}", request.asked),
    });
    snapshot("add_refusals", &told.collect::<String>());
    assert!(FAMILIES.iter().all(|(name, text)| {
        files.files().iter().any(|(path, bytes)| path.ends_with(name) && bytes == text.as_bytes())
    }));
}

#[test]
fn what_the_package_and_the_roster_know_better_is_told_with_its_place() {
    let family = "family: text
defaults: {axes: {batch: [2, 3], sequence: [12, 19]}}
models:
  - {name: no-such-class, class: BertForMaskedML, task: fill-mask}
  - {name: no-model, class: BertTokenizer, task: fill-mask}
  - {name: wrong-task, class: BertForMaskedLM, task: token-classification}
  - name: misspelt
    class: BertForMaskedLM
    task: fill-mask
    config:
      hiden_size: 32
  - name: misspelt-inside
    class: LlavaForConditionalGeneration
    task: text-generation
    config: {text_config: {hiden_size: 32}}
  - name: no-such-part
    class: LlavaForConditionalGeneration
    task: text-generation
    config: {text_config: {model_type: lama}}
";
    let root = project(&[("text.yaml", family)]);
    let files = SpecFiles::open(root.path()).unwrap();
    let spec = files.spec().unwrap();
    let row =
        |name: &str, tier: &str| Row { name: name.into(), tier: tier.into(), line: 7, ..Row::default() };
    let rows = [row("promised", "plan"), row("misspelt", "registry"), row("later", "transformers")];
    let mut problems = validate::classes(&spec, files.files(), &rows).unwrap();
    problems.extend(validate::standing(&spec, &rows).broken);
    let told: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    snapshot("validate_findings", &told);
}

#[test]
fn another_task_than_the_auto_models_is_intended_where_the_roster_says_why() {
    let family = "family: text
models:
  - name: bert
    class: BertForMaskedLM
    task: token-classification
    axes: {batch: [2, 3], sequence: [12, 19]}
";
    let root = project(&[("text.yaml", family)]);
    let files = SpecFiles::open(root.path()).unwrap();
    let spec = files.spec().unwrap();
    let row = Row {
        name: "bert".into(),
        class: Some("BertForMaskedLM".into()),
        task: Some("token-classification".into()),
        ..Row::default()
    };
    let stated = Row { note: Some("its words are labels".into()), ..row.clone() };
    let count = |row: Row| validate::classes(&spec, files.files(), &[row]).unwrap().len();
    assert_eq!((count(row), count(stated)), (1, 0));
}
