//! The report: one HTML file that needs nothing else, neither network nor server.
//!
//! In: the spec, its coverage, records and speeds. Out: HTML text. Every number in it comes from the results store,
//! the bench file, the spec or the roster.

mod matrix;
mod model;
mod plot;
mod sections;
#[cfg(test)]
mod tests;

pub use plot::PlotError;

use super::Record;
use super::coverage::Coverage;
use super::speed::Speed;
use crate::spec::{Entry, Spec};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plot::Point;
use std::collections::BTreeMap;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the report is about.
pub struct Report<'a> {
    pub spec: &'a Spec,
    pub coverage: &'a Coverage,
    /// Of the entries as they stand, oldest first: what counts.
    pub records: &'a [Record],
    /// All of them, oldest first: the history.
    pub history: &'a [Record],
    /// The last measurement of each model and device.
    pub speeds: &'a [Speed],
    /// When the report was made.
    pub time: &'a str,
}

/// The whole page.
///
/// # Errors
/// A plot could not be drawn.
pub fn html(report: &Report) -> Result<String, PlotError> {
    let sections = [
        ("coverage", "Coverage", sections::coverage(report.coverage)),
        ("matrix", "Compatibility matrix", matrix::section(report)),
        ("failures", "Failures", sections::failures(report)),
        ("accuracy", "Accuracy and speed", plots(report)?),
        ("debt", "Tolerance debt", sections::debt(report.coverage)),
        ("slowest", "Slowest models", sections::slowest(report.records)),
        ("history", "History", sections::history(report.history)),
    ];
    let mut models: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in super::matrix::latest(report.records).into_values() {
        models.entry(&record.model).or_default().push(record);
    }
    let own = |entry: &Entry| models.get(entry.name.as_str()).map_or(&[][..], Vec::as_slice);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "HuggingFace conformance on libtorch" }
                // An empty icon: browsers ask for one.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    h1 { "HuggingFace conformance on libtorch" }
                    p.soft { (sections::subtitle(report)) }
                    nav aria-label="Sections" {
                        ul { @for (id, title, _) in &sections { li { a href=(format!("#{id}")) { (title) } } } }
                    }
                }
                main #main {
                    (sections::tiles(report))
                    @for (id, title, content) in &sections {
                        section id=(id) aria-labelledby=(format!("{id}-title")) {
                            h2 id=(format!("{id}-title")) { (title) }
                            (content)
                        }
                    }
                }
                footer { p { "Every figure comes from target/conformance/results.jsonl, bench.jsonl, the spec and its roster." } }
                @for entry in &report.spec.entries { (model::drawer(report, entry, own(entry))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

fn plots(report: &Report) -> Result<Markup, PlotError> {
    let latest = super::matrix::latest(report.records);
    let points: Vec<Point> = latest
        .values()
        .flat_map(|record| record.metrics.iter().map(move |metric| (record, metric)))
        .map(|(record, metric)| Point {
            allowed: metric.agreement.limit,
            error: metric.agreement.error,
            half: super::matrix::Column::of(record).dtype != "float32",
        })
        .collect();
    let ratios: Vec<f64> = report.speeds.iter().filter_map(Speed::ratio).collect();
    Ok(html! {
        div.plots {
            @if points.is_empty() { p { "Nothing was compared yet; run: " code { "just test" } } }
            @else {
                figure role="group" aria-labelledby="errors-caption" {
                    div role="img" aria-label=(format!("{} compared outputs, error against allowed error", points.len())) {
                        (PreEscaped(plot::errors(&points)?))
                    }
                    figcaption #errors-caption {
                        "Error against tolerance, " (points.len()) " compared outputs of passing checks: below the line \
                         is agreement, at the foot is equality to the last bit. "
                        span.dot style="background:#3b82f6" {} "float32 "
                        span.dot style="background:#d97706" {} "half precision"
                    }
                }
            }
            @if ratios.is_empty() { p { "No speed was measured yet; run: " code { "just bench" } } }
            @else {
                figure role="group" aria-labelledby="ratios-caption" {
                    div role="img" aria-label=(format!("Latency relative to Python of {} models", ratios.len())) {
                        (PreEscaped(plot::ratios(&ratios)?))
                    }
                    figcaption #ratios-caption {
                        "Steady latency at the smallest batch relative to eager Python, " (ratios.len())
                        " models: below 1 libtorch is faster. Tiny models measure the engine's overhead more than its kernels."
                    }
                }
            }
        }
    })
}
