//! The roster: every architecture that must have a row in the coverage.
//!
//! In: `spec/roster.tsv`. Out: its rows. The denominator of every share that is reported, whatever the spec holds.

use serde::Deserialize;
use std::path::Path;

/// The tiers, from the heart of the mission outwards.
pub const TIERS: [&str; 5] = ["plan", "registry", "transformers", "parts", "elsewhere"];

/// A row of the roster; columns that only people read are left out.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub name: String,
    /// `plan`, `registry`, `transformers`, `parts` or `elsewhere`.
    pub tier: String,
    /// The family.
    pub category: String,
    /// `critical`, `high`, `medium` or `low`.
    pub priority: String,
    pub model_type: String,
}

/// Reads the roster of the project below `root`.
///
/// # Errors
/// The file cannot be read, or lacks a column.
pub fn read(root: &Path) -> Result<Vec<Row>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .quoting(false)
        .from_path(root.join("spec").join("roster.tsv"))?;
    reader.deserialize().collect()
}

/// A name without what spellings differ in: case, hyphens, underscores, dots and spaces.
pub fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
