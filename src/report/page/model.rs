//! The drawer of a model: all there is to know of it.

use super::Report;
use crate::artifact;
use crate::codegen::module_text;
use crate::numerics::Measure;
use crate::report::{Record, speed::Speed, told};
use crate::spec::{Check, Entry};
use crate::typed::Typed;
use crate::verdict::Status;
use maud::{Markup, html};

/// A link that opens the drawer of a model.
pub fn link(name: &str) -> Markup {
    html! { a.model href=(format!("#model-{name}")) { (name) } }
}

/// What the drawer holds: checks, measures, speed, commands, the resolved entry and the generated source.
///
/// `records` are the last words on its checks.
pub fn drawer(report: &Report, entry: &Entry, records: &[&Record]) -> Markup {
    let name = entry.name.as_str();
    html! {
        header {
            h2 id="drawer-title" { (name) }
            form method="dialog" { button.close autofocus { "Close" } }
        }
        (facts(entry, records))
        h3 { "Checks" }
        (checks(entry, records))
        @for (record, _) in told(records.iter().copied(), Status::is_red) { pre tabindex="0" { (record.failure_text()) } }
        h3 { "Outputs against eager Python" }
        (measures(records))
        (speeds(report.speeds.iter().filter(|speed| speed.about.model == name)))
        h3 { "Again" }
        pre tabindex="0" { (again(name)) }
        details { summary { "The entry, resolved" } pre tabindex="0" { (resolved(entry)) } }
        details { summary { "The generated module" } pre tabindex="0" { (module_text(entry, &report.spec.versions)) } }
    }
}

/// What to type to see the model again.
fn again(name: &str) -> String {
    let typed = [
        Typed::run(name, None, &[], None),
        Typed::test([name], None, None),
        Typed::replay(name),
        Typed::bench([name], None),
    ];
    typed.map(|typed| typed.to_string()).join("\n")
}

fn facts(entry: &Entry, records: &[&Record]) -> Markup {
    let last = records.iter().max_by(|a, b| a.time.cmp(&b.time));
    let from = last.map(|record| &record.versions).into_iter().flatten();
    let versions = Vec::from_iter(from.map(|(name, version)| format!("{name} {version}"))).join(", ");
    let facts = [
        ("class", entry.class.clone()),
        ("architecture", last.and_then(|record| record.architecture.clone()).unwrap_or_default()),
        ("family", entry.family.to_string()),
        ("task", entry.task.name.to_owned()),
        ("checkpoint", entry.checkpoint.clone().unwrap_or_default()),
        ("weights", last.map(|record| record.weights.clone()).unwrap_or_default()),
        ("exported with", versions),
        ("traced with", traced_with(entry)),
        ("last ran on", last.map(|record| record.host.processor.clone()).unwrap_or_default()),
        ("spec", format!("{}:{}", entry.place.file.display(), entry.place.line)),
    ];
    html! {
        dl { @for (name, value) in facts { @if !value.is_empty() { dt { (name) } dd { (value) } } } }
    }
}

/// `2 adapters: lists_of_sizes, rope_by_length`, as the artifact tells; empty where there is none.
fn traced_with(entry: &Entry) -> String {
    let manifest = artifact::manifest(&artifact::root().join(entry.name.as_str()));
    manifest.ok().flatten().map(|manifest| manifest.traced_with()).unwrap_or_default()
}

fn checks(entry: &Entry, records: &[&Record]) -> Markup {
    html! {
        div.scroll tabindex="0" { table {
            thead { tr { @for name in ["check", "device", "outcome"] { th scope="col" { (name) } } th.n scope="col" { "seconds" } } }
            tbody { @for check in Check::ALL { (check_rows(entry, check, records)) } }
        } }
    }
}

/// A line for each device that the check ran on, or why it has none.
fn check_rows(entry: &Entry, check: Check, records: &[&Record]) -> Markup {
    let own = Vec::from_iter(records.iter().filter(|record| record.check == check.name()));
    html! {
        @for record in &own {
            tr {
                th scope="row" { (check.name()) }
                td { (record.device.as_deref().unwrap_or("")) }
                td {
                    span class=(format!("tag {}", class(record.status))) { (record.status) }
                    @if let Some(reason) = &record.reason { " " (reason) }
                }
                td.n { (format!("{:.3}", record.seconds)) }
            }
        }
        @if own.is_empty() {
            tr {
                th scope="row" { (check.name()) }
                td {}
                td {
                    @match check.omitted(entry) {
                        Some(reason) => { "left out: " (reason) },
                        None => span class="tag not-run" { "not run" },
                    }
                }
                td {}
            }
        }
    }
}

