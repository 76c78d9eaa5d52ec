//! What was measured, as tables for people and as CSV.
//!
//! In: [`Speed`]s, those of one model in a setting after each other, an engine each. Out: text.

use super::super::table;
use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table};
use hf_conformance::report::speed::{Batch, Mean, Measurement, Speed, means};
use std::path::Path;

/// Latency, then loading and memory, then means over models.
pub fn all(speeds: &[Speed]) -> String {
    if speeds.is_empty() {
        return String::new();
    }
    format!(
        "\n{}\n\n{}\n\n{}\n\n×: Python's median time over the engine's, so that 2 is twice as fast; under `compiled ×` torch.compile's. \
        ± %: standard error of the least steady median.\nMiB: how far memory rises above what it was before the model, while it serves all batch sizes",
        latencies(speeds),
        loading(speeds),
        summary(&means(speeds)),
    )
}

/// A line for every model, width, number of threads and batch size; two columns for every engine.
fn latencies(speeds: &[Speed]) -> Table {
    let engines = engines(speeds);
    let compiled = speeds.iter().flat_map(|speed| &speed.batches).any(|batch| batch.compiled.is_some());
    let mut header = ["model", "width", "threads", "rows", "eager ms"].map(str::to_owned).to_vec();
    header.extend(compiled.then(|| "compiled ms".to_owned()));
    for engine in &engines {
        header.extend([format!("{engine} ms"), "p95".to_owned(), "×".to_owned()]);
        header.extend(compiled.then(|| "compiled ×".to_owned()));
    }
    header.push("± %".to_owned());
    let mut rows = wide(&header);
    for group in speeds.chunk_by(|a, b| subject(a) == subject(b)) {
        for (place, first) in group[0].batches.iter().enumerate() {
            let mut cells = named(&group[0].about);
            cells.extend([first.rows.to_string(), format!("{:.3}", first.python.p50_ms)]);
            cells.extend(compiled.then(|| number(first.compiled.map(|times| times.p50_ms), 3)));
            for engine in &engines {
                let own = group.iter().find(|speed| speed.engine == *engine);
                let batch = own.and_then(|speed| speed.batches.get(place));
                cells.push(number(batch.map(|batch| batch.rust.p50_ms), 3));
                cells.push(number(batch.map(|batch| batch.rust.p95_ms), 3));
                cells.push(number(batch.map(Batch::speedup), 2));
                cells.extend(compiled.then(|| number(batch.and_then(Batch::speedup_over_compiled), 2)));
            }
            let spread = group.iter().filter_map(|speed| speed.batches.get(place)).map(Batch::spread);
            cells.push(number(spread.reduce(f64::max).map(|spread| 100.0 * spread), 1));
            rows.add_row(cells);
        }
    }
    rows
}

/// A line for every model, width and number of threads.
fn loading(speeds: &[Speed]) -> Table {
    let engines = engines(speeds);
    let mut header = ["model", "width", "threads"].map(str::to_owned).to_vec();
    for side in engines.iter().copied().chain(["eager"]) {
        header.extend(["load ms", "first ms", "MiB"].map(|column| format!("{side} {column}")));
    }
    let mut rows = wide(&header);
    for group in speeds.chunk_by(|a, b| subject(a) == subject(b)) {
        let mut cells = named(&group[0].about);
        let own = |engine: &&str| group.iter().find(|speed| speed.engine == **engine).map(|speed| speed.rust);
        for side in engines.iter().map(own).chain([Some(group[0].python)]) {
            cells.push(number(side.map(|side| side.load_ms), 1));
            cells.push(number(side.map(|side| side.first_ms), 1));
            cells.push(number(side.and_then(|side| side.peak_mib), 0));
        }
        rows.add_row(cells);
    }
    rows
}

/// A line for every setting, batch size and family, all models first.
fn summary(means: &[Mean]) -> Table {
    let mut rows =
        table(["geometric mean", "engine", "width", "threads", "rows", "models", "×", "compiled ×"]);
    for mean in means {
        let (_, engine, width, threads) = &mean.setting;
        rows.add_row([
            mean.family.clone().unwrap_or_else(|| "all".to_owned()),
            engine.clone(),
            width.clone(),
            threads.to_string(),
            mean.rows.to_string(),
            mean.models.to_string(),
            format!("{:.2}", mean.over_eager),
            number(mean.over_compiled, 2),
        ]);
    }
    rows
}

/// Engines in the order in which they were measured.
fn engines(speeds: &[Speed]) -> Vec<&str> {
    let mut engines = Vec::new();
    for speed in speeds {
        if !engines.contains(&speed.engine.as_str()) {
            engines.push(speed.engine.as_str());
        }
    }
    engines
}

/// What a line is of.
fn subject(Speed { about, .. }: &Speed) -> (&str, &str, usize) {
    (&about.model, &about.width, about.threads)
}

/// The first cells of a line: model, width, threads.
pub(super) fn named(about: &Measurement) -> Vec<String> {
    vec![about.model.clone(), about.width.clone(), about.threads.to_string()]
}

pub(super) fn number(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
}

/// A table with as many columns as there are words.
pub(super) fn wide(header: &[String]) -> Table {
    let mut table = table([]);
    table.set_header(header.iter().map(Cell::new));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Columns of the CSV file, in the order of [`csv_row`].
const CSV: [&str; 28] = [
    "model",
    "family",
    "device",
    "engine",
    "width",
    "threads",
    "attention",
    "dtype",
    "time",
    "commit",
    "load_ms",
    "first_ms",
    "peak_mib",
    "rows",
    "p50_ms",
    "p95_ms",
    "rows_per_second",
    "python_load_ms",
    "python_first_ms",
    "python_peak_mib",
    "python_peak_gpu_mib",
    "python_p50_ms",
    "python_p95_ms",
    "speedup",
    "compiled_p50_ms",
    "compiled_p95_ms",
    "speedup_over_compiled",
    "spread",
];

/// A line for every batch size of every measurement.
pub fn write_csv(path: &Path, speeds: &[Speed]) -> Result<()> {
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(CSV)?;
    for speed in speeds {
        for batch in &speed.batches {
            csv.write_record(csv_row(speed, batch))?;
        }
    }
    Ok(csv.flush()?)
}

fn csv_row(speed: &Speed, batch: &Batch) -> [String; 28] {
    let known = |figure: Option<f64>| figure.map_or_else(String::new, |figure| figure.to_string());
    let about = &speed.about;
    [
        about.model.clone(),
        about.family.clone(),
        about.device.clone(),
        speed.engine.clone(),
        about.width.clone(),
        about.threads.to_string(),
        about.attention.clone(),
        speed.dtype.clone(),
        about.time.clone(),
        about.commit.clone().unwrap_or_default(),
        speed.rust.load_ms.to_string(),
        speed.rust.first_ms.to_string(),
        known(speed.rust.peak_mib),
        batch.rows.to_string(),
        batch.rust.p50_ms.to_string(),
        batch.rust.p95_ms.to_string(),
        batch.throughput().to_string(),
        speed.python.load_ms.to_string(),
        speed.python.first_ms.to_string(),
        known(speed.python.peak_mib),
        known(speed.python.peak_gpu_mib),
        batch.python.p50_ms.to_string(),
        batch.python.p95_ms.to_string(),
        batch.speedup().to_string(),
        known(batch.compiled.map(|compiled| compiled.p50_ms)),
        known(batch.compiled.map(|compiled| compiled.p95_ms)),
        known(batch.speedup_over_compiled()),
        batch.spread().to_string(),
    ]
}
