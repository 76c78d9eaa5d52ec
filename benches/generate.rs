//! How generation scales: synthetic entries to text in memory, and one edited entry to disk.
//!
//! `just bench`. Throughput must not fall as entries grow: both ways are linear.

use divan::Bencher;
use divan::counter::ItemsCount;
use hf_conformance::codegen::{plan, sync};
use hf_conformance::spec::{File, Spec, parse, today};
use std::fmt::Write;

const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
/// Entries of a synthetic family; a file may hold 1 MiB.
const FAMILY: usize = 5_000;
const VERSIONS: &str =
    "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}\n";

fn main() {
    divan::main();
}

/// The files of a spec of so many models, which differ in a config value.
fn files(count: usize) -> Vec<File> {
    let mut files = vec![("spec/versions.yaml".into(), VERSIONS.into())];
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

fn spec(count: usize) -> Spec {
    parse(&files(count), today()).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

/// YAML to checked entries.
#[divan::bench(args = SIZES, max_time = 3)]
fn read(bencher: Bencher, count: usize) {
    let files = files(count);
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(|| parse(&files, today()).map(|spec| spec.entries.len()).ok());
}

/// Checked entries to the text of every module.
#[divan::bench(args = SIZES, max_time = 3)]
fn generate(bencher: Bencher, count: usize) {
    let spec = spec(count);
    bencher.counter(ItemsCount::new(count)).bench_local(|| plan(&spec).len());
}

/// One of many entries edited: everything is compared, one file is written.
#[divan::bench(args = [100, 1_000, 10_000], max_time = 3)]
fn write_one_edit(bencher: Bencher, count: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plans = ["org/edited-0", "org/edited-1"].map(|checkpoint| {
        let mut spec = spec(count);
        spec.entries[count / 2].checkpoint = Some(checkpoint.to_owned());
        plan(&spec)
    });
    let mut turn = 0;
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        turn += 1;
        sync(&plans[turn % 2], folder.path())
    });
}
