//! Entries taken out and asked for anew by their names alone: how much of the spec could be written by the machine.
//!
//! In: the spec's files, a count and a seed. Out: which entries are drawn, and for each a [`Verdict`] on what came back.

use super::spec_files::{SpecFiles, SpecFilesError};
use super::trial::Tried;
use crate::artifact::Format;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An entry that came back may be this many times as long as the one it stands for.
pub const LENGTH_MAX: f64 = 1.5;

/// The names that a seed draws, in alphabetical order: those with the smallest sha256 of `SEED NAME`, so that every machine
/// draws the same, and a larger count only adds to a smaller one.
pub fn draw(mut names: Vec<&str>, count: usize, seed: u64) -> Vec<&str> {
    names.sort_by_cached_key(|name| Sha256::digest(format!("{seed} {name}")));
    names.truncate(count);
    names.sort_unstable();
    names
}

/// What of an entry is held to what it was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Described {
    pub class: String,
    pub task: String,
    /// The checks that it is put to, all of which pass.
    pub checks: BTreeSet<String>,
    /// Characters of its YAML written on one line, without comments.
    pub length: usize,
}

/// What a request for an entry left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Left {
    Entry(Described),
    Refused { stage: String, reason: String },
}

/// Whether an entry came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Back,
    /// It runs another class, or the class for another task.
    Other {
        class: String,
        task: String,
    },
    /// Checks that it was put to before, and that it leaves out now.
    FewerChecks(Vec<String>),
    Longer,
    Refused {
        stage: String,
        reason: String,
    },
}

impl Verdict {
    /// Holds what came back to what was there.
    pub fn of(before: &Described, left: &Left) -> Self {
        let after = match left {
            Left::Refused { stage, reason } => {
                return Self::Refused { stage: stage.clone(), reason: reason.clone() };
            }
            Left::Entry(after) => after,
        };
        let lost: Vec<String> = before.checks.difference(&after.checks).cloned().collect();
        if (&before.class, &before.task) != (&after.class, &after.task) {
            Self::Other { class: after.class.clone(), task: after.task.clone() }
        } else if !lost.is_empty() {
            Self::FewerChecks(lost)
        } else if after.length as f64 > LENGTH_MAX * before.length as f64 {
            Self::Longer
        } else {
            Self::Back
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Back => f.write_str("came back"),
            Self::Other { class, task } => write!(f, "other: {class} for {task}"),
            Self::FewerChecks(lost) => write!(f, "without {}", lost.join(", ")),
            Self::Longer => write!(f, "more than {LENGTH_MAX} times as long"),
            Self::Refused { stage, reason } => write!(f, "refused, stage {stage}: {reason}"),
        }
    }
}

/// Every entry as the files describe it, by name, with the checks that suit that engine.
///
/// # Errors
/// Problems of the spec.
pub fn describe(files: &SpecFiles, format: Format) -> Result<BTreeMap<String, Described>, SpecFilesError> {
    let (spec, said) = (files.spec()?, files.said()?);
    let described = spec.entries.iter().map(|entry| {
        let described = Described {
            class: entry.class.clone(),
            task: entry.task.name.to_owned(),
            checks: format.due(entry).map(|check| check.name().to_owned()).collect(),
            length: length(&said[entry.name.as_str()]),
        };
        (entry.name.to_string(), described)
    });
    Ok(described.collect())
}

/// Characters of what a file says of an entry, written on one line.
fn length(said: &Value) -> usize {
    super::draft::flow(said).chars().count()
}

/// Takes the drawn entries out of the files, and with each all that inherit from it; how many that were.
///
/// # Errors
/// Files that cannot be edited.
pub fn take_out(files: &mut SpecFiles, drawn: &[&str]) -> Result<usize, SpecFilesError> {
    let gone = with_heirs(&files.said()?, drawn);
    let spec = files.spec()?;
    let own = spec.entries.iter().filter(|entry| gone.contains(entry.name.as_str()));
    files.remove_all(&Vec::from_iter(own.map(|entry| (entry.family.as_str(), entry.name.as_str()))))?;
    Ok(gone.len())
}

/// The names, and those of all entries that are like one of them, directly or not.
fn with_heirs(said: &BTreeMap<String, Value>, drawn: &[&str]) -> BTreeSet<String> {
    let mut gone: BTreeSet<String> = drawn.iter().map(|name| (*name).to_owned()).collect();
    loop {
        let is_heir = |item: &Value| item["like"].as_str().is_some_and(|like| gone.contains(like));
        let heirs = said.iter().filter(|(name, item)| is_heir(item) && !gone.contains(*name));
        let heirs = Vec::from_iter(heirs.map(|(name, _)| name.clone()));
        if heirs.is_empty() {
            return gone;
        }
        gone.extend(heirs);
    }
}

