//! `readd`: entries taken out of a copy of the spec and added anew by their names alone.
//!
//! The spec and the artifacts of the project stay as they are. Children add the entries, a few at a time: what ends one of
//! them is asked for again, one by one, so that it costs one name.

use super::{export::Bar, failed, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::CellAlignment;
use hf_conformance::author::readd::{self, Described, LENGTH_MAX, Left, Verdict};
use hf_conformance::author::{AddRequest, SpecFiles, Trial, trial};
use hf_conformance::process::interrupted;
use hf_conformance::roster;
use hf_conformance::runner::{Limits, installed, run_alone};
use hf_conformance::typed::Typed;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How many entries are drawn where no count is named.
const COUNT: usize = 100;
/// How many entries a child adds: what is imported once for all of them takes as long as two.
const CHUNK: usize = 10;
/// What a child leaves in its folder.
const LEFT: &str = "left.json";
/// What one name may take of a child's time.
const TIME_EACH: Duration = Duration::from_secs(600);
/// What a child may hold.
const MEMORY: u64 = 8 << 30;

#[derive(Args)]
pub struct Arguments {
    /// How many entries are drawn (100 when left out), or the names of entries
    what: Vec<String>,
    /// What they are drawn by
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Adds the names to the spec in this folder, in this very process: what this program does in a child
    #[arg(long, hide = true)]
    here: Option<PathBuf>,
}

/// A drawn entry before and after, and what came of it.
struct Row<'a> {
    name: &'a str,
    before: &'a Described,
    left: Left,
    verdict: Verdict,
}

impl<'a> Row<'a> {
    fn new(name: &'a str, before: &'a Described, left: Left) -> Self {
        let verdict = Verdict::of(before, &left);
        Self { name, before, left, verdict }
    }
}

/// Takes entries out of a copy of the spec, adds them anew and prints what came of each; exit code 1 unless all came back.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(folder) = &arguments.here {
        return add(folder, &arguments.what);
    }
    let Some((engine, _)) = trial::device().map_err(|failure| failed(&failure))? else {
        bail!("this build has no libtorch; use: {}", Typed::just("readd"));
    };
    let mut files = SpecFiles::open(Path::new("."))?;
    let before = readd::describe(&files, engine.format())?;
    let drawn = drawn(arguments, before.keys().map(String::as_str).collect())?;
    let gone = readd::take_out(&mut files, &drawn)?;
    let folder = tempfile::tempdir().context("a temporary folder")?;
    files.write_below(folder.path())?;
    eprintln!("{} entries drawn, {} taken out with those that inherit from them", drawn.len(), gone);
    let mut rows = Vec::new();
    for names in drawn.chunks(CHUNK) {
        let left = match added(folder.path(), names) {
            // What is known by then is told.
            Err(_) if interrupted().is_some() => break,
            left => left?,
        };
        let rows_of = names.iter().zip(left);
        rows.extend(rows_of.map(|(name, left)| Row::new(name, &before[*name], left)));
        eprintln!("{} of {}: {} came back", rows.len(), drawn.len(), back(&rows));
    }
    super::show(shown(&rows))?;
    println!("\n{}", summary(&rows, drawn.len(), count(arguments).map(|_| arguments.seed)));
    Ok(if back(&rows) == drawn.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names that were typed, or those that the seed draws.
fn drawn<'a>(arguments: &'a Arguments, names: Vec<&'a str>) -> Result<Vec<&'a str>> {
    if let Some(count) = count(arguments) {
        return Ok(readd::draw(names, count, arguments.seed));
    }
    if let Some(unknown) = arguments.what.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no entry '{unknown}'; name a count, or entries");
    }
    Ok(arguments.what.iter().map(String::as_str).collect())
}

/// How many entries the seed draws; none where names were typed.
fn count(arguments: &Arguments) -> Option<usize> {
    match &arguments.what[..] {
        [] => Some(COUNT),
        [one] => one.parse().ok(),
        _ => None,
    }
}

/// Has a child add the names to the spec in a folder; where it does not end well, others, one for each of them.
fn added(folder: &Path, names: &[&str]) -> Result<Vec<Left>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["readd", "--here"]).arg(folder).args(names);
    let time = TIME_EACH * u32::try_from(names.len()).unwrap_or(u32::MAX);
    let ended = run_alone(&mut command, Some(Limits { time, memory: MEMORY.min(installed() / 4 * 3) }))?;
    let why = match ended {
        Ok(status) if status.success() => {
            let path = folder.join(LEFT);
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            return Ok(serde_json::from_slice(&text)?);
        }
        Ok(status) => format!("the process that tried it ended early ({status})"),
        Err(failure) => failure.message,
    };
    if interrupted().is_some() {
        bail!("interrupted");
    }
    if names.len() == 1 {
        return Ok(vec![Left::Refused { stage: "check".to_owned(), reason: why }; names.len()]);
    }
    let alone = names.iter().map(|name| Ok(added(folder, &[name])?.remove(0)));
    alone.collect()
}

