//! A certificate as people read it: `certificate.html` in the bundle, one file that needs no other.
//!
//! In: a [`Certificate`]. Out: HTML that says what was proved, at which sizes, how near to the limits, and of which files.

use super::certificate::{Certificate, Checked, Example, Figure, Port};
use crate::artifact::Note;
use crate::report::page::STYLE;
use crate::verdict::Status;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use std::collections::BTreeMap;

/// The file of a bundle that holds it.
pub const FILE: &str = "certificate.html";

/// The whole page.
pub fn html(certificate: &Certificate) -> String {
    let title = format!("Certificate of {}", certificate.name);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top {
                    h1 { (title) }
                    p.soft { (summary(certificate)) }
                }
                main { div.sections {
                    (section("What it is", &facts(certificate)))
                    (section("What was proved", &checks(&certificate.checks)))
                    @if let Some(example) = &certificate.example { (section("From an input to an answer", &answers(example))) }
                    @if let Some(preprocessor) = &certificate.preprocessor { (section("What makes the inputs", &numbers(preprocessor))) }
                    (section("Inputs and outputs", &ports(certificate)))
                    @if !certificate.left_out.is_empty() { (section("Left out", &pairs(&certificate.left_out))) }
                    (section("How it was traced", &notes(certificate)))
                    (section("What it was made from", &source(certificate)))
                } }
                footer { p {
                    "Every file of the bundle has its sha256 in certificate.json; whether any has changed since: "
                    code { "just verify DIR" }
                } }
            }
        }
    };
    page.into_string()
}

fn summary(certificate: &Certificate) -> String {
    let passed = certificate.checks.iter().filter(|checked| checked.status == Status::Passed).count();
    format!(
        "{passed} of {} checks passed on {} ({}), {}",
        certificate.checks.len(),
        certificate.device,
        certificate.processor,
        certificate.date
    )
}

fn section(title: &str, content: &Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

fn facts(certificate: &Certificate) -> Markup {
    let sizes = certificate.sizes.iter().map(|case| {
        Vec::from_iter(case.sizes.iter().map(|(axis, size)| format!("{axis} {size}"))).join(", ")
    });
    html! {
        dl {
            dt { "class" } dd { code { (certificate.class) } }
            dt { "task" } dd { (certificate.task) }
            dt { "parameters" } dd { (certificate.parameters) }
            @if let Some(positions) = certificate.positions { dt { "positions" } dd { "at most " (positions) } }
            @if let Some(embedding) = &certificate.embedding {
                dt { "embedding" }
                dd { (embedding.pooling) " of the hidden states" @if embedding.normalised { ", at length 1" } }
            }
            dt { "sizes" } dd { (Vec::from_iter(sizes).join("; ")) }
            @if !certificate.padded.is_empty() { dt { "padded" } dd { "on the " (certificate.padded.join(" and the ")) } }
            dt { "references" } dd { "eager Python " (certificate.reference) }
            dt { "proved in" } dd { (certificate.dtypes.join(", ")) }
            dt { "versions" } dd {
                (Vec::from_iter(certificate.versions.iter().map(|(name, version)| format!("{name} {version}"))).join(", "))
            }
        }
        @for reason in &certificate.reasons { p.soft { "because " (reason) } }
    }
}

/// A line per check, with what came nearest to its limit.
fn checks(checks: &[Checked]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "check" } th { "" } th.n { "seconds" } th.n { "compared" } th.n { "of what is allowed" } th { "nearest" }
            } }
            tbody { @for checked in checks {
                tr {
                    th { (checked.check) }
                    td { span class=(format!("tag {}", class(checked.status))) { (checked.status) } }
                    td.n { (format!("{:.1}", checked.seconds)) }
                    td.n { (checked.figures.len()) }
                    @match nearest(&checked.figures) {
                        Some(figure) => {
                            td.n { (format!("{:.0} %", 100.0 * figure.error / figure.limit)) }
                            td.worst { (figure.output) " in " (figure.situation)
                                (format!(": {:.1e} of {:.1e}", figure.error, figure.limit)) }
                        }
                        None => { td.n {} td {} }
                    }
                }
            } }
        } }
    }
}

fn class(status: Status) -> String {
    status.to_string().replace(' ', "-")
}

/// The figure with the largest share of its limit.
fn nearest(figures: &[Figure]) -> Option<&Figure> {
    let share = |figure: &Figure| figure.error / figure.limit;
    figures.iter().max_by(|a, b| share(a).total_cmp(&share(b)))
}