/// What a request left, told from what became of it and from the files with it.
///
/// # Errors
/// Problems of the spec.
pub fn left(files: &SpecFiles, format: Format, tried: &[Tried]) -> Result<Vec<Left>, SpecFilesError> {
    let described = describe(files, format)?;
    let left = tried.iter().map(|tried| match tried {
        Tried::Already { name, .. } => Left::Entry(described[name].clone()),
        Tried::Added(added) => {
            let checks = added.passed.iter().map(|check| check.name().to_owned()).collect();
            Left::Entry(Described { checks, ..described[&added.name].clone() })
        }
        Tried::Refused(refusal) => {
            Left::Refused { stage: refusal.stage.clone(), reason: refusal.reason.clone() }
        }
    });
    Ok(left.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn described(length: usize, checks: &[&str]) -> Described {
        Described {
            class: "A".to_owned(),
            task: "fill-mask".to_owned(),
            checks: checks.iter().map(|check| (*check).to_owned()).collect(),
            length,
        }
    }

    #[test]
    fn a_seed_always_draws_the_same_and_another_seed_others() {
        let names = || vec!["bert", "gpt2", "llama", "t5", "vit", "whisper"];
        let mut shuffled = names();
        shuffled.reverse();
        assert_eq!(draw(names(), 3, 1), ["bert", "llama", "vit"]);
        assert_eq!(draw(shuffled, 3, 1), draw(names(), 3, 1));
        assert_ne!(draw(names(), 3, 2), draw(names(), 3, 1));
        assert!(draw(names(), 2, 1).iter().all(|name| draw(names(), 3, 1).contains(name)));
        assert_eq!(draw(names(), 100, 1).len(), 6);
    }

    #[test]
    fn an_entry_came_back_where_class_task_checks_and_length_are_as_they_were() {
        let before = described(100, &["loads", "half"]);
        let of = |after: Described| Verdict::of(&before, &Left::Entry(after));
        assert_eq!(of(before.clone()), Verdict::Back);
        assert_eq!(of(described(150, &["loads", "half", "causal"])), Verdict::Back);
        assert_eq!(of(described(151, &["loads", "half"])), Verdict::Longer);
        assert_eq!(of(described(100, &["loads"])), Verdict::FewerChecks(vec!["half".to_owned()]));
        let other = Described { task: "text-generation".to_owned(), ..before.clone() };
        assert_eq!(of(other).to_string(), "other: A for text-generation");
        let refused = Left::Refused { stage: "run".to_owned(), reason: "no such axis".to_owned() };
        assert_eq!(Verdict::of(&before, &refused).to_string(), "refused, stage run: no such axis");
    }

    #[test]
    fn length_counts_what_is_said_and_no_layout() {
        let project = |text: &str| {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir(root.path().join("spec")).unwrap();
            let versions = "python: {t: 1.0.0}\nsources: {transformers: {package: t, version: 1.0.0}}\n";
            std::fs::write(root.path().join("spec/versions.yaml"), versions).unwrap();
            std::fs::write(root.path().join("spec/text.yaml"), text).unwrap();
            describe(&SpecFiles::open(root.path()).unwrap(), Format::TorchScript).unwrap()["a"].length
        };
        let begin =
            "family: text\ndefaults: {task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}\nmodels:\n";
        let short = project(&format!("{begin}  - {{name: a, class: A, config: {{size: 4}}}}\n"));
        let long = project(&format!(
            "{begin}  # why\n  - name: a\n    class: A\n    # why\n    config:\n      size: 4  # so\n"
        ));
        assert_eq!((short, long), (38, 38));
    }

    #[test]
    fn what_inherits_from_a_drawn_entry_goes_with_it() {
        let item = |like: Option<&str>| like.map_or(json!({}), |like| json!({"like": like}));
        let said = [("a", None), ("b", Some("a")), ("c", Some("b")), ("d", None)];
        let said = said.iter().map(|(name, like)| ((*name).to_owned(), item(*like))).collect();
        assert_eq!(Vec::from_iter(with_heirs(&said, &["a"])), ["a", "b", "c"]);
        assert_eq!(Vec::from_iter(with_heirs(&said, &["c", "d"])), ["c", "d"]);
    }
}
