//! Load: a suite of thousands of models, in a checkout of its own.
//!
//! In: how many models. Out: what generating, compiling and running them without libtorch took, or what went wrong.

use super::{Outcome, Yard, watched, worked};
use crate::codegen::{plan, sync};
use crate::spec::{parse, synthetic, today};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What of this checkout is compiled; all that the sources name stands among it.
const COPIED: [&str; 6] = [".cargo", "Cargo.lock", "Cargo.toml", "benches", "build.rs", "src"];
/// Where it is compiled, for the next time: what this project depends on takes minutes.
const TARGET: &str = "target/stress";

/// Has a suite of so many models made, compiled and run.
pub(super) fn of(yard: &Yard, models: usize) -> io::Result<Outcome> {
    let root = yard.root().join("checkout");
    for name in COPIED {
        copy(Path::new(name), &root.join(name))?;
    }
    let files = synthetic(models);
    for (path, text) in &files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, text)?;
    }
    let started = Instant::now();
    let spec = parse(&files, today()).map_err(|problems| io::Error::other(problems[0].to_string()))?;
    sync(&plan(&spec), &root.join("generated")).map_err(io::Error::other)?;
    let mut told = vec![format!("generated in {:.0} s", started.elapsed().as_secs_f64())];
    let target = std::path::absolute(TARGET)?;
    let suite = ["test", "--quiet", "--test", "suite"];
    let stages = [
        ("library", &["build", "--quiet", "--lib"][..]),
        ("suite compiled", &[&suite[..], &["--no-run"]].concat()),
        ("run", &suite[..]),
    ];
    for (name, words) in stages {
        let started = Instant::now();
        let mut command = Command::new("cargo");
        command.args(words).current_dir(&root).env("CARGO_TARGET_DIR", &target);
        command.env("HF_CONFORMANCE_RESULTS", yard.results());
        let (outputs, largest) = watched(yard, vec![command])?;
        if let Err(why) = outputs.iter().try_for_each(worked) {
            return Ok(Err(format!("{name}: {why}")));
        }
        told.push(format!("{name} in {:.0} s, {} MiB", started.elapsed().as_secs_f64(), largest >> 20));
        let passed = format!("test result: ok. {models} passed");
        if name == "run" && !String::from_utf8_lossy(&outputs[0].stdout).contains(&passed) {
            return Ok(Err(format!("the suite does not say that {models} passed")));
        }
    }
    Ok(Ok(Some(told.join("\n"))))
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        return fs::copy(from, to).map(drop);
    }
    for file in fs::read_dir(from)? {
        let name = file?.file_name();
        copy(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}
