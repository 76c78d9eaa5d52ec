//! The sections of the report that are plots.

use super::plot::{self, Kind, PlotError, Point};
use super::{Report, model};
use crate::report::latest::latest;
use crate::report::matrix::Column;
use crate::report::speed::{Batch, Speed};
use maud::{Markup, PreEscaped, html};

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

/// Latency relative to Python.
pub fn speed(report: &Report) -> Result<Markup, PlotError> {
    let ratios: Vec<f64> = report.speeds.iter().filter_map(Speed::ratio).collect();
    if ratios.is_empty() {
        return Ok(html! { p { "No speed was measured yet; run: " code { "just bench" } } });
    }
    let smallest = report.speeds.iter().filter_map(|speed| speed.batches.first());
    let compiled: Vec<f64> = smallest.filter_map(Batch::ratio_to_compiled).collect();
    Ok(html! {
        p.soft {
            "Steady latency at the smallest batch, " (ratios.len()) " models measured. In the median libtorch takes "
            (format!("{:.2}", median(&ratios))) " of eager Python's time"
            @if !compiled.is_empty() {
                ", and " (format!("{:.2}", median(&compiled))) " of torch.compile's (" (compiled.len()) " models)"
            }
            ". Tiny models measure the engine's overhead more than its kernels."
        }
        div.plots {
            (figure("ratios", "Libtorch's latency over eager Python's, a bar a model: below 1 libtorch is faster.",
                &plot::ratios(&ratios)?))
            div.scroll tabindex="0" { (least_gain(report.speeds)) }
        }
    })
}

/// The models that libtorch is least faster on.
fn least_gain(speeds: &[Speed]) -> Markup {
    let first = |speed: &'_ Speed| Some((speed.batches.first()?.ratio(), speed.batches.first()?.rust.p50_ms));
    let mut measured: Vec<(&Speed, (f64, f64))> =
        speeds.iter().filter_map(|speed| Some((speed, first(speed)?))).collect();
    measured.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0));
    html! {
        table {
            caption { "Where libtorch gains least" }
            thead { tr {
                th scope="col" { "model" } th scope="col" { "device" }
                @for name in ["p50 ms", "load ms", "first ms", "ratio"] { th.n scope="col" { (name) } }
            } }
            tbody {
                @for (speed, (ratio, p50)) in measured.into_iter().take(LEAST) {
                    tr {
                        th scope="row" { (model::link(&speed.model)) } td { (speed.device) }
                        td.n { (format!("{p50:.2}")) } td.n { (format!("{:.0}", speed.rust.load_ms)) }
                        td.n { (format!("{:.0}", speed.rust.first_ms)) } td.n { (format!("{ratio:.2}")) }
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

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
