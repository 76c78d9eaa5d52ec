//! `bench`: how fast models are on libtorch and in Python.

use super::progress::bar;
use super::{export, failed, select::select, show, spec, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::ColumnConstraint;
use hf_conformance::artifact;
use hf_conformance::bench::{BenchTarget, EagerProcess, measure};
use hf_conformance::engine;
use hf_conformance::model::RuntimeSpec;
use hf_conformance::report::speed::{self, Batch, Speed};
use hf_conformance::report::typed::Typed;
use hf_conformance::report::{append_to, lines};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Columns of the table that only `--compile` fills.
const COMPILED: [usize; 2] = [9, 10];

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    device: String,
    /// Measure torch.compile too; needs a C++ compiler, and seconds to minutes a model
    #[arg(long)]
    compile: bool,
}

impl Arguments {
    /// The `just bench` that repeats this.
    fn typed(&self) -> Typed {
        let filters = self.filter.iter().map(String::as_str);
        Typed::bench(filters, super::asked(&self.device)).flag("--compile", self.compile)
    }
}

/// Measures one model after the other, keeps every result and ends with a table; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let Some(engine) = engine::real() else {
        bail!("this build has no libtorch; use: {}", arguments.typed());
    };
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    println!("device {explained}");
    export::artifacts(&spec, &entries, <_>::default(), false)?;
    let place = BenchTarget { engine, device, compile: arguments.compile };
    let bar = bar("measuring", entries.len());
    // Each package of classes has a process of its own.
    let mut pythons: BTreeMap<&str, EagerProcess> = BTreeMap::new();
    let (mut speeds, mut failures) = (Vec::new(), 0);
    for entry in entries {
        let subject = RuntimeSpec::new(entry, &spec.versions);
        let folder = artifact::root().join(entry.name.as_str());
        let python = match pythons.remove(entry.source.as_str()) {
            Some(python) => Ok(python),
            None => EagerProcess::start(&entry.source, &spec.versions),
        };
        let measured = python.and_then(|mut python| {
            let speed = measure(&subject, &folder, &place, &mut python)?;
            // A process that failed is not asked again: what it still has to say is unknown.
            pythons.insert(&entry.source, python);
            Ok(speed)
        });
        match measured {
            Ok(speed) => {
                append_to(&speed::path(), &speed)?;
                bar.suspend(|| {
                    speed.left_out.iter().for_each(|why| println!("left out {} · {why}", entry.name))
                });
                speeds.push(speed);
            }
            Err(failure) => {
                failures += 1;
                bar.suspend(|| println!("FAILED {} · stage {}: {failure}", entry.name, failure.stage));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    show(rows(&speeds, arguments.compile))?;
    let csv = speed::path().with_extension("csv");
    write_csv(&csv).with_context(|| csv.display().to_string())?;
    println!(
        "\n{} measured, {failures} failed; {} has everything measured so far",
        speeds.len(),
        csv.display()
    );
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rows(speeds: &[Speed], compile: bool) -> String {
    let mut rows = table([
        "model",
        "load ms",
        "first ms",
        "rows",
        "p50 ms",
        "p95 ms",
        "rows/s",
        "Python p50 ms",
        "ratio",
        "compiled p50 ms",
        "ratio",
        "± %",
        "MiB",
    ]);
    if !compile {
        for column in COMPILED {
            if let Some(column) = rows.column_mut(column) {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
    }
    let number = |figure: Option<f64>, digits: usize| {
        figure.map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    for speed in speeds {
        for (position, batch) in speed.batches.iter().enumerate() {
            let once = |text: String| if position == 0 { text } else { String::new() };
            rows.add_row([
                once(speed.model.clone()),
                once(format!("{:.1}", speed.rust.load_ms)),
                once(format!("{:.1}", speed.rust.first_ms)),
                batch.rows.to_string(),
                format!("{:.3}", batch.rust.p50_ms),
                format!("{:.3}", batch.rust.p95_ms),
                format!("{:.0}", batch.throughput()),
                format!("{:.3}", batch.python.p50_ms),
                format!("{:.2}", batch.ratio()),
                number(batch.compiled.map(|compiled| compiled.p50_ms), 3),
                number(batch.ratio_to_compiled(), 2),
                format!("{:.1}", 100.0 * batch.spread()),
                once(number(speed.rust.peak_mib, 0)),
            ]);
        }
    }
    format!(
        "\n{rows}\n\nratio: libtorch's median latency over that of the column before; below 1 libtorch is faster"
    )
}

/// Columns of the CSV file, in the order of [`csv_row`].
const CSV: [&str; 23] = [
    "model",
    "family",
    "device",
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
    "ratio",
    "compiled_p50_ms",
    "compiled_p95_ms",
    "spread",
];

/// The last word on every model and device, a line per batch size.
fn write_csv(path: &std::path::Path) -> Result<()> {
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(CSV)?;
    for speed in speed::latest(lines(&speed::path())?.read) {
        for batch in &speed.batches {
            csv.write_record(csv_row(&speed, batch))?;
        }
    }
    Ok(csv.flush()?)
}

fn csv_row(speed: &Speed, batch: &Batch) -> [String; 23] {
    let known = |figure: Option<f64>| figure.map_or_else(String::new, |figure| figure.to_string());
    [
        speed.model.clone(),
        speed.family.clone(),
        speed.device.clone(),
        speed.dtype.clone(),
        speed.time.clone(),
        speed.commit.clone().unwrap_or_default(),
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
        batch.ratio().to_string(),
        known(batch.compiled.map(|compiled| compiled.p50_ms)),
        known(batch.compiled.map(|compiled| compiled.p95_ms)),
        batch.spread().to_string(),
    ]
}
