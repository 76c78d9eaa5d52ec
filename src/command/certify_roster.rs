//! `certify --priority`: the roster's checkpoints, one after the other: fetched, proved, and deleted but for the bundle.

use super::certify::Arguments;
use super::{show, table};
use anyhow::{Context, Result, bail};
use comfy_table::CellAlignment;
use hf_conformance::artifact;
use hf_conformance::certify::bundle::CERTIFIED;
use hf_conformance::certify::queue::{Wanted, wanted};
use hf_conformance::process;
use hf_conformance::report;
use hf_conformance::roster::{self, PRIORITIES};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// What became of a checkpoint.
enum Fate {
    /// Its bundle was there.
    Already,
    Certified,
    /// Why it was not, and where everything stands that was said.
    Not {
        why: String,
        log: PathBuf,
    },
}

/// Works through the checkpoints of some priorities; one that is not certified in the end is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let asked = &arguments.priority;
    if let Some(unknown) = asked.iter().find(|priority| !PRIORITIES.contains(&priority.as_str())) {
        bail!("there is no priority '{unknown}'; the roster has {}", PRIORITIES.join(", "));
    }
    let rows = roster::read(Path::new("."))?;
    let wanted = wanted(&rows, |priority| asked.iter().any(|asked| asked == priority));
    let root = arguments.out.clone().unwrap_or_else(|| PathBuf::from(CERTIFIED));
    let logs = report::path().with_file_name("certify");
    fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    let mut fates = Vec::new();
    for (number, one) in wanted.iter().enumerate() {
        if process::interrupted().is_some() {
            break;
        }
        println!("{}/{} {}", number + 1, wanted.len(), one.checkpoint);
        let fate = match one.is_certified(&root) {
            true => Fate::Already,
            false => certify(arguments, one, &root, &logs)?,
        };
        if let Fate::Not { why, .. } = &fate {
            println!("  {why}");
        }
        fates.push((one, fate));
    }
    show(format!("\n{}", overview(&fates)))?;
    let certified = fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Not { .. })).count();
    println!("\n{certified} of {} checkpoints certified, in {}", wanted.len(), root.display());
    if certified < wanted.len() {
        println!("the same command tries the others again");
    }
    Ok(if certified == wanted.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has a process of its own certify a checkpoint, with a cache that goes with it.
fn certify(arguments: &Arguments, one: &Wanted, root: &Path, logs: &Path) -> Result<Fate> {
    let artifacts = std::path::absolute(artifact::root())?;
    fs::create_dir_all(&artifacts)?;
    let cache = tempfile::Builder::new().prefix(".hub-").tempdir_in(artifacts)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "certify",
        one.checkpoint,
        "--device",
        &arguments.device,
        "--dtype",
        arguments.dtype.name(),
    ]);
    command.arg("--out").arg(one.bundle(root));
    command.args(arguments.limits.words()).env("HF_HUB_CACHE", cache.path());
    if let Some(budget) = arguments.budget {
        command.args(["--budget", &budget.to_string()]);
    }
    let output = process::output(&mut command)?;
    let log = logs.join(format!("{}.log", one.checkpoint.replace('/', "--")));
    fs::write(&log, [output.stdout.as_slice(), &output.stderr].concat())?;
    Ok(match output.status.success() {
        true => Fate::Certified,
        false => Fate::Not { why: why(one, &output), log },
    })
}

/// The line that says why a checkpoint was not certified.
fn why(one: &Wanted, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().find_map(|line| line.strip_prefix("error: "));
    let refused = format!("{} cannot be certified: ", one.checkpoint);
    match error {
        Some(error) => error.strip_prefix(&refused).unwrap_or(error).to_owned(),
        None => format!("not proved, {}", process::ending(output.status)),
    }
}

fn overview(fates: &[(&Wanted, Fate)]) -> String {
    let mut rows = table(["checkpoint", "priority", "models", "", "everything that was said"]);
    for column in rows.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for (one, fate) in fates {
        let (word, log) = match fate {
            Fate::Already => ("certified before", String::new()),
            Fate::Certified => ("certified", String::new()),
            Fate::Not { log, .. } => ("NOT CERTIFIED", log.display().to_string()),
        };
        rows.add_row([one.checkpoint, one.priority, &one.rows.join(", "), word, &log]);
    }
    rows.to_string()
}
