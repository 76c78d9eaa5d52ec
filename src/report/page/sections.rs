//! The sections of the report that are lists and tables.

use super::{Report, model};
use crate::report::cost::{Cost, Summary, summaries};
use crate::report::coverage::{Counts, Coverage, OnBackend};
use crate::report::latest::{Latest, backends, latest};
use crate::report::runs::runs;
use crate::report::{Record, Share, told};
use crate::roster::TIERS;
use crate::spec::{Check, Spec};
use crate::verdict::Status;
use maud::{Markup, html};
use std::collections::{BTreeMap, BTreeSet};

/// How many lines the list of slowest models has.
const SLOWEST: usize = 10;
/// How many runs the history shows.
const RUNS: usize = 30;

/// When, from which commit, on what.
pub fn subtitle(report: &Report) -> Markup {
    let last = report.records.last();
    html! {
        "Made " (minute(report.time))
        @if let Some(record) = last {
            @if let Some(commit) = &record.commit { " · last results from commit " code { (commit) } }
            @for name in ["torch", "transformers"] {
                @if let Some(version) = record.versions.get(name) { " · " (name) " " (version) }
            }
            @if !record.host.processor.is_empty() { " · " (record.host.processor) }
        }
    }
}

/// A figure: the section that tells more of it, the figure, what it counts, how good that is.
type Tile = (&'static str, String, String, &'static str);

/// The figures that matter most.
pub fn tiles(report: &Report) -> Markup {
    let latest = latest(report.records);
    let waivers = report.coverage.waivers.len();
    let mut tiles =
        vec![("matrix", report.spec.entries.len().to_string(), "models in the spec".to_owned(), "")];
    tiles.extend(outcome_tiles(&latest));
    tiles.extend(report.coverage.backends.iter().map(coverage_tile));
    let owed = if waivers == 0 { "" } else { "owed" };
    tiles.push(("waivers", waivers.to_string(), "looser tolerances".to_owned(), owed));
    html! {
        ul.tiles aria-label="Summary" {
            @for (section, figure, what, class) in tiles {
                li class=(class) { a href=(format!("#{section}")) { b { (figure) } span { (what) } } }
            }
        }
    }
}

/// What the last words come to, over all devices.
fn outcome_tiles(latest: &Latest) -> [Tile; 3] {
    let models = |wanted: &dyn Fn(&Record) -> bool| -> BTreeSet<&str> {
        latest.values().filter(|record| wanted(record)).map(|record| record.model.as_str()).collect()
    };
    let failed = models(&|record| record.status.is_red()).len();
    let compared = |record: &Record| record.check == Check::MatchesReference.name();
    let passed_somewhere = models(&|record| compared(record) && record.status == Status::Passed);
    let wrong_somewhere = models(&|record| compared(record) && record.status != Status::Passed);
    let matched = passed_somewhere.difference(&wrong_somewhere).count();
    let passed = latest.values().filter(|record| record.status == Status::Passed).count();
    let all = latest.len();
    [
        (
            "accuracy",
            matched.to_string(),
            "match eager Python wherever they ran".to_owned(),
            if matched == 0 { "" } else { "good" },
        ),
        (
            "failures",
            failed.to_string(),
            "have a failing check".to_owned(),
            if failed == 0 { "" } else { "bad" },
        ),
        (
            "checks",
            Share::of(passed, all).to_string(),
            format!("{passed} of {all} checks that ran passed"),
            "",
        ),
    ]
}

/// How much of the roster matched on a device.
fn coverage_tile(on: &OnBackend) -> Tile {
    let total = on.tiers.values().fold(Counts::default(), |sum, tier| sum.plus(&tier.counts));
    let Counts { matched, rows, .. } = total;
    let place = on.device.as_ref().map(|device| format!(" on {device}")).unwrap_or_default();
    (
        "coverage",
        Share::of(matched, rows).to_string(),
        format!("{matched} of {rows} rows of the roster matched{place}"),
        "",
    )
}

