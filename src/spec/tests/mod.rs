//! Tests of the spec as a whole: the checked-in files, faults planted in small ones, and noise.

mod faults;
mod inheritance;
mod jobs;
mod noise;
mod readme;

use super::{Date, Entry, Problem, Spec, files, parse};
use std::path::{Path, PathBuf};

/// The day on which these tests take place.
const TODAY: &str = "2026-01-31";

const VERSIONS: &str = "
python: {torch: 2.11.0, transformers: 5.17.0}
sources:
  transformers: {package: transformers, version: 5.17.0}
";

fn today() -> Date {
    TODAY.parse().unwrap()
}

/// Checks a spec given as `(file name, text)`, with a `versions.yaml` where it has none.
fn check(spec: &[(&str, &[u8])]) -> Result<Spec, Vec<Problem>> {
    let mut files: Vec<_> = spec.iter().map(|(name, bytes)| (path(name), bytes.to_vec())).collect();
    if !spec.iter().any(|(name, _)| *name == "versions.yaml") {
        files.push((path("versions.yaml"), VERSIONS.into()));
    }
    parse(&files, today())
}

fn path(name: &str) -> PathBuf {
    Path::new("spec").join(name)
}

/// The entries of a spec that has no problems.
fn entries(spec: &[(&str, &str)]) -> Vec<Entry> {
    let spec: Vec<_> = spec.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    match check(&spec) {
        Ok(spec) => spec.entries,
        Err(problems) => panic!("{}", lines(&problems)),
    }
}

/// Problems as people see them.
fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The checked-in spec files.
fn checked_in() -> Vec<(PathBuf, Vec<u8>)> {
    files::read(project()).unwrap()
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
