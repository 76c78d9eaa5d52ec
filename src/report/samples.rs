//! A small spec for the tests of reports.

use crate::spec::{self, Spec};
use std::path::Path;

/// `bert` and `roberta`, which are the same job, of a family `text`, and `xlm-roberta`, which leaves `half` out.
pub fn spec() -> Spec {
    let versions =
        "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}";
    let family = "family: text\n\
        defaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [4, 5]}}\n\
        models: [{name: bert}, {name: roberta, checkpoint: a/b}, {name: xlm-roberta, omit: {half: no kernel}}]\n\
        missing: [{name: nezha, stage: export, reason: no wheel}]\n";
    let file = |name: &str, text: &str| (Path::new("spec").join(name), text.as_bytes().to_vec());
    spec::parse(&[file("text.yaml", family), file("versions.yaml", versions)], spec::today()).unwrap()
}

/// The files of this project's encoders of text, and its pins.
pub fn encoders() -> Vec<spec::File> {
    let mut files = spec::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    files.retain(|(path, _)| path.ends_with("encoder-only.yaml") || path.ends_with("versions.yaml"));
    files
}