/// For each device, bars by tier and family.
pub fn coverage(coverage: &Coverage) -> Markup {
    html! {
        p.soft {
            "Rows of the roster, by who asks for them: "
            span.dot.matched {} "ran on libtorch and matched eager Python, "
            span.dot.entered {} "has an entry in the spec. "
            (coverage.spec.names) " entries are " (coverage.spec.jobs) " distinct jobs of " (coverage.spec.classes)
            " distinct classes: some architectures are another's under a new name."
        }
        @if coverage.certified.iter().any(|one| !one.names.is_empty()) {
            p {
                "Certified checkpoints: "
                @for one in &coverage.certified {
                    (one.priority) " " (one.names.len()) " of " (one.of)
                    @if !one.names.is_empty() { " (" (one.names.join(", ")) ")" }
                    @if one.priority != "low" { ", " }
                }
            }
        }
        @for on in &coverage.backends {
            @if let (Some(device), Some(engine)) = (&on.device, &on.engine) { h3 { "on " (device) " (" (engine) ")" } }
            @for tier in TIERS {
                @if let Some(found) = on.tiers.get(tier) {
                    details open[tier == "plan"] {
                        summary { span.tier {
                            b { (tier) } (bar(&found.counts)) span { (found.counts.matched) " of " (found.counts.rows) span.wide { " matched" } }
                        } }
                        (families(&found.families))
                    }
                }
            }
        }
    }
}

fn families(families: &BTreeMap<String, BTreeMap<String, Counts>>) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "family" } th scope="col" { "share" }
                    @for name in ["matched", "all that are due", "left out", "exported", "entries", "rows"] { th.n scope="col" { (name) } }
                } }
                tbody {
                    @for (family, priorities) in families {
                        (family_row(family, priorities.values().fold(Counts::default(), |sum, one| sum.plus(one))))
                    }
                }
            }
        }
    }
}

fn family_row(family: &str, counts: Counts) -> Markup {
    let Counts { rows, entries, exported, matched, all_due, left_out, .. } = counts;
    html! {
        tr {
            th scope="row" { (family) }
            td { (bar(&counts)) }
            @for count in [matched, all_due, left_out, exported, entries, rows] { td.n { (count) } }
        }
    }
}

/// What has an entry, and before it what matched, of all rows.
fn bar(counts: &Counts) -> Markup {
    let share = |count: usize| Share::of(count, counts.rows).width();
    html! { span.bar aria-hidden="true" { i style=(share(counts.entries)) {} i style=(share(counts.matched)) {} } }
}

/// What each check proves, and on how many models and devices it does.
pub fn checks(report: &Report) -> Markup {
    let latest = latest(report.records);
    html! {
        p.soft { "Models times devices, by the last word on each; a check is left out where the task or the entry says that it does not apply." }
        div.scroll tabindex="0" { table {
            thead { tr {
                @for name in ["check, and what it proves", "passed of all due"] { th scope="col" { (name) } }
                @for name in ["passed", "failed", "crashed", "timed out", "not run", "left out"] { th.n scope="col" { (name) } }
            } }
            tbody { @for check in Check::ALL { (check_row(report.spec, check, &latest)) } }
        } }
    }
}

fn check_row(spec: &Spec, check: Check, latest: &Latest) -> Markup {
    let count = |status| {
        latest.values().filter(|record| record.check == check.name() && record.status == status).count()
    };
    let passed = count(Status::Passed);
    let red = [Status::Failed, Status::Crashed, Status::TimedOut].map(count);
    let failed: usize = red.iter().sum();
    let left_out = spec.entries.iter().filter(|entry| check.omitted(entry).is_some()).count();
    let all = ((spec.entries.len() - left_out)
        * backends(latest).iter().filter(|backend| backend.half.is_none()).count().max(1))
    .max(passed + failed);
    let share = |count: usize| Share::of(count, all).width();
    let not_run = all - passed - failed;
    html! {
        tr {
            th scope="row" { (check.name()) small { (check.proves()) } }
            td { span.bar aria-hidden="true" { i.bad style=(share(passed + failed)) {} i style=(share(passed)) {} } }
            td.n { (passed) }
            @for count in red { td.n { @if count > 0 { span class="tag failed" { (count) } } @else { "0" } } }
            @for count in [not_run, left_out] { td.n { (count) } }
        }
    }
}

/// Every failure in full.
pub fn failures(report: &Report) -> Markup {
    let latest = latest(report.records);
    let failures = told(latest.values().copied(), Status::is_red);
    html! {
        @if failures.is_empty() {
            @if latest.is_empty() { (nothing()) } @else { p { "Every check that ran passed." } }
        }
        @for (record, others) in failures {
            details {
                summary {
                    b { (record.model) } " · " (record.check) @for other in &others { ", " (other) }
                    " · " (record.device.as_deref().unwrap_or("")) " "
                    span class="tag failed" { "stage " (record.stage.map_or_else(String::new, |stage| stage.to_string())) }
                    " " span.soft { (record.reason.as_deref().unwrap_or("")) }
                }
                pre tabindex="0" { (record.failure_text()) }
                p { "All there is to know of " (model::link(&record.model)) }
            }
        }
    }
}

