//! `bench`: how fast models are on libtorch and in Python.

mod decode;
mod tables;

use super::progress::bar;
use super::{export, failed, limits, select::select, show, spec};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact::{Format, Lane};
use hf_conformance::bench::Width;
use hf_conformance::bench::worker::{self, Job, Lost, Plan, Request};
use hf_conformance::device::Device;
use hf_conformance::engine;
use hf_conformance::export::{Anew, Order};
use hf_conformance::failure::Failure;
use hf_conformance::process;
use hf_conformance::report::decoding::{self, DecodeSpeed};
use hf_conformance::report::journal::{Item, Journal};
use hf_conformance::report::speed::{self, Speed};
use hf_conformance::report::{self, append_to, lines, lines_since};
use hf_conformance::runner::{Asked, Limits, work};
use hf_conformance::spec::{Entry, Spec};
use hf_conformance::typed::Typed;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::process::ExitCode;

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    device: String,
    /// Engines to measure, separated by commas, all in the same rounds
    #[arg(long, value_delimiter = ',', default_value = super::TORCHSCRIPT)]
    engine: Vec<Format>,
    /// tiny, as the spec has models, or realistic: 768 wide, 4 layers; or both, separated by a comma
    #[arg(long, value_delimiter = ',', default_value = "tiny")]
    width: Vec<Width>,
    /// Threads that share an operator, on both sides; several numbers are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<NonZeroU16>,
    /// Measure torch.compile too; needs a C++ compiler, and seconds to minutes a model
    #[arg(long)]
    compile: bool,
    /// Measure how fast text is written, with a cache and without one, in turns with Python's generate
    #[arg(long, conflicts_with = "compile")]
    decode: bool,
    #[command(flatten)]
    limits: limits::Limits,
    /// Measures what standard input asks for: what this program does in a child
    #[arg(long, hide = true)]
    serve: bool,
}

impl Arguments {
    /// The `just bench` of these models that repeats this.
    fn typed<'a>(&'a self, filters: impl IntoIterator<Item = &'a str>) -> Typed {
        let list = |words: Vec<String>, default: &str| Some(words.join(",")).filter(|words| words != default);
        let engines =
            list(self.engine.iter().map(|engine| engine.name().to_owned()).collect(), super::TORCHSCRIPT);
        let widths = list(self.width.iter().map(Width::to_string).collect(), Width::Tiny.name());
        let threads = list(self.threads.iter().map(NonZeroU16::to_string).collect(), "1");
        let typed = Typed::bench(filters, super::asked(&self.device))
            .option("--engine", engines.as_deref())
            .option("--width", widths.as_deref())
            .option("--threads", threads.as_deref())
            .flag("--compile", self.compile)
            .flag("--decode", self.decode);
        self.limits.repeat(typed)
    }
}

/// What is measured and where, and how much of it could not be.
struct Run<'a> {
    arguments: &'a Arguments,
    spec: &'a Spec,
    device: Device,
    lost: usize,
}

