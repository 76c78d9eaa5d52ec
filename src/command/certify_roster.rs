//! `certify --priority`: the roster's checkpoints, one after the other: fetched, proved, and deleted but for the bundle.
//!
//! All that one takes on the disk is in a folder of its own, which goes with it. What an interrupt, or a kill, leaves of a
//! download stays, and the next run goes on with it; whatever else such a run left goes then.

use super::certify::Arguments;
use super::{show, table};
use anyhow::{Context, Result, bail};
use comfy_table::CellAlignment;
use hf_conformance::artifact;
use hf_conformance::certify::bundle::CERTIFIED;
use hf_conformance::certify::queue::{Wanted, wanted};
use hf_conformance::export::Turn;
use hf_conformance::process;
use hf_conformance::report;
use hf_conformance::roster::{self, PRIORITIES};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// Below the artifacts: what checkpoints take on the disk while they are proved, and the file by which one process at a time
/// does this.
const PLACE: &str = ".roster";
const TURN: &str = ".certifying";
/// Below a checkpoint's own place: what was fetched, and what is made of that.
const FETCHED: &str = "hub";
const MADE: &str = "artifacts";

/// Between a check that did not pass and where.
pub const STAGE: &str = " · stage ";

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
    let artifacts = std::path::absolute(artifact::root())?;
    let _turn = Turn::next(&artifacts.join(TURN), &|holder| println!("waiting for {holder}"))?;
    let child = |one: &Wanted| command(&program, arguments, one, &root);
    let fates = work(&wanted, &root, &artifacts.join(PLACE), &logs, &child)?;
    show(format!("\n{}", overview(&fates)))?;
    let certified = fates.iter().filter(|(_, fate)| !matches!(fate, Fate::Not { .. })).count();
    println!("\n{certified} of {} checkpoints certified, in {}", wanted.len(), root.display());
    if certified < wanted.len() {
        println!("the same command {}", next(fates.len(), wanted.len()));
    }
    Ok(if certified == wanted.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the same command does after it came to so many of all.
fn next(tried: usize, all: usize) -> &'static str {
    if tried < all { "goes on from there" } else { "tries the others again" }
}

/// What became of each that was come to before an interrupt; `child` is what certifies one, `place` where.
fn work<'a>(
    wanted: &'a [Wanted<'a>],
    root: &Path,
    place: &Path,
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
            false => match certify(one, child(one), place, logs)? {
                Some(fate) => fate,
                None => break,
            },
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

/// Has a process of its own certify a checkpoint, in a folder that goes with it; none where an interrupt came between.
fn certify(one: &Wanted, mut command: Command, place: &Path, logs: &Path) -> Result<Option<Fate>> {
    let name = one.checkpoint.replace('/', "--");
    let own = place.join(&name);
    clear(place, &own)?;
    command.env("HF_HUB_CACHE", own.join(FETCHED)).env("HF_CONFORMANCE_ARTIFACTS", own.join(MADE));
    let output = process::output(&mut command)?;
    let log = logs.join(format!("{name}.log"));
    fs::write(&log, [output.stdout.as_slice(), &output.stderr].concat())?;
    if process::interrupted().is_some() {
        return Ok(None);
    }
    fs::remove_dir_all(&own)?;
    Ok(Some(match output.status.success() {
        true => Fate::Certified,
        false => Fate::Not { why: why(one, &output), log },
    }))
}

/// Makes a checkpoint's own place, and removes what earlier runs left there and beside it, but for what they fetched of it.
fn clear(place: &Path, own: &Path) -> Result<()> {
    fs::create_dir_all(own.join(FETCHED))?;
    let beside = fs::read_dir(place)?.chain(fs::read_dir(own)?);
    let others = beside.map(|item| Ok(item?.path())).collect::<std::io::Result<Vec<_>>>()?;
    for other in others.iter().filter(|other| *other != own && **other != own.join(FETCHED)) {
        fs::remove_dir_all(other)?;
    }
    Ok(())
}

/// The line that says why a checkpoint was not certified.
fn why(one: &Wanted, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().find_map(|line| line.strip_prefix("error: "));
    let refused = format!("{} cannot be certified: ", one.checkpoint);
    match error {
        Some(error) => error.strip_prefix(&refused).unwrap_or(error).to_owned(),
        None => unproved(&String::from_utf8_lossy(&output.stdout))
            .unwrap_or_else(|| format!("not proved, {}", process::ending(output.status))),
    }
}

/// The first check that did not pass, and why.
fn unproved(said: &str) -> Option<String> {
    let mut lines = said.lines().filter(|line| !line.is_empty());
    let check = lines.find(|line| line.contains(STAGE))?;
    Some(format!("{check}: {}", lines.next().unwrap_or_default()))
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
    fn what_was_fetched_of_a_checkpoint_is_gone_on_with_and_all_else_goes() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let [own, other] = ["org--a", "org--b"].map(|name| place.join(name));
        for left in [own.join(FETCHED), own.join(MADE), other.join(FETCHED)] {
            fs::create_dir_all(&left).unwrap();
            fs::write(left.join("weights"), "").unwrap();
        }
        clear(place, &own).unwrap();
        assert!(own.join(FETCHED).join("weights").exists());
        assert!(!own.join(MADE).exists() && !other.exists());
    }

    #[test]
    fn one_that_fails_is_told_with_its_reason_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["org/gated", "org/dead", "org/crash", "org/good"].map(wanted);
        let script = |one: &Wanted| {
            let said = match one.checkpoint {
                "org/gated" => {
                    "echo 'error: org/gated cannot be certified: its owner has to let you in' >&2; exit 1"
                }
                "org/dead" => {
                    "printf 'loads   passed\\n\\nresponsive failed · stage compare\\n\\nit answers nothing\\n'; exit 1"
                }
                "org/crash" => "kill -9 $$",
                _ => "touch $HF_HUB_CACHE/weights && echo proved",
            };
            let mut command = Command::new("sh");
            command.args(["-c", said]);
            command
        };
        let place = folder.path().join("place");
        fs::create_dir_all(place.join("org--killed")).unwrap();
        let fates = work(&all, folder.path(), &place, folder.path(), &script).unwrap();
        let told = fates.iter().map(|(one, fate)| match fate {
            Fate::Not { why, .. } => format!("{}: {why}", one.checkpoint),
            Fate::Certified => format!("{} certified", one.checkpoint),
            Fate::Already => format!("{} before", one.checkpoint),
        });
        let told: Vec<String> = told.collect();
        assert_eq!(told[0], "org/gated: its owner has to let you in");
        assert_eq!(told[1], "org/dead: responsive failed · stage compare: it answers nothing");
        assert!(told[2].starts_with("org/crash: not proved, "), "{}", told[2]);
        assert_eq!(told[3], "org/good certified");
        assert_eq!(fs::read_to_string(folder.path().join("org--good.log")).unwrap(), "proved\n");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is left on the disk");
        let table = overview(&fates);
        assert!(table.contains("NOT CERTIFIED") && table.contains("org--crash.log"), "{table}");
    }
}