/// A status as a CSS class.
fn class(status: Status) -> String {
    status.word().replace(' ', "-")
}

fn measures(records: &[&Record]) -> Markup {
    let any = records.iter().any(|record| !record.metrics.is_empty());
    html! {
        @if any {
            div.scroll tabindex="0" { table {
                thead { tr {
                    @for name in ["check", "situation", "output"] { th scope="col" { (name) } }
                    @for name in ["share", "error", "allowed", "max abs"] { th.n scope="col" { (name) } }
                    th scope="col" { "worst elements" }
                    @for name in ["relative L2", "cosine"] { th.n scope="col" { (name) } }
                } }
                tbody {
                    @for record in records { @for metric in &record.metrics { (measure(&record.check, metric)) } }
                }
            } }
        } @else { p.soft { "No output was compared." } }
    }
}

/// One output; where it is off, all elements that were kept, else the worst.
fn measure(check: &str, metric: &Measure) -> Markup {
    let Measure { situation, output, agreement } = metric;
    let shown = if agreement.holds() { 1 } else { agreement.worst.len() };
    html! {
        tr.off[!agreement.holds()] {
            th scope="row" { (check) } td.situation { (situation) } td { (output) }
            td.n { (format!("{:.3}", agreement.share())) }
            @for figure in [agreement.error, agreement.limit, agreement.max_abs] { td.n { (format!("{figure:.2e}")) } }
            td.worst {
                @for worst in agreement.worst.iter().take(shown) {
                    div { (format!("{:?}: {:.6}, reference {:.6}", worst.index, worst.got, worst.expected)) }
                }
            }
            td.n { (format!("{:.2e}", agreement.relative_l2)) }
            td.n { (format!("{:.9}", agreement.cosine)) }
        }
    }
}

fn speeds<'a>(speeds: impl Iterator<Item = &'a Speed>) -> Markup {
    html! {
        @for speed in speeds {
            @let compiled = speed.batches.iter().any(|batch| batch.compiled.is_some());
            h3 { "Speed on " (speed.about.device) ", " (speed.engine) ", " (speed.about.width) ", threads: " (speed.about.threads) }
            p.soft {
                "Load " (format!("{:.1} ms", speed.rust.load_ms)) ", first forward " (format!("{:.1} ms", speed.rust.first_ms))
                @if let Some(peak) = speed.rust.peak_mib { ", memory " (format!("{peak:.0} MiB")) }
                "; Python: " (format!("{:.1} ms", speed.python.load_ms)) ", " (format!("{:.1} ms", speed.python.first_ms))
                @if let Some(peak) = speed.python.peak_gpu_mib { ", GPU memory " (format!("{peak:.0} MiB")) }
            }
            @for why in &speed.left_out { p.soft { "Left out: " (why) } }
            div.scroll tabindex="0" { table {
                thead { tr {
                    @for name in ["rows", "p50 ms", "p95 ms", "rows/s", "Python p50 ms", "times as fast"] { th.n scope="col" { (name) } }
                    @if compiled { @for name in ["compiled p50 ms", "times as fast"] { th.n scope="col" { (name) } } }
                } }
                tbody {
                    @for batch in &speed.batches {
                        tr {
                            th.n scope="row" { (batch.rows) }
                            td.n { (format!("{:.3}", batch.rust.p50_ms)) } td.n { (format!("{:.3}", batch.rust.p95_ms)) }
                            td.n { (format!("{:.0}", batch.throughput())) } td.n { (format!("{:.3}", batch.python.p50_ms)) }
                            td.n { (format!("{:.2}", batch.speedup())) }
                            @if compiled {
                                td.n { @if let Some(times) = batch.compiled { (format!("{:.3}", times.p50_ms)) } }
                                td.n { @if let Some(over) = batch.speedup_over_compiled() { (format!("{over:.2}")) } }
                            }
                        }
                    }
                }
            } }
        }
    }
}

/// The entry with every default in its place: YAML, a key a line.
fn resolved(entry: &Entry) -> String {
    let job = serde_json::to_value(entry.job()).unwrap_or_default();
    let fields = job.as_object().into_iter().flatten();
    // JSON is YAML: what a key holds may stay as it is.
    fields.map(|(key, value)| format!("{key}: {value}\n")).collect()
}