/// What the spec owes.
pub fn waivers(coverage: &Coverage) -> Markup {
    html! {
        @if coverage.waivers.is_empty() { p { "None: every output is held to twice eager Python's own rounding error." } }
        @else {
            div.scroll tabindex="0" { table {
                thead { tr { @for name in ["model", "check", "output", "factor", "reason", "until"] { th scope="col" { (name) } } } }
                tbody {
                    @for line in &coverage.waivers {
                        tr {
                            th scope="row" { (model::link(&line.model)) } td { (line.check) }
                            td { (line.output.as_deref().unwrap_or("all")) } td { (line.k) }
                            td { (line.reason) } td { (line.end) }
                        }
                    }
                }
            } }
        }
    }
}

/// The models whose checks took longest.
pub fn slowest(records: &[Record]) -> Markup {
    let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
    for record in latest(records).values() {
        *seconds.entry(&record.model).or_default() += record.seconds;
    }
    let mut seconds = Vec::from_iter(seconds);
    seconds.sort_by(|a, b| b.1.total_cmp(&a.1));
    let longest = seconds.first().map_or(1.0, |(_, seconds)| *seconds);
    if seconds.is_empty() {
        return nothing();
    }
    html! {
        p.soft { "Seconds of all checks of a model, added up; loading is part of the first." }
        div.scroll tabindex="0" { table.narrow {
            thead { tr { th scope="col" { "model" } th scope="col" { "share of the slowest" } th.n scope="col" { "seconds" } } }
            tbody {
                @for (model, seconds) in seconds.into_iter().take(SLOWEST) {
                    tr { th scope="row" { (model::link(model)) }
                        td { span.bar aria-hidden="true" { i {} i style=(format!("width:{:.1}%", 100.0 * seconds / longest)) {} } }
                        td.n { (format!("{seconds:.2}")) } }
                }
            }
        } }
    }
}

/// What the steps of the suite took: the last time, and for the most models.
pub fn costs(costs: &[Cost]) -> Markup {
    let summaries = summaries(costs);
    html! {
        @if summaries.is_empty() { p { "No step was timed yet; run: " code { "just test" } } }
        @else {
            p.soft { "By the clock on the wall, as the commands measured it while they worked. Only what had something to do counts." }
            div.scroll tabindex="0" { table {
                thead { tr {
                    th scope="col" { "step" } th scope="col" { "last time (UTC)" }
                    @for name in ["models", "seconds", "most models", "seconds", "ms a model"] { th.n scope="col" { (name) } }
                } }
                tbody {
                    @for Summary { step, last, largest } in summaries {
                        tr {
                            th scope="row" { (step) } td { (minute(&last.time)) }
                            td.n { (last.models) } td.n { (format!("{:.1}", last.seconds)) }
                            td.n { (largest.models) } td.n { (format!("{:.1}", largest.seconds)) }
                            td.n { (format!("{:.1}", 1e3 * largest.seconds / largest.models as f64)) }
                        }
                    }
                }
            } }
        }
    }
}

/// The latest runs, newest first.
pub fn history(records: &[Record]) -> Markup {
    let runs = runs(records);
    if runs.is_empty() {
        return nothing();
    }
    html! {
        @if runs.len() > RUNS { p.soft { "The last " (RUNS) " of " (runs.len()) " runs." } }
        div.scroll tabindex="0" { table {
            thead { tr {
                @for name in ["time (UTC)", "device", "commit", "torch"] { th scope="col" { (name) } }
                th scope="col" { "passed of all" }
                @for name in ["models", "passed", "failed", "crashed", "timed out", "not run"] { th.n scope="col" { (name) } }
            } }
            tbody {
                @for run in runs.iter().rev().take(RUNS) {
                    @let counts = [run.passed, run.failed, run.crashed, run.timed_out, run.not_run];
                    @let share = Share::of(run.passed, counts.iter().sum());
                    tr {
                        th scope="row" { (minute(&run.time)) }
                        td { (run.device) } td { code { (run.commit.as_deref().unwrap_or("")) } }
                        td { (Vec::from_iter(run.torch.iter().map(String::as_str)).join(" ")) }
                        td { span.bar aria-hidden="true" { i {} i style=(share.width()) {} } }
                        td.n { (run.models) } @for count in counts { td.n { (count) } }
                    }
                }
            }
        } }
    }
}

/// In place of what is told of runs.
fn nothing() -> Markup {
    html! { p { "Nothing ran yet; run: " code { "just test" } } }
}

/// `2026-11-20 22:43` of a timestamp.
fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}
