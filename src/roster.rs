//! The roster: every architecture that must have an entry, and the denominator of every share that is reported.
//!
//! In: `spec/roster.tsv`. Out: its [`Row`]s, which are also a hint where a new entry is to be written: they know
//! variants (`codellama`) whose code has another name.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The roster's file, below the project's root.
pub const FILE: &str = "spec/roster.tsv";
/// The tiers, from the heart of the mission outwards.
pub const TIERS: [&str; 5] = ["plan", "registry", "transformers", "parts", "elsewhere"];
/// How much it matters that a model works, most of all first.
pub const PRIORITIES: [&str; 4] = ["critical", "high", "medium", "low"];
/// Its columns, in order.
const COLUMNS: [&str; 11] = [
    "name",
    "tier",
    "category",
    "source",
    "model_type",
    "class",
    "task",
    "checkpoint",
    "priority",
    "alias_of",
    "note",
];

/// One architecture; the columns are explained in `spec/README.md`. Empty cells are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub tier: String,
    pub category: String,
    pub source: String,
    pub model_type: Option<String>,
    pub class: Option<String>,
    pub task: Option<String>,
    pub checkpoint: Option<String>,
    pub priority: String,
    pub alias_of: Option<String>,
    pub note: Option<String>,
    /// Where the row stands, counted from 1.
    #[serde(skip)]
    pub line: usize,
}

/// Why the roster cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{FILE}:{line}:1: {message}")]
    Row { line: usize, message: String },
}

/// All rows, in the file's order.
///
/// # Errors
/// A file that cannot be read, other columns, or a name that is there twice.
pub fn read(root: &Path) -> Result<Vec<Row>, RosterError> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| RosterError::Io { path, error })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Row>, RosterError> {
    let wrong = |index: usize, message: String| RosterError::Row { line: index + 1, message };
    let mut seen = BTreeMap::new();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('\t').collect();
        if index == 0 && cells != COLUMNS {
            return Err(wrong(index, format!("the columns must be {}", COLUMNS.join(", "))));
        }
        if cells.len() != COLUMNS.len() {
            return Err(wrong(index, format!("{} cells; there are {} columns", cells.len(), COLUMNS.len())));
        }
        if index == 0 {
            continue;
        }
        if let Some(first) = seen.insert(plain(cells[0]), index + 1) {
            return Err(wrong(index, format!("'{}' is here twice (first at line {first})", cells[0])));
        }
        rows.push(Row { line: index + 1, ..row(&cells) });
    }
    Ok(rows)
}

fn row(cells: &[&str]) -> Row {
    let text = |column: usize| cells[column].to_owned();
    let optional = |column: usize| (!cells[column].is_empty()).then(|| text(column));
    Row {
        name: text(0),
        tier: text(1),
        category: text(2),
        source: text(3),
        model_type: optional(4),
        class: optional(5),
        task: optional(6),
        checkpoint: optional(7),
        priority: text(8),
        alias_of: optional(9),
        note: optional(10),
        line: 0,
    }
}

/// The row of that name, in any spelling.
pub fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    let name = plain(name);
    rows.iter().find(|row| plain(&row.name) == name)
}

/// A name without what spellings differ in: `qwen3-vl`, `qwen3_vl` and `Qwen3VL` are one.
pub fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Name;
    use crate::task;

    fn checked_in() -> Vec<Row> {
        read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn every_name_of_the_roster_can_be_a_module_and_no_two_are_the_same_one() {
        let mut modules = BTreeMap::new();
        for row in checked_in() {
            let name = Name::new(&row.name).unwrap_or_else(|error| panic!("{}: {error}", row.name));
            let module = name.module();
            syn::parse_str::<syn::Ident>(&module).unwrap_or_else(|error| panic!("{module}: {error}"));
            assert_eq!(modules.insert(module, row.name.clone()), None, "{}", row.name);
        }
    }

    #[test]
    fn every_task_of_the_roster_is_one() {
        let rows = checked_in();
        let unknown =
            rows.iter().filter_map(|row| row.task.as_deref()).filter(|name| task::find(name).is_none());
        assert_eq!(Vec::from_iter(unknown), Vec::<&str>::new());
    }

    #[test]
    fn a_row_is_found_in_any_spelling() {
        let rows = checked_in();
        for name in ["qwen3-vl", "qwen3_vl", "Qwen3VL"] {
            assert_eq!(find(&rows, name).map(|row| row.name.as_str()), Some("qwen3-vl"));
        }
        assert_eq!(find(&rows, "nothing"), None);
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said_with_its_line() {
        let header = COLUMNS.join("\t");
        let row = |name: &str| format!("{name}{}", "\tx".repeat(10));
        let error = |text: String| parse(&text).unwrap_err().to_string();
        assert!(
            error("name\ttier".into()).starts_with("spec/roster.tsv:1:1: the columns must be name, tier")
        );
        assert_eq!(error(format!("{header}\na\tb")), "spec/roster.tsv:2:1: 2 cells; there are 11 columns");
        let twice = format!("{header}\n{}\n{}", row("a-b"), row("a_b"));
        assert_eq!(error(twice), "spec/roster.tsv:3:1: 'a_b' is here twice (first at line 2)");
    }
}
