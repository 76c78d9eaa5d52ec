//! The compatibility matrix: models × (device × element type × engine).
//!
//! In: models and records. Out: a [`Matrix`] with a [`Cell`] for every pair, also for those that never ran. The last
//! word on each check counts; results of an older entry than the model's newest do not.

use super::Record;
use crate::failure::Stage;
use crate::numerics::rule::nan_max;
use crate::spec::{Check, Entry};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where and how a model runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Column {
    pub device: String,
    pub dtype: String,
    pub engine: String,
}

impl Column {
    /// The column of a record; records from before they named their element type have their check's.
    pub fn of(record: &Record) -> Self {
        let dtype = match record.dtype.as_str() {
            "" => Check::find(&record.check).map_or("", |check| check.dtype().name()),
            named => named,
        };
        Self {
            device: record.device.clone().unwrap_or_default(),
            dtype: dtype.to_owned(),
            engine: record.engine.clone(),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.device, self.dtype, self.engine)
    }
}

/// How a model stands in a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Some check failed.
    Failed,
    /// No check has a result.
    #[default]
    NotRun,
    /// No check with that element type applies to the model.
    LeftOut,
    /// Nothing failed, some check was skipped.
    Skipped,
    /// Every check that ran passed.
    Passed,
}

impl State {
    /// The word that reports use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NotRun => "not run",
            Self::LeftOut => "left out",
            Self::Skipped => "skipped",
            Self::Passed => "passed",
        }
    }
}

/// A model in a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    pub state: State,
    /// The earliest stage at which a check failed.
    pub stage: Option<Stage>,
    pub passed: usize,
    /// Names of the checks that failed.
    pub failed: Vec<String>,
    /// Checks that were skipped or not run.
    pub skipped: usize,
    /// The largest error as a share of what is allowed; none where nothing was compared.
    pub share: Option<f64>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state.word())?;
        if let Some(stage) = self.stage {
            write!(f, " at {stage}")?;
        }
        self.figure().map_or(Ok(()), |figure| write!(f, " {figure}"))
    }
}

impl Cell {
    /// The largest error as a share of what is allowed, to be read: none where that is not what the state is about.
    pub fn figure(&self) -> Option<String> {
        let share =
            self.share.filter(|_| self.state != State::Failed || self.stage == Some(Stage::Compare))?;
        Some(if share < 100.0 { format!("{share:.2}") } else { format!("{share:.0e}") })
    }
}

/// A model that gets a row.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub name: &'a str,
    pub family: &'a str,
    /// Element types of the checks that apply to it.
    pub dtypes: BTreeSet<&'static str>,
}

impl<'a> From<&'a Entry> for Subject<'a> {
    fn from(entry: &'a Entry) -> Self {
        let due = Check::ALL.into_iter().filter(|check| check.omitted(entry).is_none());
        Self {
            name: entry.name.as_str(),
            family: entry.family.as_str(),
            dtypes: due.map(|check| check.dtype().name()).collect(),
        }
    }
}

/// A model in all columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub model: String,
    pub family: String,
    /// One per column, in their order.
    pub cells: Vec<Cell>,
}

/// The whole matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// What a record is the last word on.
pub(super) type Key<'a> = (&'a str, &'a str, &'a str, &'a str);

/// The last word on each model, check, device and engine, of the newest entry of each model, mock left out.
/// `records` are oldest first.
pub(super) fn latest(records: &[Record]) -> BTreeMap<Key<'_>, &Record> {
    let real = || records.iter().filter(|record| record.is_real());
    let newest: BTreeMap<&str, &str> =
        real().map(|record| (record.model.as_str(), record.entry.as_str())).collect();
    let current = real().filter(|record| newest.get(record.model.as_str()) == Some(&record.entry.as_str()));
    current.map(|record| (key(record), record)).collect()
}

fn key(record: &Record) -> Key<'_> {
    (&record.model, &record.check, record.device.as_deref().unwrap_or_default(), &record.engine)
}

