//! The compatibility matrix, with its search, filters and sorting.

use super::{Report, model};
use crate::report::matrix::{Cell, CellState, MatrixModel, Row, matrix};
use crate::spec::Entry;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The filters and the table.
pub fn section(report: &Report) -> Markup {
    let entries = &report.spec.entries;
    let matrix = matrix(entries.iter().map(MatrixModel::from), report.records);
    let families: BTreeSet<&str> = entries.iter().map(|entry| entry.family.as_str()).collect();
    html! {
        p.soft { "Checks passed of those that are due, and the largest error as a share of what is allowed: beyond 1 a check fails. A model's name opens all there is to know of it." }
        div.filters role="search" {
            label for="search" { "Search" input #search type="search" placeholder="name, class, task, failed check"; }
            label for="family" { "Family" select #family { option value="" { "all" } @for family in families { option { (family) } } } }
            label for="state" { "State" select #state {
                option value="" { "all" }
                @for state in [CellState::Passed, CellState::Failed, CellState::Crashed, CellState::TimedOut, CellState::PartlyRun, CellState::NotRun] {
                    option value=(class(state)) { (state.word()) }
                }
            } }
            p #count role="status" aria-live="polite" {}
        }
        div.tall role="region" tabindex="0" aria-labelledby="matrix-title" { table {
            thead { tr {
                @for name in ["model", "family", "task"] { th scope="col" { button type="button" { (name) } } }
                @for column in &matrix.columns { th scope="col" { button type="button" { (column.device) " " (column.dtype) } small { (column.engine) } } }
            } }
            tbody { @for (entry, row) in entries.iter().zip(&matrix.rows) { (line(entry, row)) } }
        } }
    }
}

fn line(entry: &Entry, row: &Row) -> Markup {
    let checkpoint = entry.checkpoint.as_deref().unwrap_or_default();
    let failed: BTreeSet<&str> = row.cells.iter().flat_map(|cell| &cell.failed).map(String::as_str).collect();
    let failed = Vec::from_iter(failed).join(" ");
    let text = format!("{} {} {} {checkpoint} {failed}", entry.name, entry.class, entry.task.name);
    let states = Vec::from_iter(row.cells.iter().map(|cell| class(cell.state))).join(" ");
    let states = if states.is_empty() { class(CellState::NotRun).to_owned() } else { states };
    html! {
        tr data-text=(text.trim_end().to_lowercase()) data-family=(entry.family) data-states=(states) {
            th scope="row" { (model::link(entry.name.as_str())) }
            td { (entry.family) }
            td { (entry.task.name) }
            @for cell in &row.cells { td data-key=(key(cell)) { (tag(cell)) } }
        }
    }
}

/// A state with its stage, how many checks passed, the figure; names of checks that failed.
fn tag(cell: &Cell) -> Markup {
    html! {
        span class=(format!("tag {}", class(cell.state))) {
            (cell.state.word()) @if let Some(stage) = cell.stage { " at " (stage) }
        }
        @if !matches!(cell.state, CellState::NotRun | CellState::LeftOut) {
            span.figure { (cell.passed) "/" (cell.passed + cell.failed.len() + cell.not_run) }
            @if let Some(figure) = cell.figure() { span.figure { (figure) } }
            @if !cell.failed.is_empty() { div.figure { (failures(&cell.failed)) } }
        }
    }
}

/// One or two checks by name, more by number.
fn failures(checks: &[String]) -> String {
    match checks.len() {
        0..=2 => checks.join(", "),
        count => format!("{count} checks"),
    }
}

/// Sorts by error, a failure beyond all that passed; what did not run has no place and stands last.
fn key(cell: &Cell) -> String {
    let share = cell.share.filter(|share| share.is_finite());
    match cell.state {
        CellState::Failed | CellState::Crashed | CellState::TimedOut => {
            (1e9 + share.unwrap_or(f64::MAX)).to_string()
        }
        CellState::NotRun | CellState::LeftOut => String::new(),
        CellState::Passed | CellState::PartlyRun => share.unwrap_or(0.0).to_string(),
    }
}

/// The word of a state as a CSS class.
pub fn class(state: CellState) -> &'static str {
    match state {
        CellState::NotRun => "not-run",
        CellState::LeftOut => "left-out",
        CellState::PartlyRun => "partly-run",
        CellState::TimedOut => "timed-out",
        other => other.word(),
    }
}