/// What a child does: adds the names to the spec in the folder and leaves there what became of each.
fn add(folder: &Path, names: &[String]) -> Result<ExitCode> {
    let mut files = SpecFiles::open(folder)?;
    let (rows, bases) = (roster::read(Path::new("."))?, files.bases());
    let requests: Vec<_> = names.iter().map(|name| AddRequest::by_name(name, &rows, &bases)).collect();
    let (bar, artifacts) = (Bar::quiet(), folder.join("artifacts"));
    let found = trial::device().map_err(|failure| failed(&failure))?;
    let Some((engine, _)) = found else { bail!("this build has no libtorch") };
    let trial = Trial { engine: found, artifacts: &artifacts, progress: &bar };
    let tried = trial.run(&mut files, &requests).map_err(|failure| failed(&failure))?;
    bar.end();
    files.write()?;
    fs::remove_dir_all(&artifacts).with_context(|| artifacts.display().to_string())?;
    fs::write(folder.join(LEFT), serde_json::to_vec(&readd::left(&files, engine.format(), &tried)?)?)?;
    Ok(ExitCode::SUCCESS)
}

fn back(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.verdict == Verdict::Back).count()
}

/// A line for every entry: checks and characters before and after, and what came of it.
fn shown(rows: &[Row]) -> comfy_table::Table {
    let mut lines = table(["entry", "checks", "now", "characters", "now", "what came of it"]);
    if let Some(words) = lines.column_mut(5) {
        words.set_cell_alignment(CellAlignment::Left);
    }
    for Row { name, before, left, verdict } in rows {
        let after = match left {
            Left::Entry(after) => [after.checks.len().to_string(), after.length.to_string()],
            Left::Refused { .. } => [String::new(), String::new()],
        };
        let [checks, length] = after;
        let before = (before.checks.len().to_string(), before.length.to_string());
        lines.add_row([(*name).to_owned(), before.0, checks, before.1, length, verdict.to_string()]);
    }
    lines
}

/// How many came back, by what they were drawn if they were not named, and what the others came to.
fn summary(rows: &[Row], drawn: usize, seed: Option<u64>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let word = match &row.verdict {
            Verdict::Back => continue,
            Verdict::Other { .. } => "another class or task".to_owned(),
            Verdict::FewerChecks(_) => "fewer checks".to_owned(),
            Verdict::Longer => format!("more than {LENGTH_MAX} times as long"),
            Verdict::Refused { stage, .. } => format!("refused at {stage}"),
        };
        *counts.entry(word).or_default() += 1;
    }
    let others: String = counts.iter().map(|(word, count)| format!("; {count} {word}")).collect();
    let seed = seed.map(|seed| format!(" (seed {seed})")).unwrap_or_default();
    format!("{} of {drawn} came back{seed}{others}", back(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn described(length: usize) -> Described {
        let checks = BTreeSet::from(["loads".to_owned()]);
        Described { class: "A".to_owned(), task: "fill-mask".to_owned(), checks, length }
    }

    fn arguments(what: &[&str]) -> Arguments {
        let what = what.iter().map(|word| (*word).to_owned()).collect();
        Arguments { what, seed: 7, here: None }
    }

    #[test]
    fn every_entry_has_a_line_and_the_summary_counts_what_did_not_come_back() {
        let before = described(40);
        let refused = Left::Refused { stage: "run".to_owned(), reason: "no size fits".to_owned() };
        let row = |name, left| Row::new(name, &before, left);
        let rows = [
            row("bert", Left::Entry(described(50))),
            row("vit", Left::Entry(described(61))),
            row("t5", refused),
        ];
        let lines = shown(&rows).to_string();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            lines.lines().map(words).collect::<Vec<_>>(),
            [
                "entry checks now characters now what came of it",
                "bert 1 1 40 50 came back",
                "vit 1 1 40 61 more than 1.5 times as long",
                "t5 1 40 refused, stage run: no size fits",
            ]
        );
        let others = "; 1 more than 1.5 times as long; 1 refused at run";
        assert_eq!(summary(&rows, 3, Some(7)), format!("1 of 3 came back (seed 7){others}"));
        assert_eq!(summary(&rows, 3, None), format!("1 of 3 came back{others}"));
    }

    #[test]
    fn a_number_draws_and_names_are_taken_as_they_are() {
        let names = || vec!["bert", "gpt2", "vit"];
        assert_eq!(drawn(&arguments(&["2"]), names()).unwrap().len(), 2);
        assert_eq!(drawn(&arguments(&[]), names()).unwrap().len(), 3);
        assert_eq!(drawn(&arguments(&["vit", "bert"]), names()).unwrap(), ["vit", "bert"]);
        let error = drawn(&arguments(&["bret"]), names()).unwrap_err().to_string();
        assert_eq!(error, "there is no entry 'bret'; name a count, or entries");
    }
}
