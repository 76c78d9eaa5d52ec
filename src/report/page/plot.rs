//! Plots as inline SVG.
//!
//! In: numbers. Out: SVG text without a background, its ink in `currentColor`, so that it suits light and dark.

use plotters::prelude::*;
use std::fmt::Display;
use std::ops::Range;

/// Stands for the page's own ink until the SVG is done.
const INK: RGBColor = RGBColor(1, 2, 3);
/// Legible on white and on near-black.
const BLUE: RGBColor = RGBColor(59, 130, 246);
const ORANGE: RGBColor = RGBColor(217, 119, 6);
const SIZE: (u32, u32) = (560, 350);
const FONT: &str = "sans-serif";

/// A compared output: its error and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub allowed: f64,
    pub error: f64,
    /// In a half precision.
    pub half: bool,
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

/// Error against tolerance, both logarithmic: below the line is agreement. Exact outputs stand at the foot.
pub fn errors(points: &[Point]) -> Result<String, PlotError> {
    let sizes = points.iter().flat_map(|point| [point.allowed, point.error]);
    let range = decades(sizes.filter(|size| size.is_finite() && *size > 0.0));
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
            .x_desc("allowed error (rmse)")
            .y_desc("error (rmse)")
            .draw()
            .map_err(PlotError::new)?;
        let diagonal = [(range.start, range.start), (range.end, range.end)];
        chart.draw_series(LineSeries::new(diagonal, INK.mix(0.6).stroke_width(1))).map_err(PlotError::new)?;
        let dots = points.iter().map(|point| {
            let colour = if point.half { ORANGE } else { BLUE };
            Circle::new((point.allowed, point.error.max(range.start)), 3, colour.mix(0.75).filled())
        });
        chart.draw_series(dots).map_err(PlotError::new).map(drop)
    })
}

/// Latency ratios in ascending order, with the line of equal speed.
pub fn ratios(ratios: &[f64]) -> Result<String, PlotError> {
    let mut sorted: Vec<f64> = ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let top = sorted.last().copied().unwrap_or(1.0).max(1.0) * 1.15;
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
            .y_label_formatter(&|ratio| format!("{ratio:.1}"))
            .x_desc("models, fastest relative to Python first")
            .y_desc("latency, Python = 1")
            .draw()
            .map_err(PlotError::new)?;
        let bars = sorted.iter().enumerate().map(|(rank, ratio)| {
            let left = rank as f64;
            let colour = if *ratio <= 1.0 { BLUE } else { ORANGE };
            Rectangle::new([(left + 0.1, 0.0), (left + 0.9, *ratio)], colour.mix(0.8).filled())
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
        let point = Point { allowed: 1e-6, error: 3e-7, half: false };
        for svg in [
            errors(&[point]).unwrap(),
            ratios(&[0.5, 2.0]).unwrap(),
            errors(&[]).unwrap(),
            ratios(&[]).unwrap(),
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