/// The matrix of `models`, in the order of rows, and every column that `records` know.
#[must_use]
pub fn matrix<'a>(models: impl IntoIterator<Item = Subject<'a>>, records: &[Record]) -> Matrix {
    let latest = latest(records);
    let columns: BTreeSet<Column> = latest.values().map(|record| Column::of(record)).collect();
    let mut cells: BTreeMap<(&str, Column), Vec<&Record>> = BTreeMap::new();
    for record in latest.into_values() {
        cells.entry((&record.model, Column::of(record))).or_default().push(record);
    }
    let mut columns = Vec::from_iter(columns);
    // A device's full precision comes before the others.
    columns.sort_by_key(|column| (column.device.clone(), column.dtype != "float32"));
    let row = |model: Subject| Row {
        model: model.name.to_owned(),
        family: model.family.to_owned(),
        cells: columns
            .iter()
            .map(|column| match cells.get(&(model.name, column.clone())) {
                Some(own) => cell(own),
                None if model.dtypes.contains(column.dtype.as_str()) => Cell::default(),
                None => Cell { state: State::LeftOut, ..Cell::default() },
            })
            .collect(),
    };
    Matrix { rows: models.into_iter().map(row).collect(), columns: columns.clone() }
}

fn cell(records: &[&Record]) -> Cell {
    let of = |status: &'static str| records.iter().filter(move |record| record.status == status);
    let skipped = of("skipped").count() + of("not-run").count();
    let failed: Vec<String> = of("failed").map(|record| record.check.clone()).collect();
    Cell {
        state: match (failed.is_empty(), skipped) {
            (false, _) => State::Failed,
            (true, 0) => State::Passed,
            (true, _) => State::Skipped,
        },
        stage: of("failed").filter_map(|record| record.stage).min(),
        passed: of("passed").count(),
        failed,
        skipped,
        share: records.iter().filter_map(|record| record.share()).reduce(nan_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(model: &str, check: &str, status: &str) -> Record {
        Record { status: status.to_owned(), ..Record::sample(model, check) }
    }

    fn states(records: &[Record]) -> Vec<String> {
        let bert = Subject { name: "bert", family: "text", dtypes: ["float32", "bfloat16"].into() };
        let t5 = Subject { name: "t5", dtypes: ["float32"].into(), ..bert.clone() };
        let matrix = matrix([bert, t5], records);
        matrix
            .rows
            .iter()
            .map(|row| row.cells.iter().map(Cell::to_string).collect::<Vec<_>>().join("|"))
            .collect()
    }

    #[test]
    fn every_model_has_a_cell_in_every_column() {
        let half = Record { dtype: "bfloat16".to_owned(), ..record("bert", "half", "skipped") };
        assert_eq!(states(&[half, record("t5", "loads", "passed")]), ["not run|skipped", "passed|left out"]);
    }

    #[test]
    fn a_failure_says_its_earliest_stage_and_the_last_word_counts() {
        let failed = |check: &str, stage| Record { stage: Some(stage), ..record("bert", check, "failed") };
        let failures = [failed("causal", Stage::Compare), failed("loads", Stage::Load)];
        assert_eq!(states(&failures)[0], "failed at load");
        let repaired = failures
            .into_iter()
            .chain([record("bert", "loads", "passed"), record("bert", "causal", "passed")]);
        assert_eq!(states(&Vec::from_iter(repaired))[0], "passed");
    }

    #[test]
    fn a_failure_has_its_figure_and_one_that_is_no_number_is_the_largest() {
        let off = |check: &str, error: &str| {
            let metric = format!(
                r#"{{"situation": "traced", "output": "logits", "error": {error}, "eager_error": 0.4, "limit": 1.0,
                "scale": 1.0, "max_abs": 0.0, "relative_l2": 0.0, "cosine": 1.0}}"#
            );
            let metrics = vec![serde_json::from_str(&metric).unwrap()];
            Record { stage: Some(Stage::Compare), metrics, ..record("bert", check, "failed") }
        };
        assert_eq!(states(&[off("causal", "8.0")])[0], "failed at compare 8.00");
        assert_eq!(states(&[off("causal", "4000.0")])[0], "failed at compare 4e3");
        assert_eq!(states(&[off("causal", "8.0"), off("half", "\"NaN\"")])[0], "failed at compare NaN");
    }

    #[test]
    fn an_older_entry_and_the_mock_engine_say_nothing() {
        let older = Record { entry: "old".to_owned(), ..record("bert", "half", "failed") };
        let mock = Record { engine: "mock".to_owned(), ..record("t5", "loads", "mock") };
        assert_eq!(states(&[older, record("bert", "loads", "passed"), mock]), ["passed", "not run"]);
    }
}
