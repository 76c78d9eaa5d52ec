//! Which checkpoints of the roster are to be certified, and which are.
//!
//! In: the roster, the folder of bundles. Out: [`Wanted`] checkpoints in the roster's order, each once however many rows
//! name it.

use super::verify;
use crate::roster::Row;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint that rows of the roster name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// A hub id.
    pub checkpoint: &'a str,
    /// The first row's, of [`PRIORITIES`](crate::roster::PRIORITIES).
    pub priority: &'a str,
    /// Names of the rows.
    pub rows: Vec<&'a str>,
}

impl Wanted<'_> {
    /// Where its bundle goes, below a folder: two owners may have given a model the same name.
    pub fn bundle(&self, root: &Path) -> PathBuf {
        root.join(self.checkpoint.replace('/', "--"))
    }

    /// Whether its bundle is there, of this checkpoint and as it was certified.
    pub fn is_certified(&self, root: &Path) -> bool {
        verify::verify(&self.bundle(root), None).is_ok_and(|(certificate, problems)| {
            problems.is_empty() && certificate.checkpoint.name == self.checkpoint
        })
    }
}

/// The checkpoints of rows that matter so much.
pub fn wanted(rows: &[Row], matters: impl Fn(&str) -> bool) -> Vec<Wanted<'_>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for row in rows.iter().filter(|row| matters(&row.priority)) {
        let Some(checkpoint) = row.checkpoint.as_deref() else { continue };
        match wanted.iter_mut().find(|one| one.checkpoint == checkpoint) {
            Some(one) => one.rows.push(&row.name),
            None => wanted.push(Wanted { checkpoint, priority: &row.priority, rows: vec![&row.name] }),
        }
    }
    wanted
}

/// The checkpoints that bundles below a folder were made from; what is no bundle there is passed over.
pub fn bundled(root: &Path) -> BTreeSet<String> {
    let Ok(folders) = fs::read_dir(root) else { return BTreeSet::new() };
    let certificates = folders.flatten().filter_map(|folder| verify::read(&folder.path()).ok());
    certificates.map(|certificate| certificate.checkpoint.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, checkpoint: Option<&str>, priority: &str) -> Row {
        Row {
            name: name.to_owned(),
            checkpoint: checkpoint.map(str::to_owned),
            priority: priority.to_owned(),
            ..Row::default()
        }
    }

    #[test]
    fn a_checkpoint_is_wanted_once_in_the_rosters_order() {
        let rows = [
            row("bert", Some("google/bert"), "critical"),
            row("dialogpt", Some("org/gpt"), "high"),
            row("own", None, "critical"),
            row("gpt", Some("org/gpt"), "critical"),
            row("bert-again", Some("google/bert"), "critical"),
        ];
        let found = wanted(&rows, |priority| priority == "critical");
        let told: Vec<_> = found.iter().map(|one| (one.checkpoint, one.rows.clone())).collect();
        assert_eq!(told, [("google/bert", vec!["bert", "bert-again"]), ("org/gpt", vec!["gpt"])]);
        assert_eq!(found[0].bundle(Path::new("certified")), Path::new("certified/google--bert"));
    }

    #[test]
    fn a_bundle_counts_while_it_is_whole_and_of_that_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let made = verify::tests::bundle(root.path());
        let name = verify::read(&made).unwrap().checkpoint.name;
        let rows = [row("gpt", Some(&name), "high"), row("bert", Some("org/other"), "high")];
        let wanted = wanted(&rows, |_| true);
        fs::rename(&made, wanted[0].bundle(root.path())).unwrap();
        assert!(wanted[0].is_certified(root.path()));
        fs::rename(wanted[0].bundle(root.path()), wanted[1].bundle(root.path())).unwrap();
        assert!(!wanted[1].is_certified(root.path()), "it is another checkpoint's");
        fs::rename(wanted[1].bundle(root.path()), wanted[0].bundle(root.path())).unwrap();
        fs::write(wanted[0].bundle(root.path()).join("program.pt"), "other weights").unwrap();
        assert!(!wanted[0].is_certified(root.path()), "it is made anew");
    }

    #[test]
    fn what_is_no_bundle_is_not_certified() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("org--gpt")).unwrap();
        fs::write(root.path().join("org--gpt").join("certificate.json"), "{}").unwrap();
        let rows = [row("gpt", Some("org/gpt"), "high")];
        assert!(!wanted(&rows, |_| true)[0].is_certified(root.path()));
        assert_eq!(bundled(root.path()), BTreeSet::new());
        assert_eq!(bundled(&root.path().join("no folder")), BTreeSet::new());
    }
}
