//! One file per command: its arguments, what it does, what it prints.

pub mod adapters;
pub mod add;
pub mod batch;
pub mod bench;
pub mod bench_suite;
pub mod certify;
mod certify_roster;
pub mod check;
pub mod coverage;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod faults;
pub mod forecast;
pub mod judge;
pub mod limits;
pub mod list;
pub mod lock;
pub mod matrix;
pub mod merge;
pub mod portability;
pub mod progress;
pub mod radar;
pub mod readd;
pub mod remove;
pub mod replay;
pub mod report;
pub mod results;
pub mod run;
pub mod schema;
pub mod select;
pub mod setup;
pub mod show;
pub mod stored;
#[cfg(unix)]
pub mod stress;
pub mod test;
pub mod testing;
pub mod upstream;
pub mod validate;
pub mod verify;
pub mod worker;

use anyhow::{Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use hf_conformance::codegen;
use hf_conformance::failure::Failure;
use hf_conformance::numerics::Measure;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::spec::{self, Spec};
use hf_conformance::verdict::Status;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// The device that is the best there is.
pub const AUTO: &str = "auto";

/// The engine that is used where none is named.
pub const TORCHSCRIPT: &str = "torchscript";
/// The half precision that is meant where none is named.
pub const BFLOAT16: &str = "bfloat16";

/// The device as it must be repeated in a command: none where the best was asked for.
pub fn asked(device: &str) -> Option<&str> {
    Some(device).filter(|device| *device != AUTO)
}

/// The checked spec of the working directory's project.
pub fn spec() -> Result<Spec> {
    spec::load(Path::new(".")).or_else(|problems| {
        for problem in &problems {
            eprintln!("{problem}");
        }
        bail!("the spec has {} problem(s), listed above", problems.len())
    })
}

/// Brings `generated/` in step with the spec, as the next build would.
pub fn regenerate(spec: &Spec) -> Result<()> {
    let started = Instant::now();
    codegen::sync(&codegen::plan(spec), Path::new("generated"))?;
    Ok(cost::keep(Step::Generate, spec.entries.len(), started.elapsed())?)
}

/// A table without lines; all columns but the first are aligned to the right.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A line for every check: what it came to, seconds, what it compared, and how near that is to the limit.
pub fn checks<'a>(judged: impl IntoIterator<Item = (&'a str, Status, f64, &'a [Measure])>) -> String {
    let mut rows = table(["check", "", "seconds", "compared", "largest share of the allowed error"]);
    if let Some(words) = rows.column_mut(1) {
        words.set_cell_alignment(CellAlignment::Left);
    }
    for (check, status, seconds, measures) in judged {
        let share = measures.iter().map(|measure| measure.agreement.share()).reduce(f64::max);
        rows.add_row([
            check.to_owned(),
            status.to_string(),
            format!("{seconds:.1}"),
            measures.len().to_string(),
            share.map(of_allowed).unwrap_or_default(),
        ]);
    }
    rows.to_string()
}

/// A share of what is allowed: `8 %`, and far beyond it `3.4e5 ×`.
pub fn of_allowed(share: f64) -> String {
    match share < 10.0 {
        true => format!("{:.0} %", 100.0 * share),
        false => format!("{share:.1e} ×"),
    }
}

/// Prints a text that may be long; a reader that has seen enough of it (`| head`) is no error.
pub fn show(text: impl std::fmt::Display) -> std::io::Result<()> {
    let text = text.to_string();
    // Tables fill their last column with spaces: beside one long reason, every line would wrap.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    match writeln!(std::io::stdout().lock(), "{}", lines.join("\n")) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// A failure as the end of a command: its stage, what is wrong and what helps.
pub fn failed(failure: &Failure) -> anyhow::Error {
    let details: String = failure.details.iter().map(|detail| format!("\n  {detail}")).collect();
    anyhow::anyhow!("stage {}: {}{details}", failure.stage, failure.message)
}
