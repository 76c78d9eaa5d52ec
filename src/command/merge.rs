//! `merge`: the results of the machines that shared a run, without loss or double counting.

use super::{select::select, show, spec, stored, table};
use anyhow::{Context, Result};
use clap::Args;
use hf_conformance::artifact::Format;
use hf_conformance::report::{self, Record};
use hf_conformance::runner::shard::{Arrived, arrived};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// How many machines shared the run
    shards: usize,
    /// What each of them left; those that are not there yet are left out
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The models that were meant: models, families, tasks or tiers; everything when left out
    #[arg(long, value_delimiter = ',')]
    filter: Vec<String>,
    /// torchscript, pt2 or aot
    #[arg(long, env = "HF_CONFORMANCE_ENGINE", default_value = super::TORCHSCRIPT)]
    engine: Format,
    /// Where all of it goes; nowhere when left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prints what there is of each shard; one that is lost or red is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let records = stored::read(&arguments.files)?;
    let arrived = arrived(&entries, arguments.shards.max(1), arguments.engine, &records);
    show(overview(&arrived))?;
    for lost in arrived.iter().filter(|arrived| arrived.lost() > 0) {
        let (shard, models) = (lost.shard, lost.lost.len());
        let again = format!("just shard {} {}", shard.number, shard.of);
        let filter: String = arguments.filter.iter().map(|word| format!(" {word}")).collect();
        println!(
            "\nshard {shard} has no result of {} checks on {models} models; again: {again}{filter}",
            lost.lost()
        );
    }
    if let Some(out) = &arguments.out {
        write(&records, out).with_context(|| out.display().to_string())?;
        println!("\n{} results in {}", records.len(), out.display());
    }
    let is_good = arrived.iter().all(|arrived| arrived.passed == arrived.due);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn overview(arrived: &[Arrived]) -> String {
    let mut rows = table(["shard", "models", "checks", "passed", "not passed", "lost"]);
    for one in arrived {
        let counts = [one.models, one.due, one.passed, one.red, one.lost()];
        rows.add_row(std::iter::once(one.shard.to_string()).chain(counts.map(|count| count.to_string())));
    }
    rows.to_string()
}

/// Writes the records, whole or not at all.
fn write(records: &[Record], out: &Path) -> Result<()> {
    let lines = records.iter().map(report::line).collect::<Result<Vec<_>, _>>()?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let scratch = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(scratch.path(), lines.join("\n") + "\n")?;
    scratch.persist(out)?;
    Ok(())
}