fn answers(example: &Example) -> Markup {
    let table = |of: &str, value: &str, rows: Vec<[String; 4]>| {
        html! {
            div.scroll { table {
                thead { tr { th { (of) } th { (value) } th.n { "off by" } th.n { "allowed" } } }
                tbody { @for [of, value, error, limit] in rows {
                    tr { td { (of) } td { (value) } td.n { (error) } td.n { (limit) } }
                } }
            } }
        }
    };
    let processed = example.processed.iter().map(|one| {
        let most = format!("at most by {:.1e}", one.max_abs);
        [one.what.clone(), most, format!("{:.1e}", one.error), format!("{:.1e}", one.limit)]
    });
    let answers = example.answers.iter().map(|one| {
        [one.of.clone(), one.answer.clone(), format!("{:.1e}", one.error), format!("{:.1e}", one.limit)]
    });
    html! {
        @if let Some(texts) = &example.texts {
            p {
                (texts.compared) " texts and " (texts.pairs) " pairs become exactly Python's tokens, cut to " (texts.max_length) "."
            }
        }
        @if !example.processed.is_empty() {
            p { "What the model is given, beside what Python's processor makes of it, in levels from 0 to 255 of a picture:" }
            (table("input", "", processed.collect()))
        }
        p {
            "The crate in " code { "example/" } " answers as Python does"
            @if example.texts.as_ref().is_some_and(|texts| texts.cached) { ", a token a step with the program's cache" } ":"
        }
        (table("of", "answer", answers.collect()))
        @for note in example.texts.iter().flat_map(|texts| &texts.notes) { p.soft { "note: " (note) } }
    }
}

/// What makes the inputs, by its numbers.
fn numbers(preprocessor: &Value) -> Markup {
    let numbers = preprocessor.as_object().into_iter().flatten();
    html! { dl { @for (name, value) in numbers { dt { (name) } dd { code { (value) } } } } }
}

fn ports(certificate: &Certificate) -> Markup {
    let row = |direction: &str, port: &Port| {
        html! { tr {
            td { (direction) } th { (port.name) } td { (port.dtype) } td { code { (port.shape.join(" × ")) } }
        } }
    };
    html! {
        div.scroll { table {
            thead { tr { th { "" } th { "name" } th { "type" } th { "shape" } } }
            tbody {
                @for port in &certificate.inputs { (row("in", port)) }
                @for port in &certificate.outputs { (row("out", port)) }
            }
        } }
    }
}

fn pairs(pairs: &BTreeMap<String, String>) -> Markup {
    html! { dl { @for (what, why) in pairs { dt { (what) } dd { (why) } } } }
}

/// Patches, and what else makes eager Python differ from the class's plain `forward`.
fn notes(certificate: &Certificate) -> Markup {
    let list = |notes: &[Note]| html! { dl { @for note in notes { dt { code { (note.what) } } dd { (note.why) } } } };
    html! {
        @if certificate.adapters.is_empty() { p { "Without a patch." } } @else { (list(&certificate.adapters)) }
        (list(&certificate.differences))
    }
}

fn source(certificate: &Certificate) -> Markup {
    let source = &certificate.checkpoint;
    html! {
        p { (source.name) @if let Some(revision) = &source.revision { " at " code { (revision) } } }
        @if let Some(first) = source.unexpected.first() {
            p { (source.unexpected.len()) " weights have no place in the class, first " code { (first) } }
        }
        details { summary { (source.files.len()) " files and their sha256" } dl {
            @for (file, digest) in &source.files { dt { (file) } dd { code { (digest) } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::certificate;

    #[test]
    fn the_page_says_what_came_nearest_to_its_limit_and_trusts_no_name() {
        let figure = |situation: &str, error: f64| Figure {
            situation: situation.to_owned(),
            output: "logits".to_owned(),
            error,
            limit: 2e-6,
            max_abs: error,
            relative_l2: error,
            cosine: 1.0,
        };
        let checked = Checked {
            check: "generalises".to_owned(),
            status: Status::TimedOut,
            seconds: 1.25,
            figures: vec![figure("larger", 1e-7), figure("longer", 1e-6)],
        };
        let mut certificate = certificate::sample();
        certificate.checks.push(checked);
        certificate.checkpoint.name = "<script>alert(1)</script>".to_owned();
        let page = html(&certificate);
        assert!(page.contains("1 of 2 checks passed on cpu"), "{page}");
        assert!(page.contains("50 %") && page.contains("logits in longer: 1.0e-6 of 2.0e-6"), "{page}");
        assert!(page.contains(r#"<span class="tag timed-out">timed out</span>"#), "{page}");
        assert!(page.contains("eager Python in float64, by a copy of the model"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }
}
