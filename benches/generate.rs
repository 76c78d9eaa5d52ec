//! How generation scales: synthetic entries to text in memory, and one edited entry to disk.
//!
//! `just bench`. Throughput must not fall as entries grow: both ways are linear.

use divan::Bencher;
use divan::counter::ItemsCount;
use hf_conformance::codegen::{plan, sync};
use hf_conformance::spec::{Spec, parse, synthetic, today};

const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

fn spec(count: usize) -> Spec {
    parse(&synthetic(count), today()).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

/// YAML to checked entries.
#[divan::bench(args = SIZES, max_time = 3)]
fn read(bencher: Bencher, count: usize) {
    let files = synthetic(count);
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
