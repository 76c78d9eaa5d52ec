//! Specs of any size: what the generator, the compiler and the suite cost where there are thousands of models.
//!
//! In: a number. Out: the files of a spec of so many models that nobody has.

use super::File;
use std::fmt::Write;

/// Models of a family; a file may hold 1 MiB.
const FAMILY: usize = 5_000;
const VERSIONS: &str =
    "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}\n";

/// The files of a spec of so many models, which differ in name, class, checkpoint and a config value.
pub fn synthetic(count: usize) -> Vec<File> {
    let mut files: Vec<File> = vec![("spec/versions.yaml".into(), VERSIONS.into())];
    for first in (0..count).step_by(FAMILY) {
        let family = format!("family-{}", first / FAMILY);
        let mut text = format!(
            "family: {family}\ndefaults:\n  task: text-generation\n  axes: {{batch: [2, 3], sequence: [12, 19]}}\n\
             models:\n"
        );
        for model in first..count.min(first + FAMILY) {
            let _ = writeln!(
                text,
                "- {{name: model-{model}, class: Model{model}ForCausalLM, checkpoint: org/model-{model}, config: \
                 {{hidden_size: {model}}}}}"
            );
        }
        files.push((format!("spec/{family}.yaml").into(), text.into_bytes()));
    }
    files
}
