//! The compatibility matrix: models × (device × element type × engine).
//!
//! In: models and records. Out: a [`Matrix`] with a [`Cell`] for every pair, also for those that never ran. The last
//! word on each check counts; results of an older entry than the model's newest do not.

use super::Record;
use super::latest::latest;
use crate::artifact::Format;
use crate::failure::Stage;
use crate::numerics::rule::nan_max;
use crate::spec::{Check, Entry};
use crate::task::Dtype;
use crate::verdict::Status;
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
            "" => Check::find(&record.check).map_or("", |check| check.dtype(Dtype::Bfloat16).name()),
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
pub enum CellState {
    /// Some check ended its process.
    Crashed,
    /// Some check took longer than it may.
    TimedOut,
    /// Some check failed.
    Failed,
    /// No check that is due has a result.
    #[default]
    NotRun,
    /// No check with that element type is due on the model.
    LeftOut,
    /// Nothing failed; some check that is due has no result.
    PartlyRun,
    /// Every check that is due passed.
    Passed,
}

impl CellState {
    /// Whether some check speaks against the model.
    pub fn is_red(self) -> bool {
        matches!(self, Self::Crashed | Self::TimedOut | Self::Failed)
    }

    /// The word that reports use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::TimedOut => "timed out",
            Self::Failed => "failed",
            Self::NotRun => "not run",
            Self::LeftOut => "left out",
            Self::PartlyRun => "partly run",
            Self::Passed => "passed",
        }
    }
}

/// A model in a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    pub state: CellState,
    /// The earliest stage at which a check failed.
    pub stage: Option<Stage>,
    pub passed: usize,
    /// Names of the checks that failed, crashed or timed out.
    pub failed: Vec<String>,
    /// Checks that are due and have no result.
    pub not_run: usize,
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
        let share = self.share.filter(|_| !self.state.is_red() || self.stage == Some(Stage::Compare))?;
        Some(if share < 100.0 { format!("{share:.2}") } else { format!("{share:.0e}") })
    }
}

/// A model that gets a row.
#[derive(Clone, Debug)]
pub struct MatrixModel<'a> {
    pub name: &'a str,
    pub family: &'a str,
    /// The checks that are due on it.
    pub due: Vec<Check>,
}

impl<'a> From<&'a Entry> for MatrixModel<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self { name: entry.name.as_str(), family: entry.family.as_str(), due: entry.due().collect() }
    }
}

/// A model in all columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub model: String,
    pub family: String,
    /// The attention of its program, by the newest record that says so; empty where none does.
    pub attention: String,
    /// One per column, in their order.
    pub cells: Vec<Cell>,
}

/// The whole matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

/// The matrix of `models`, in the order of rows, and every column that `records` know.
#[must_use]
pub fn matrix<'a>(models: impl IntoIterator<Item = MatrixModel<'a>>, records: &[Record]) -> Matrix {
    let latest = latest(records);
    let columns: BTreeSet<Column> = latest.values().map(|record| Column::of(record)).collect();
    let mut cells: BTreeMap<(&str, Column), Vec<&Record>> = BTreeMap::new();
    let mut attention: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for record in latest.into_values() {
        if let Some(named) = &record.attention {
            let said = (record.time.as_str(), named.as_str());
            let newest = attention.entry(&record.model).or_default();
            *newest = said.max(*newest);
        }
        cells.entry((&record.model, Column::of(record))).or_default().push(record);
    }
    let mut columns = Vec::from_iter(columns);
    // A device's full precision comes before the others.
    columns.sort_by_key(|column| (column.device.clone(), column.dtype != "float32"));
    let row = |model: MatrixModel| Row {
        model: model.name.to_owned(),
        family: model.family.to_owned(),
        attention: attention.get(model.name).map(|(_, named)| *named).unwrap_or_default().to_owned(),
        cells: columns
            .iter()
            .map(|column| {
                let format = Format::named(&column.engine).unwrap_or_default();
                let dtype = Dtype::named(&column.dtype).unwrap_or(Dtype::Float32);
                let is_due = |check: &&Check| check.runs_in(dtype) && format.unsuited(**check).is_none();
                let due = model.due.iter().filter(is_due).count();
                cell(cells.get(&(model.name, column.clone())).map_or(&[], Vec::as_slice), due)
            })
            .collect(),
    };
    Matrix { rows: models.into_iter().map(row).collect(), columns: columns.clone() }
}

