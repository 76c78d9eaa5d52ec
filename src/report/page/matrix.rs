//! The compatibility matrix, with its search, filters and sorting.

use super::{Report, model};
use crate::report::matrix::{Cell, Column, Row, State, matrix};
use crate::spec::Entry;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The filters and the table.
pub fn section(report: &Report) -> Markup {
    let entries = &report.spec.entries;
    let models = entries.iter().map(|entry| (entry.name.as_str(), entry.family.as_str()));
    let matrix = matrix(models, report.records);
    let families: BTreeSet<&str> = entries.iter().map(|entry| entry.family.as_str()).collect();
    html! {
        p.soft { "A figure is the largest error as a share of what is allowed: beyond 1 a check fails. A model's name opens all there is to know of it." }
        div.filters role="search" {
            label for="search" { "Search" input #search type="search" placeholder="name, class, task, checkpoint"; }
            label for="family" { "Family" select #family { option value="" { "all" } @for family in families { option { (family) } } } }
            label for="state" { "State" select #state {
                option value="" { "all" }
                @for state in [State::Passed, State::Failed, State::Skipped, State::NotRun] {
                    option value=(class(state)) { (state.word()) }
                }
            } }
            p #count role="status" aria-live="polite" {}
        }
        div.tall role="region" tabindex="0" aria-labelledby="matrix-title" { table {
            thead { tr {
                @for name in ["model", "family", "task"] { th scope="col" { button type="button" { (name) } } }
                @for column in &matrix.columns { th scope="col" { button type="button" { (heading(column)) } } }
            } }
            tbody { @for (entry, row) in entries.iter().zip(&matrix.rows) { (line(entry, row)) } }
        } }
    }
}

fn heading(column: &Column) -> String {
    format!("{} · {} · {}", column.device, column.dtype, column.engine)
}

fn line(entry: &Entry, row: &Row) -> Markup {
    let checkpoint = entry.checkpoint.as_deref().unwrap_or_default();
    let text = format!("{} {} {} {checkpoint}", entry.name, entry.class, entry.task.name).to_lowercase();
    let states = Vec::from_iter(row.cells.iter().map(|cell| class(cell.state))).join(" ");
    let states = if states.is_empty() { class(State::NotRun).to_owned() } else { states };
    html! {
        tr data-text=(text) data-family=(entry.family) data-states=(states) {
            th scope="row" data-key=(entry.name) {
                button.model type="button" data-drawer=(model::id(entry)) { (entry.name) }
            }
            td { (entry.family) }
            td { (entry.task.name) }
            @for cell in &row.cells { td data-key=(key(cell)) { (tag(cell)) } }
        }
    }
}

/// A state, its stage where it failed, its figure where it passed.
fn tag(cell: &Cell) -> Markup {
    html! {
        span class=(format!("tag {}", class(cell.state))) {
            (cell.state.word()) @if let Some(stage) = cell.stage { " at " (stage) }
        }
        @if cell.state != State::NotRun {
            span.figure {
                @match (cell.state, cell.share) {
                    (State::Failed, _) => (failures(&cell.failed)),
                    (_, Some(share)) => (format!("{share:.2}")),
                    _ => "",
                }
            }
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

/// Sorts by error, a failure beyond all of them; what did not run has no place and stands last.
fn key(cell: &Cell) -> String {
    match cell.state {
        State::Failed => f64::MAX.to_string(),
        State::NotRun => String::new(),
        State::Passed | State::Skipped => cell.share.unwrap_or(0.0).to_string(),
    }
}

/// The word of a state as a CSS class.
pub fn class(state: State) -> &'static str {
    match state {
        State::NotRun => "not-run",
        other => other.word(),
    }
}
