//! Plots as inline SVG.
//!
//! In: numbers. Out: SVG text without a background, its ink in `currentColor`, so that it suits light and dark.

use crate::numerics::Agreement;
use plotters::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

/// Stands for the page's own ink until the SVG is done.
const INK: RGBColor = RGBColor(1, 2, 3);
const SIZE: (u32, u32) = (560, 350);
const FONT: &str = "sans-serif";
/// Points nearer to each other than this share of a decade are drawn once.
const NEAR: f64 = 0.02;
/// Bars of the histogram between nothing and all that is allowed.
const BARS: usize = 20;

/// A compared output.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    pub agreement: &'a Agreement,
    pub kind: Kind,
}

/// What a point's colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Agrees, in float32.
    Full,
    /// Agrees, in a half precision.
    Half,
    /// Does not agree.
    Off,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Full, Self::Half, Self::Off];

    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "float32",
            Self::Half => "half precision",
            Self::Off => "beyond its tolerance",
        }
    }

    /// Legible on white and on near-black.
    fn colour(self) -> RGBColor {
        match self {
            Self::Full => RGBColor(59, 130, 246),
            Self::Half => RGBColor(217, 119, 6),
            Self::Off => RGBColor(220, 38, 38),
        }
    }

    /// The colour as CSS writes it.
    pub fn css(self) -> String {
        let RGBColor(red, green, blue) = self.colour();
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

/// A plot that could not be drawn, in the library's words.
#[derive(Debug, thiserror::Error)]
#[error("a plot could not be drawn: {0}")]
pub struct PlotError(String);

impl PlotError {
    fn new(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

/// Error against tolerance, as shares of the output's size, both logarithmic: below the line is agreement. Exact outputs
/// stand at the foot, those that are no number at the top.
pub fn errors(points: &[Point]) -> Result<String, PlotError> {
    let share = |size: f64, point: &Point| size / point.agreement.scale;
    let places: Vec<(f64, f64, Kind)> = points
        .iter()
        .map(|point| (share(point.agreement.limit, point), share(point.agreement.error, point), point.kind))
        .filter(|(allowed, ..)| allowed.is_finite() && *allowed > 0.0)
        .collect();
    let sizes = places.iter().flat_map(|&(allowed, error, _)| [allowed, error]);
    let range = decades(sizes.filter(|size| size.is_finite() && *size > 0.0));
    let near = |size: f64| (size.log10() / NEAR).round() as i64;
    let place = |&(allowed, error, kind): &(f64, f64, Kind)| {
        let error = if error.is_finite() { error.max(range.start) } else { range.end };
        (kind, near(allowed), near(error))
    };
    let places: BTreeSet<(Kind, i64, i64)> = places.iter().map(place).collect();
    draw(|root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(range.clone().log_scale(), range.clone().log_scale())
            .map_err(PlotError::new)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .axis_style(INK.mix(0.5))
            .label_style((FONT, 15).into_font().color(&INK))
            .axis_desc_style((FONT, 16).into_font().color(&INK))
            .x_labels(8)
            .y_labels(8)
            .x_label_formatter(&|size| format!("{size:.0e}"))
            .y_label_formatter(&|size| format!("{size:.0e}"))
            .x_desc("allowed error")
            .y_desc("error")
            .draw()
            .map_err(PlotError::new)?;
        let diagonal = [(range.start, range.start), (range.end, range.end)];
        chart.draw_series(LineSeries::new(diagonal, INK.mix(0.6).stroke_width(1))).map_err(PlotError::new)?;
        let size = |near: i64| 10f64.powf(near as f64 * NEAR);
        let dots = places.iter().map(|&(kind, allowed, error)| {
            Circle::new((size(allowed), size(error)), 3, kind.colour().mix(0.75).filled())
        });
        chart.draw_series(dots).map_err(PlotError::new).map(drop)
    })
}

/// How many outputs take how large a share of what is allowed; those beyond it in one bar of their own.
pub fn shares(points: &[Point]) -> Result<String, PlotError> {
    let mut bars = [[0usize; Kind::ALL.len()]; BARS + 1];
    for point in points {
        let share = point.agreement.share();
        let bar = if point.kind == Kind::Off { BARS } else { ((share * BARS as f64) as usize).min(BARS - 1) };
        bars[bar][point.kind as usize] += 1;
    }
    let top = bars.iter().map(|kinds| kinds.iter().sum::<usize>()).max().unwrap_or(0).max(1) as f64 * 1.1;
    draw(|root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..(BARS + 1) as f64, 0.0..top)
            .map_err(PlotError::new)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .axis_style(INK.mix(0.5))
            .label_style((FONT, 15).into_font().color(&INK))
            .axis_desc_style((FONT, 16).into_font().color(&INK))
            .x_labels(5)
            .y_labels(6)
            .x_label_formatter(&|bar| format!("{}", bar / BARS as f64))
            .y_label_formatter(&|count| format!("{count:.0}"))
            .x_desc("error as a share of what is allowed")
            .y_desc("outputs")
            .draw()
            .map_err(PlotError::new)?;
        let stacked = bars.iter().enumerate().flat_map(|(bar, kinds)| {
            let mut foot = 0;
            Kind::ALL.into_iter().zip(*kinds).filter(|(_, count)| *count > 0).map(move |(kind, count)| {
                let (left, low) = (bar as f64, foot as f64);
                foot += count;
                Rectangle::new(
                    [(left + 0.08, low), (left + 0.92, foot as f64)],
                    kind.colour().mix(0.8).filled(),
                )
            })
        });
        chart.draw_series(stacked).map_err(PlotError::new)?;
        let end = [(BARS as f64, 0.0), (BARS as f64, top)];
        chart
            .draw_series(LineSeries::new(end, INK.mix(0.6).stroke_width(1)))
            .map_err(PlotError::new)
            .map(drop)
    })
}