/// What a column's records say of a model that has so many checks due there.
fn cell(records: &[&Record], due: usize) -> Cell {
    let red = || records.iter().filter(|record| record.status.is_red());
    let any = |status| records.iter().any(|record| record.status == status);
    let failed: Vec<String> = red().map(|record| record.check.clone()).collect();
    let passed = records.iter().filter(|record| record.status == Status::Passed).count();
    let not_run = due.saturating_sub(passed + failed.len());
    Cell {
        state: match (failed.len(), passed, not_run) {
            (0, 0, 0) => CellState::LeftOut,
            (0, 0, _) => CellState::NotRun,
            (0, _, 0) => CellState::Passed,
            (0, _, _) => CellState::PartlyRun,
            _ if any(Status::Crashed) => CellState::Crashed,
            _ if any(Status::TimedOut) => CellState::TimedOut,
            _ => CellState::Failed,
        },
        stage: red().filter_map(|record| record.stage).min(),
        passed,
        failed,
        not_run,
        share: records.iter().filter_map(|record| record.share()).reduce(nan_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(model: &str, check: &str, status: Status) -> Record {
        Record { status, ..Record::sample(model, check) }
    }

    fn states(records: &[Record]) -> Vec<String> {
        let bert =
            MatrixModel { name: "bert", family: "text", due: vec![Check::Loads, Check::Causal, Check::Half] };
        let t5 = MatrixModel { name: "t5", due: vec![Check::Loads], ..bert.clone() };
        let matrix = matrix([bert, t5], records);
        matrix
            .rows
            .iter()
            .map(|row| row.cells.iter().map(Cell::to_string).collect::<Vec<_>>().join("|"))
            .collect()
    }

    #[test]
    fn every_model_has_a_cell_in_every_column() {
        let half = Record { dtype: "bfloat16".to_owned(), ..record("bert", "half", Status::NotRun) };
        let records = [half, record("bert", "loads", Status::Passed), record("t5", "loads", Status::Passed)];
        assert_eq!(states(&records), ["partly run|not run", "passed|left out"]);
    }

    #[test]
    fn the_newest_word_on_attention_counts() {
        let at = |time: &str, check: &str, attention: Option<&str>| Record {
            time: time.to_owned(),
            attention: attention.map(str::to_owned),
            ..record("bert", check, Status::Passed)
        };
        let records =
            [at("2", "loads", Some("sdpa")), at("1", "causal", Some("eager")), at("3", "half", None)];
        let bert = || MatrixModel { name: "bert", family: "text", due: vec![Check::Loads] };
        assert_eq!(matrix([bert()], &records).rows[0].attention, "sdpa");
        assert_eq!(matrix([bert()], &records[2..]).rows[0].attention, "");
    }

    #[test]
    fn devices_have_columns_of_their_own() {
        let gpu = Record { device: Some("cuda:0".to_owned()), ..record("t5", "loads", Status::Passed) };
        let cpu = Record { stage: Some(Stage::Load), ..record("t5", "loads", Status::Failed) };
        assert_eq!(states(&[cpu.clone(), gpu.clone()])[1], "failed at load|passed");
        assert_eq!(states(&[gpu, cpu])[1], "failed at load|passed");
    }

    #[test]
    fn a_failure_says_its_earliest_stage_and_the_last_word_counts() {
        let failed =
            |check: &str, stage| Record { stage: Some(stage), ..record("bert", check, Status::Failed) };
        let failures = [failed("causal", Stage::Compare), failed("loads", Stage::Load)];
        assert_eq!(states(&failures)[0], "failed at load");
        let repaired = failures
            .into_iter()
            .chain([record("bert", "loads", Status::Passed), record("bert", "causal", Status::Passed)]);
        assert_eq!(states(&Vec::from_iter(repaired))[0], "passed");
    }

    #[test]
    fn the_worst_word_is_the_models() {
        let at = |check: &str, status| Record { stage: Some(Stage::Run), ..record("bert", check, status) };
        let records = [
            at("loads", Status::Failed),
            at("causal", Status::TimedOut),
            record("t5", "loads", Status::Passed),
            at("half", Status::Crashed),
        ];
        assert_eq!(states(&records[..3]), ["timed out at run", "passed"]);
        assert_eq!(states(&records)[0], "crashed at run");
    }

    #[test]
    fn a_failure_has_its_figure_and_one_that_is_no_number_is_the_largest() {
        let off = |check: &str, error: &str| {
            let metric = format!(
                r#"{{"situation": "traced", "output": "logits", "error": {error}, "eager_error": 0.4, "limit": 1.0,
                "scale": 1.0, "max_abs": 0.0, "relative_l2": 0.0, "cosine": 1.0}}"#
            );
            let metrics = vec![serde_json::from_str(&metric).unwrap()];
            Record { stage: Some(Stage::Compare), metrics, ..record("bert", check, Status::Failed) }
        };
        assert_eq!(states(&[off("causal", "8.0")])[0], "failed at compare 8.00");
        assert_eq!(states(&[off("causal", "4000.0")])[0], "failed at compare 4e3");
        assert_eq!(states(&[off("causal", "8.0"), off("half", "\"NaN\"")])[0], "failed at compare NaN");
    }

    #[test]
    fn an_older_entry_and_the_mock_engine_say_nothing() {
        let older = Record { entry: "old".to_owned(), ..record("bert", "half", Status::Failed) };
        let mock = Record { engine: "mock".to_owned(), ..record("t5", "loads", Status::Mock) };
        assert_eq!(
            states(&[older, record("bert", "loads", Status::Passed), mock]),
            ["partly run", "not run"]
        );
    }
}