/// Measures one model after the other, keeps every result and ends with tables; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    if arguments.serve {
        let request = serde_json::from_reader(std::io::stdin().lock()).context("reading the request")?;
        return worker::serve(&spec, &request)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|failure| failed(&failure));
    }
    let entries = select(&spec, &arguments.filter)?;
    if engine::real().is_none() {
        let again = arguments.typed(arguments.filter.iter().map(String::as_str));
        bail!("this build has no libtorch; use: {again}");
    }
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    println!("device {explained}");
    let mut run = Run { arguments, spec: &spec, device, lost: 0 };
    let begin = report::end(&run.plan(Width::Tiny).store());
    for width in &arguments.width {
        if process::interrupted().is_none() {
            run.at_width(&entries, *width)?;
        }
    }
    match arguments.decode {
        true => run.written(begin)?,
        false => run.measured(begin)?,
    }
    Ok(if run.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Run<'_> {
    fn plan(&self, width: Width) -> Plan {
        let Arguments { compile, decode, .. } = *self.arguments;
        Plan { device: self.device.to_string(), width, compile, decode }
    }

    /// Exports what changed, and has all entries measured at one width.
    fn at_width(&mut self, entries: &[&Entry], width: Width) -> Result<()> {
        let plan = self.plan(width);
        let mut sized = Vec::new();
        for entry in entries {
            match plan.entry(entry) {
                Ok(one) => sized.push(one),
                Err(why) => {
                    self.lost += 1;
                    tell(&Lost { model: entry.name.to_string(), why: vec![why] });
                }
            }
        }
        let without = self.export(&plan, &sized)?;
        self.lost += without.len();
        let mut jobs = Vec::new();
        for entry in &sized {
            let runs = self.arguments.engine.iter().filter(|format| !lacks(&without, entry, **format));
            let engines: Vec<String> = runs.map(|format| format.name().to_owned()).collect();
            let threads = self.arguments.threads.iter().filter(|_| !engines.is_empty());
            jobs.extend(threads.map(|threads| Job {
                model: entry.name.to_string(),
                threads: usize::from(threads.get()),
                engines: engines.clone(),
            }));
        }
        self.carry_out(&sized, plan, jobs)
    }

    /// Exports what changed; the models that cannot be, each with the format in which it cannot: that is one failure, which
    /// was told of, and not one for every number of threads.
    fn export(&self, plan: &Plan, sized: &[Entry]) -> Result<Vec<Without>> {
        let mut without: Vec<Without> = Vec::new();
        for format in &self.arguments.engine {
            let left = sized.iter().filter(|entry| !lacks(&without, entry, *format));
            let orders = left.map(Order::plain).collect();
            let again = |model: &str| self.arguments.typed([model]);
            // No half precision is measured, so that a device's is not needed.
            let lane = Lane { format: format.on(self.device), ..Lane::default() };
            let exported = export::carry_out(self.spec, orders, lane, Anew::Due, plan.root(), &again)?;
            let failed = exported.into_iter().filter(|one| one.outcome.is_err());
            without.extend(failed.map(|one| (*format, one.model)));
        }
        Ok(without)
    }

    /// Has children measure; one that does not end well loses no more than what it was measuring.
    fn carry_out(&mut self, sized: &[Entry], plan: Plan, jobs: Vec<Job>) -> Result<()> {
        let failures = tempfile::NamedTempFile::new()?;
        let request = Request { plan, jobs, failures: failures.path().to_owned() };
        let start = |items: &[Item], _, journal: &Journal| {
            let left = request.jobs.iter().filter(|job| items.contains(&job.item()));
            worker::start(&Request { jobs: left.cloned().collect(), ..request.clone() }, journal)
        };
        let asked = self.arguments.limits.asked();
        let patience = |entry: &Entry| asked.seconds.or(Some(worker::patience(entry)));
        let limits = |entry: &Entry| Asked { seconds: patience(entry), ..asked }.of(entry);
        let limits: BTreeMap<&str, Limits> =
            sized.iter().map(|entry| (entry.name.as_str(), limits(entry))).collect();
        let (bar, told) = (bar("measuring", request.jobs.len()), Cell::new(0));
        let hear = |over: usize| -> std::io::Result<()> {
            bar.inc(over as u64);
            let lost = lines::<Lost>(&request.failures)?.read;
            bar.suspend(|| lost.iter().skip(told.replace(lost.len())).for_each(tell));
            Ok(())
        };
        let ended = |(model, _): &Item, failure: Failure| {
            let why = [vec![format!("stage {}: {failure}", failure.stage)], failure.details].concat();
            append_to(&request.failures, &Lost { model: model.clone(), why })
        };
        let items = request.jobs.iter().map(Job::item).collect();
        // What cannot be read meanwhile is an error at the end.
        let broken = work(items, &start, &|model| limits[model], &|over| drop(hear(over)), &ended)?;
        hear(0)?;
        bar.finish_and_clear();
        self.lost += told.get() + broken.len();
        for broken in broken {
            println!("\n{}\n{}", broken.said, broken.why);
        }
        Ok(())
    }

    /// Shows what was measured of forwards since a place in the file, and puts all that is known into a table.
    fn measured(&self, begin: u64) -> Result<()> {
        let mut speeds = lines_since::<Speed>(&speed::path(), begin)?.read;
        speeds.retain(|speed| speed.about.run == report::run());
        speeds.iter().for_each(|speed| tell_left_out(&speed.about.model, &speed.left_out));
        show(tables::all(&speeds))?;
        let csv = speed::path().with_extension("csv");
        let latest = speed::latest(lines(&speed::path())?.read);
        tables::write_csv(&csv, &latest).with_context(|| csv.display().to_string())?;
        let (count, lost, csv) = (speeds.len(), self.lost, csv.display());
        println!("\n{count} measured, {lost} failed; {csv} has everything measured so far");
        Ok(())
    }

    /// Shows what was measured of writing.
    fn written(&self, begin: u64) -> Result<()> {
        let mut speeds = lines_since::<DecodeSpeed>(&decoding::path(), begin)?.read;
        speeds.retain(|speed| speed.about.run == report::run());
        speeds.iter().for_each(|speed| tell_left_out(&speed.about.model, &speed.left_out));
        show(decode::table_of(&speeds))?;
        println!("\n{} measured, {} failed", speeds.len(), self.lost);
        Ok(())
    }
}

/// A model that has no program in a format.
type Without = (Format, String);

/// Whether it is among them. Programs of other formats stand beside the artifact, which has TorchScript: where that failed,
/// so do they.
fn lacks(without: &[Without], entry: &Entry, format: Format) -> bool {
    let is_missing = |(lost, model): &Without| {
        *model == entry.name.as_str() && [format, Format::TorchScript].contains(lost)
    };
    without.iter().any(is_missing)
}

fn tell(lost: &Lost) {
    println!("FAILED {} · {}", lost.model, lost.why.join("\n  "));
}

fn tell_left_out(model: &str, left_out: &[String]) {
    left_out.iter().for_each(|why| println!("left out {model} · {why}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn lists_of_engines_widths_and_threads_are_read_and_repeated() {
        let words =
            "bench bert --engine torchscript,pt2 --width realistic --threads 1,2 --timeout 9".split(' ');
        let arguments = Line::parse_from(words).arguments;
        assert_eq!(arguments.engine, [Format::TorchScript, Format::Pt2]);
        let again = "just bench bert --engine torchscript,pt2 --width realistic --threads 1,2 --timeout 9";
        assert_eq!(arguments.typed(["bert"]).to_string(), again);
        assert_eq!(
            Line::parse_from(["bench", "bert"]).arguments.typed(["bert"]).to_string(),
            "just bench bert"
        );
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for words in ["--threads 0", "--width wide", "--engine onnx", "--decode --compile"] {
            let words = ["bench"].into_iter().chain(words.split(' '));
            assert!(Line::try_parse_from(words.clone()).is_err(), "{words:?}");
        }
    }
}
