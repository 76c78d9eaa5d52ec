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
    let program = std::env::current_exe()?;
    let child = |one: &Wanted| command(&program, arguments, one, &root);
    let fates = work(&wanted, &root, &logs, &child)?;
    show(format!("\n{}", overview(&fates)))?;
    let certified = fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Not { .. })).count();
    println!("\n{certified} of {} checkpoints certified, in {}", wanted.len(), root.display());
    if certified < wanted.len() {
        println!("the same command tries the others again");
    }
    Ok(if certified == wanted.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of each that was come to before an interrupt; `child` is what certifies one.
fn work<'a>(
    wanted: &'a [Wanted<'a>],
    root: &Path,
    logs: &Path,
    child: &dyn Fn(&Wanted) -> Command,
) -> Result<Vec<(&'a Wanted<'a>, Fate)>> {
    let mut fates = Vec::new();
    for (number, one) in wanted.iter().enumerate() {
        if process::interrupted().is_some() {
            break;
        }
        println!("{}/{} {}", number + 1, wanted.len(), one.checkpoint);
        let fate = match one.is_certified(root) {
            true => Fate::Already,
            false => certify(one, child(one), logs)?,
        };
        if let Fate::Not { why, .. } = &fate {
            println!("  {why}");
        }
        fates.push((one, fate));
    }
    Ok(fates)
}

/// What certifies a checkpoint as these arguments ask.
fn command(program: &Path, arguments: &Arguments, one: &Wanted, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["certify", one.checkpoint]);
    command.args(["--device", &arguments.device, "--dtype", arguments.dtype.name()]);
    command.arg("--out").arg(one.bundle(root)).args(arguments.limits.words());
    if let Some(budget) = arguments.budget {
        command.args(["--budget", &budget.to_string()]);
    }
    command
}

/// Has a process of its own certify a checkpoint, with a cache that goes with it.
fn certify(one: &Wanted, mut command: Command, logs: &Path) -> Result<Fate> {
    let artifacts = std::path::absolute(artifact::root())?;
    fs::create_dir_all(&artifacts)?;
    let cache = tempfile::Builder::new().prefix(".hub-").tempdir_in(artifacts)?;
    let output = process::output(command.env("HF_HUB_CACHE", cache.path()))?;
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn wanted(checkpoint: &'static str) -> Wanted<'static> {
        Wanted { checkpoint, priority: "critical", rows: vec!["bert"] }
    }

    #[test]
    fn each_checkpoint_is_certified_within_the_budget_into_a_bundle_of_its_own() {
        let typed =
            ["certify", "--priority", "critical", "--budget", "7", "--dtype", "float16", "--device", "cpu"];
        let arguments = Typed::parse_from(typed).arguments;
        let command = command(Path::new("hfc"), &arguments, &wanted("org/a"), Path::new("certified"));
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let words = words.join(" ");
        assert!(
            words.starts_with("certify org/a --device cpu --dtype float16 --out certified/org--a"),
            "{words}"
        );
        assert!(words.ends_with("--budget 7"), "{words}");
    }

    #[test]
    fn one_that_fails_is_told_with_its_reason_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["org/gated", "org/crash", "org/good"].map(wanted);
        let script = |one: &Wanted| {
            let said = match one.checkpoint {
                "org/gated" => {
                    "echo 'error: org/gated cannot be certified: its owner has to let you in' >&2; exit 1"
                }
                "org/crash" => "kill -9 $$",
                _ => "touch $HF_HUB_CACHE/weights && echo proved",
            };
            let mut command = Command::new("sh");
            command.args(["-c", said]);
            command
        };
        let fates = work(&all, folder.path(), folder.path(), &script).unwrap();
        let told = fates.iter().map(|(one, fate)| match fate {
            Fate::Not { why, .. } => format!("{}: {why}", one.checkpoint),
            Fate::Certified => format!("{} certified", one.checkpoint),
            Fate::Already => format!("{} before", one.checkpoint),
        });
        let told: Vec<String> = told.collect();
        assert_eq!(told[0], "org/gated: its owner has to let you in");
        assert!(told[1].starts_with("org/crash: not proved, "), "{}", told[1]);
        assert_eq!(told[2], "org/good certified");
        assert_eq!(fs::read_to_string(folder.path().join("org--good.log")).unwrap(), "proved\n");
        let table = overview(&fates);
        assert!(table.contains("NOT CERTIFIED") && table.contains("org--crash.log"), "{table}");
    }
}
