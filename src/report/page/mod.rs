//! The report: one HTML file that needs nothing else, neither network nor server.
//!
//! In: the spec, its coverage, records, speeds and costs. Out: HTML text. Every number in it comes from the results
//! store, the files beside it, the spec or the roster.
//!
//! What is known of one model (its drawer) is shown on a click. The drawers of all models travel as one packed text,
//! which makes a page of 600 models a tenth as large and lets the browser lay out only what is looked at.

mod charts;
mod matrix;
mod model;
mod pack;
mod plot;
mod sections;
#[cfg(test)]
mod tests;

pub use plot::PlotError;

use super::Record;
use super::cost::Cost;
use super::coverage::Coverage;
use super::speed::Speed;
use crate::spec::Spec;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeMap;

const TITLE: &str = "HuggingFace conformance on libtorch";
/// How pages look, in light and in dark.
pub(crate) const STYLE: &str = include_str!("style.css");
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
    /// What the suite's steps cost.
    pub costs: &'a [Cost],
    /// When the report was made.
    pub time: &'a str,
}

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(transparent)]
    Plot(#[from] PlotError),
    #[error("the drawers could not be packed: {0}")]
    Pack(#[from] std::io::Error),
}

/// The whole page.
///
/// # Errors
/// A plot could not be drawn, the drawers not be packed.
pub fn html(report: &Report) -> Result<String, PageError> {
    let sections = [
        ("coverage", "Coverage", sections::coverage(report.coverage)),
        ("matrix", "Compatibility matrix", matrix::section(report)),
        ("checks", "Checks", sections::checks(report)),
        ("failures", "Failures", sections::failures(report)),
        ("accuracy", "Accuracy", charts::accuracy(report)?),
        ("speed", "Speed", charts::speed(report)?),
        ("waivers", "Waivers", sections::waivers(report.coverage)),
        ("slowest", "Slowest models", sections::slowest(report.records)),
        ("costs", "Cost of the suite", sections::costs(report.costs)),
        ("history", "History", sections::history(report.history)),
    ];
    let drawers = pack::pack(&drawers(report))?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head())
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    h1 { (TITLE) }
                    p.soft { (sections::subtitle(report)) }
                    nav aria-label="Sections" {
                        ul { @for (id, title, _) in &sections { li { a href=(format!("#{id}")) { (title) } } } }
                    }
                }
                main #main {
                    noscript { p { "Search, sorting and what is known of each model need JavaScript; all else is below." } }
                    (sections::tiles(report))
                    div.sections { @for (id, title, content) in &sections { (section(id, title, content)) } }
                }
                footer { p {
                    "Every figure comes from results.jsonl, bench.jsonl or costs.jsonl in target/conformance, from the spec or its roster."
                } }
                dialog #drawer aria-labelledby="drawer-title" {}
                script #drawers type="text/plain" { (PreEscaped(drawers)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    Ok(page.into_string())
}

fn head() -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (TITLE) }
            // An empty icon: browsers ask for one.
            link rel="icon" href="data:,";
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn section(id: &str, title: &str, content: &Markup) -> Markup {
    let title_id = format!("{id}-title");
    html! { section id=(id) aria-labelledby=(title_id) { h2 id=(title_id) { (title) } (content) } }
}

/// Model → what its drawer holds.
fn drawers<'a>(report: &Report<'a>) -> BTreeMap<&'a str, String> {
    let mut models: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in super::latest::latest(report.records).into_values() {
        models.entry(&record.model).or_default().push(record);
    }
    let spec: &'a Spec = report.spec;
    let drawer = |name: &str, entry| {
        model::drawer(report, entry, models.get(name).map_or(&[][..], Vec::as_slice)).into_string()
    };
    spec.entries.iter().map(|entry| (entry.name.as_str(), drawer(entry.name.as_str(), entry))).collect()
}
