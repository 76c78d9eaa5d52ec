//! The sections of the report that are plots.

use super::plot::{self, Kind, PlotError, Point};
use super::{Report, model};
use crate::report::latest::latest;
use crate::report::matrix::Column;
use crate::report::speed::{Batch, Speed, means};
use maud::{Markup, PreEscaped, html};
use std::collections::BTreeMap;

/// How many models the table of small gains has.
const LEAST: usize = 8;

/// How far outputs are off, and how much of what is allowed that takes.
pub fn accuracy(report: &Report) -> Result<Markup, PlotError> {
    let latest = latest(report.records);
    let compared =
        latest.values().flat_map(|record| record.metrics.iter().map(move |metric| (record, metric)));
    let points: Vec<Point> = compared
        .map(|(record, metric)| Point {
            agreement: &metric.agreement,
            kind: match (metric.agreement.holds(), Column::of(record).dtype.as_str()) {
                (false, _) => Kind::Off,
                (true, "float32") => Kind::Full,
                (true, _) => Kind::Half,
            },
        })
        .collect();
    if points.is_empty() {
        return Ok(html! { p { "Nothing was compared yet; run: " code { "just test" } } });
    }
    let off = points.iter().filter(|point| point.kind == Kind::Off).count();
    Ok(html! {
        p.soft {
            (points.len()) " compared outputs, " (off) " beyond their tolerance. "
            @for kind in Kind::ALL { span.dot style=(format!("background:{}", kind.css())) {} (kind.word()) " " }
        }
        div.plots {
            (figure("errors", "Error against tolerance, both as shares of the output's own size: below the line is \
                agreement, at the foot is equality to the last bit, at the top what is no number.", &plot::errors(&points)?))
            (figure("shares", "How much of the allowed error outputs take. A half-precision program that repeats \
                eager's own kernels takes half.", &plot::shares(&points)?))
        }
    })
}

/// How many times as fast as Python models are.
pub fn speed(report: &Report) -> Result<Markup, PlotError> {
    let Some(most) = most_measured(report.speeds) else {
        return Ok(html! { p { "No speed was measured yet; run: " code { "just bench" } } });
    };
    let speedups: Vec<f64> = most.iter().filter_map(|speed| speed.speedup()).collect();
    let (device, engine, width, threads) = most[0].setting();
    Ok(html! {
        p.soft {
            "How many times as fast as eager Python, by steady latency. Tiny models measure the engine's overhead more than \
            its kernels, realistic ones are 768 wide and 4 layers deep."
        }
        div.scroll tabindex="0" { (geometric_means(report.speeds)) }
        div.plots {
            (figure("speedups", &format!("Eager Python's latency over libtorch's at the smallest batch, a bar a model: above \
                1 libtorch is faster. {engine} on {device}, {width}, threads: {threads}."), &plot::speedups(&speedups)?))
            div.scroll tabindex="0" { (least_gain(&most)) }
        }
    })
}

/// The measurements in the setting in which most models were measured.
fn most_measured(speeds: &[Speed]) -> Option<Vec<&Speed>> {
    let mut settings: BTreeMap<_, Vec<&Speed>> = BTreeMap::new();
    for speed in speeds.iter().filter(|speed| speed.speedup().is_some()) {
        settings.entry(speed.setting()).or_default().push(speed);
    }
    settings.into_values().max_by_key(Vec::len)
}

/// Geometric means over all models, in every setting.
fn geometric_means(speeds: &[Speed]) -> Markup {
    html! {
        table {
            caption { "Geometric means" }
            thead { tr {
                @for name in ["device", "engine", "width"] { th scope="col" { (name) } }
                @for name in ["threads", "rows", "models", "over eager", "over torch.compile"] { th.n scope="col" { (name) } }
            } }
            tbody {
                @for mean in means(speeds).iter().filter(|mean| mean.family.is_none()) {
                    @let (device, engine, width, threads) = &mean.setting;
                    tr {
                        td { (device) } td { (engine) } td { (width) }
                        td.n { (threads) } td.n { (mean.rows) } td.n { (mean.models) }
                        td.n { (format!("{:.2}", mean.over_eager)) }
                        td.n { @if let Some(over) = mean.over_compiled { (format!("{over:.2}")) } }
                    }
                }
            }
        }
    }
}

/// The models that libtorch is least faster on.
fn least_gain(speeds: &[&Speed]) -> Markup {
    let mut measured: Vec<(&Speed, &Batch)> =
        speeds.iter().filter_map(|speed| Some((*speed, speed.batches.first()?))).collect();
    measured.sort_by(|(_, a), (_, b)| a.speedup().total_cmp(&b.speedup()));
    html! {
        table {
            caption { "Where libtorch gains least" }
            thead { tr {
                th scope="col" { "model" }
                @for name in ["p50 ms", "load ms", "first ms", "times as fast"] { th.n scope="col" { (name) } }
            } }
            tbody {
                @for (speed, batch) in measured.into_iter().take(LEAST) {
                    tr {
                        th scope="row" { (model::link(&speed.about.model)) }
                        td.n { (format!("{:.2}", batch.rust.p50_ms)) } td.n { (format!("{:.0}", speed.rust.load_ms)) }
                        td.n { (format!("{:.0}", speed.rust.first_ms)) } td.n { (format!("{:.2}", batch.speedup())) }
                    }
                }
            }
        }
    }
}

fn figure(id: &str, caption: &str, svg: &str) -> Markup {
    let caption_id = format!("{id}-caption");
    html! {
        figure role="group" aria-labelledby=(caption_id) {
            div role="img" aria-labelledby=(caption_id) { (PreEscaped(svg)) }
            figcaption id=(caption_id) { (caption) }
        }
    }
}