/// How many times as fast as Python models are, in descending order, with the line of equal speed.
pub fn speedups(speedups: &[f64]) -> Result<String, PlotError> {
    let mut sorted: Vec<f64> = speedups.iter().copied().filter(|speedup| speedup.is_finite()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let top = sorted.first().copied().unwrap_or(1.0).max(1.0) * 1.15;
    let width = sorted.len() as f64;
    draw(|root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..width, 0.0..top)
            .map_err(PlotError::new)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .axis_style(INK.mix(0.5))
            .label_style((FONT, 15).into_font().color(&INK))
            .axis_desc_style((FONT, 16).into_font().color(&INK))
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|speedup| format!("{speedup:.1}"))
            .x_desc("models, fastest relative to Python first")
            .y_desc("times as fast as Python")
            .draw()
            .map_err(PlotError::new)?;
        let bars = sorted.iter().enumerate().map(|(rank, speedup)| {
            let left = rank as f64;
            let colour = if *speedup >= 1.0 { Kind::Full } else { Kind::Half }.colour();
            Rectangle::new([(left + 0.1, 0.0), (left + 0.9, *speedup)], colour.mix(0.8).filled())
        });
        chart.draw_series(bars).map_err(PlotError::new)?;
        let equal = [(0.0, 1.0), (width, 1.0)];
        chart
            .draw_series(LineSeries::new(equal, INK.mix(0.6).stroke_width(1)))
            .map_err(PlotError::new)
            .map(drop)
    })
}

type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws on an empty sheet and frees the SVG from its fixed ink and size.
fn draw(on: impl FnOnce(&Root) -> Result<(), PlotError>) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        on(&root)?;
        root.present().map_err(PlotError::new)?;
    }
    let (width, height) = SIZE;
    let fixed = format!(r#"width="{width}" height="{height}" "#);
    Ok(svg.replace("#010203", "currentColor").replacen(&fixed, "", 1))
}

/// The whole decades around all sizes.
fn decades(sizes: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = sizes.fold((f64::MAX, f64::MIN), |(low, high), size| (low.min(size), high.max(size)));
    if low > high {
        return 1e-8..1.0;
    }
    10f64.powf(low.log10().floor())..10f64.powf(high.log10().ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_have_the_pages_ink_and_fit_its_width() {
        let agreement = |error: f64| Agreement {
            error,
            eager_error: 5e-7,
            limit: 1e-6,
            scale: 1.0,
            max_abs: error,
            relative_l2: error,
            cosine: 1.0,
            count: 1,
            worst: Vec::new(),
        };
        let agreements = [0.0, 3e-7, 5e-6, f64::NAN].map(agreement);
        let kind = |agreement: &Agreement| if agreement.holds() { Kind::Full } else { Kind::Off };
        let points: Vec<Point> =
            agreements.iter().map(|agreement| Point { agreement, kind: kind(agreement) }).collect();
        for svg in [
            errors(&points).unwrap(),
            shares(&points).unwrap(),
            speedups(&[0.5, 2.0]).unwrap(),
            errors(&[]).unwrap(),
            shares(&[]).unwrap(),
            speedups(&[]).unwrap(),
        ] {
            assert!(svg.starts_with("<svg viewBox=") && svg.contains("currentColor"), "{svg}");
            assert!(!svg.contains("#010203") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn axes_cover_whole_decades() {
        assert_eq!(decades([3e-7, 2e-3].into_iter()), 1e-7..1e-2);
    }
}
