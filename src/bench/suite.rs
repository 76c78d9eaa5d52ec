//! What the suite costs, against the same checks in eager Python: one pytest process, one import, each model built once.
//!
//! In: entries with their artifacts, and the pytest suite in `benches/pytest`. Out: a [`SuiteCost`] of each run. Artifacts
//! are there before either begins: both read inputs and references from them.

use super::python::job;
use crate::export;
use crate::failure::{At, Failure, Stage};
use crate::process;
use crate::spec::{Check, Entry, Versions};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// The source whose classes the pytest suite runs: one process has one transformers.
pub const SOURCE: &str = "transformers";
/// The pytest suite, in this checkout.
const TESTS: &str = "benches/pytest";
/// Where it reads what to check.
const LIST: &str = "HF_CONFORMANCE_SUITE";

/// Checks that both suites have: all that say something about eager Python, too.
pub fn shared() -> impl Iterator<Item = Check> {
    // About what libtorch makes of a program; eager Python is no program.
    Check::ALL.into_iter().filter(|check| *check != Check::Optimised)
}

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuiteCost {
    pub checks: usize,
    /// By the clock on the wall, from start to end of the process.
    pub seconds: f64,
    /// Of processors, of all processes together; none where the system does not say.
    pub processor: Option<f64>,
}

impl SuiteCost {
    /// Milliseconds of the wall clock for a check.
    pub fn per_check(&self) -> f64 {
        1e3 * self.seconds / self.checks.max(1) as f64
    }
}

/// The pytest suite, ready to be run.
pub struct PytestSuite {
    python: export::Python,
    list: PathBuf,
}

impl PytestSuite {
    /// Writes what is to be checked into `folder`.
    ///
    /// # Errors
    /// Stage `export`: no Python environment, no artifacts, no room.
    pub fn ready(
        entries: &[&Entry],
        versions: &Versions,
        artifacts: &Path,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let python = export::Python::ready(versions, SOURCE)?;
        let source = versions.sources.get(SOURCE);
        let listed = entries.iter().map(|entry| {
            let own = artifacts.join(entry.name.as_str());
            let due = entry.due().filter(|check| shared().any(|one| one == *check));
            Ok(json!({
                "job": job(entry, source)?,
                "folder": std::path::absolute(&own).at(Stage::Export, own.display())?,
                "checks": due.map(Check::name).collect::<Vec<_>>(),
                "idle": entry.idle.iter().map(|idle| &*idle.parameters).collect::<Vec<_>>(),
            }))
        });
        let listed = Value::from(listed.collect::<Result<Vec<Value>, Failure>>()?);
        let list = folder.join("suite.json");
        fs::create_dir_all(folder).at(Stage::Export, folder.display())?;
        fs::write(&list, listed.to_string()).at(Stage::Export, list.display())?;
        Ok(Self { python, list: std::path::absolute(&list).at(Stage::Export, list.display())? })
    }

    /// Runs it once.
    ///
    /// # Errors
    /// Stage `run`: pytest is not there, or a check did not pass.
    pub fn run(&self) -> Result<SuiteCost, Failure> {
        let mut command = self.python.command("pytest")?;
        command.args(["--quiet", "-p", "no:cacheprovider", TESTS]).env(LIST, &self.list);
        timed("pytest", &mut command)
    }
}

/// Runs the same checks of this suite once: `program` is this very program, `results` where it keeps them.
///
/// # Errors
/// Stage `run`: a check did not pass.
pub fn rust(program: &Path, entries: &[&Entry], results: &Path) -> Result<SuiteCost, Failure> {
    let checks: Vec<&str> = shared().map(Check::name).collect();
    let mut command = Command::new(program);
    command.arg("check").args(entries.iter().map(|entry| entry.name.as_str()));
    command.args(["--device", "cpu", "--strict", "--check", &checks.join(",")]);
    timed("the suite", command.env("HF_CONFORMANCE_RESULTS", results))
}

fn timed(named: &str, command: &mut Command) -> Result<SuiteCost, Failure> {
    let (before, started) = (of_children(), Instant::now());
    let Output { status, stdout, stderr } = process::output(command).at(Stage::Run, named)?;
    let seconds = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&stdout).into_owned();
    match passed(&said).filter(|_| status.success()) {
        Some(checks) => {
            let processor = of_children().zip(before).map(|(after, before)| after - before);
            Ok(SuiteCost { checks, seconds, processor })
        }
        None => {
            let broken = Failure::new(Stage::Run, format!("not all checks of {named} passed ({status})"));
            Err(broken.with_end_of(&format!("{said}{}", String::from_utf8_lossy(&stderr))))
        }
    }
}

/// How many checks passed, by the last line that says so: `12 passed, 0 failed`, `12 passed in 3.4s`.
fn passed(said: &str) -> Option<usize> {
    let line = said.lines().rev().find(|line| line.contains(" passed"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let place = words.iter().position(|word| word.starts_with("passed"))?;
    words.get(place.checked_sub(1)?)?.parse().ok()
}

/// Seconds of processors that children which have ended took, with their own: see proc(5), fields 16 and 17.
fn of_children() -> Option<f64> {
    /// Linux counts in hundredths for every program.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may hold anything; field 3 follows it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_suites_say_how_many_checks_passed() {
        let rust = " bert  12\n\n12 checks due on 1 models in 2.7 s\n12 passed, 0 failed\n";
        assert_eq!(passed(rust), Some(12));
        assert_eq!(passed("...\n3 warnings\n7 passed, 3 warnings in 3.44s\n"), Some(7));
        assert_eq!(passed("2 failed, 9 passed in 1.0s"), Some(9));
        assert_eq!(passed("no tests ran in 0.01s"), None);
    }

    #[test]
    fn what_a_child_computes_is_counted() {
        let Some(before) = of_children() else { return };
        let mut busy = Command::new("sh");
        busy.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        process::output(&mut busy).unwrap();
        assert!(of_children().unwrap() > before);
    }

    #[test]
    fn a_run_in_which_a_check_fails_has_no_cost() {
        let mut command = Command::new("sh");
        let failure = timed("it", command.args(["-c", "echo 3 passed, 1 failed; exit 1"])).unwrap_err();
        assert!(failure.message.starts_with("not all checks of it passed"), "{failure}");
        assert!(failure.details.iter().any(|line| line.contains("1 failed")));
        let cost = timed("it", Command::new("sh").args(["-c", "echo 4 passed"])).unwrap();
        assert_eq!(cost.checks, 4);
        assert!(cost.per_check() > 0.0);
    }
}
