//! `portability`: the comparing checks under the kernels and thread counts of other machines.
//!
//! Every imitated machine is a process of its own: torch chooses its kernels once, when it starts.

use super::{show, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact;
use hf_conformance::process::Process;
use hf_conformance::report;
use hf_conformance::runner::portability::{
    Bound, COMPARING, EXPORTED, HERE, Machine, Portability, Share, TESTED,
};
use hf_conformance::spec::Check;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Measures that are listed for each pair of machines.
const LISTED: usize = 5;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
}

/// One set of artifacts, and one machine that tested it.
struct Pair {
    exported: Machine,
    tested: Machine,
    found: Portability,
}

/// Exports on each machine, tests on each, and prints how near the measures come to being red; without room is exit
/// code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = Path::new("target/conformance/portability");
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut pairs = Vec::new();
    for exported in EXPORTED {
        let artifacts = artifacts(folder, exported);
        println!("\nexporting on {}", exported.name);
        call(&["export"], &arguments.filter, exported, &[("HF_CONFORMANCE_ARTIFACTS", &artifacts)])?;
        for tested in TESTED {
            println!("\nexported on {}, tested on {}", exported.name, tested.name);
            let found = test(&arguments.filter, folder, &artifacts, tested)?;
            pairs.push(Pair { exported, tested, found });
        }
    }
    show(format!("\n{}", overview(&pairs)))?;
    for pair in &pairs {
        print_pair(pair);
    }
    let holds = pairs.iter().all(|pair| pair.found.holds());
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// This machine's artifacts are those of every other command.
fn artifacts(folder: &Path, exported: Machine) -> PathBuf {
    match exported.name == HERE.name {
        true => artifact::root(),
        false => folder.join(exported.name.replace(' ', "-")),
    }
}

/// The comparing checks on a machine, with results of their own.
fn test(filter: &[String], folder: &Path, artifacts: &Path, tested: Machine) -> Result<Portability> {
    let results = folder.join("results.jsonl");
    let place = report::end(&results);
    let checks = COMPARING.map(Check::name).join(",");
    let environment = [("HF_CONFORMANCE_ARTIFACTS", artifacts), ("HF_CONFORMANCE_RESULTS", &results)];
    call(&["check", "--device", "cpu", "--check", &checks], filter, tested, &environment)?;
    let records = report::read_since(&results, place).with_context(|| results.display().to_string())?;
    if records.is_empty() {
        bail!("no check left a result; see what was printed above");
    }
    Ok(Portability::of(&records))
}

/// This program on a machine. What it found is in its results; only what kept it from starting is an error.
fn call(words: &[&str], filter: &[String], on: Machine, environment: &[(&str, &Path)]) -> Result<()> {
    let program = std::env::current_exe().context("looking for this program")?;
    let mut command = Command::new(&program);
    command.args(words).args(filter).envs(on.environment.iter().copied()).envs(environment.iter().copied());
    let ended = Process::spawn(&mut command).and_then(|mut child| child.wait());
    ended.with_context(|| program.display().to_string()).map(drop)
}

fn overview(pairs: &[Pair]) -> String {
    let above = Bound::ALL.map(|bound| format!("above {} {}", bound.room(), bound.words()));
    let heads = ["exported on", "tested on", "measures", "red", &above[0], "worst", &above[1], "worst"];
    let mut rows = table(heads);
    for Pair { exported, tested, found } in pairs {
        let mut row = vec![
            exported.name.to_owned(),
            tested.name.to_owned(),
            found.of_bound(Bound::Allowed).count().to_string(),
            found.red.len().to_string(),
        ];
        for bound in Bound::ALL {
            let worst = found.of_bound(bound).next().map_or(0.0, |share| share.share);
            row.push(found.tight().filter(|share| share.bound == bound).count().to_string());
            row.push(format!("{worst:.2}"));
        }
        rows.add_row(row);
    }
    rows.to_string()
}

fn print_pair(Pair { exported, tested, found }: &Pair) {
    if found.holds() {
        return;
    }
    println!("\nexported on {}, tested on {}:", exported.name, tested.name);
    for red in &found.red {
        println!("  red: {red}");
    }
    for bound in Bound::ALL {
        let tight: Vec<&Share> = found.tight().filter(|share| share.bound == bound).collect();
        for Share { model, check, situation, output, share, .. } in tight.iter().take(LISTED) {
            println!("  {share:.2} {}: {model} · {check} · {output} ({situation})", bound.words());
        }
        if tight.len() > LISTED {
            println!("  and {} more above {} {}", tight.len() - LISTED, bound.room(), bound.words());
        }
    }
}
