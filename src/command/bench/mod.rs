//! `bench`: how fast models are on libtorch and in Python.

mod decode;
mod tables;

use super::progress::bar;
use super::{export, failed, select::select, show, spec};
use anyhow::{Context, Result, bail};
use clap::Args;
use hf_conformance::artifact::{Format, Lane};
use hf_conformance::bench::{BenchTarget, EagerProcess, Width, measure};
use hf_conformance::device::Device;
use hf_conformance::engine;
use hf_conformance::export::Order;
use hf_conformance::failure::Failure;
use hf_conformance::model::RuntimeSpec;
use hf_conformance::report::speed::{self, Speed};
use hf_conformance::report::{append_to, lines};
use hf_conformance::spec::{Entry, Spec};
use hf_conformance::typed::Typed;
use indicatif::ProgressBar;
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
    #[arg(long, conflicts_with_all = ["compile", "engine"])]
    decode: bool,
}

impl Arguments {
    /// The `just bench` of these models that repeats this.
    fn typed<'a>(&'a self, filters: impl IntoIterator<Item = &'a str>) -> Typed {
        let list = |words: Vec<String>, default: &str| Some(words.join(",")).filter(|words| words != default);
        let engines =
            list(self.engine.iter().map(|engine| engine.name().to_owned()).collect(), super::TORCHSCRIPT);
        let widths = list(self.width.iter().map(Width::to_string).collect(), Width::Tiny.name());
        let threads = list(self.threads.iter().map(NonZeroU16::to_string).collect(), "1");
        Typed::bench(filters, super::asked(&self.device))
            .option("--engine", engines.as_deref())
            .option("--width", widths.as_deref())
            .option("--threads", threads.as_deref())
            .flag("--compile", self.compile)
            .flag("--decode", self.decode)
    }
}

/// What is measured and where, and what came of it so far.
struct Run<'a> {
    arguments: &'a Arguments,
    device: Device,
    engines: Vec<&'static dyn engine::Engine>,
    /// Each package of classes has a process of its own.
    pythons: BTreeMap<String, EagerProcess>,
    bar: ProgressBar,
    speeds: Vec<Speed>,
    failures: usize,
}

/// Measures one model after the other, keeps every result and ends with tables; a failure is exit code 1.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let entries = select(&spec, &arguments.filter)?;
    let (device, explained) = engine::choose(&arguments.device).map_err(|failure| failed(&failure))?;
    let formats = arguments.engine.iter().map(|format| format.on(device));
    let Some(engines) = formats.map(engine::of).collect() else {
        bail!(
            "this build has no libtorch; use: {}",
            arguments.typed(arguments.filter.iter().map(String::as_str))
        );
    };
    println!("device {explained}");
    let rounds = entries.len() * arguments.width.len() * arguments.threads.len();
    let mut run = Run {
        arguments,
        device,
        engines,
        pythons: BTreeMap::new(),
        bar: bar("measuring", rounds),
        speeds: Vec::new(),
        failures: 0,
    };
    if arguments.decode {
        return run.decode(&spec, &entries);
    }
    for width in &arguments.width {
        run.at_width(&spec, &entries, *width)?;
    }
    run.bar.finish_and_clear();
    show(tables::all(&run.speeds))?;
    let csv = speed::path().with_extension("csv");
    let latest = speed::latest(lines(&speed::path())?.read);
    tables::write_csv(&csv, &latest).with_context(|| csv.display().to_string())?;
    println!(
        "\n{} measured, {} failed; {} has everything measured so far",
        run.speeds.len(),
        run.failures,
        csv.display()
    );
    Ok(if run.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Run<'_> {
    /// Exports what changed, and measures all entries at one width.
    fn at_width(&mut self, spec: &Spec, entries: &[&Entry], width: Width) -> Result<()> {
        let mut sized = Vec::new();
        for entry in entries {
            match width.of(entry) {
                Ok(one) => sized.push(one),
                Err(why) => self.failed(entry, &format!("{width} width: {why}")),
            }
        }
        // Whoever cannot be exported was told of, and is one failure, not one for every number of threads.
        let mut without: Vec<(Format, String)> = Vec::new();
        // Programs of other formats stand beside the artifact, which has TorchScript: where it failed, so do they.
        let lacks = |without: &[(Format, String)], entry: &Entry, format: Format| {
            let is_missing = |(lost, model): &(Format, String)| {
                *model == entry.name.as_str() && [format, Format::TorchScript].contains(lost)
            };
            without.iter().any(is_missing)
        };
        for format in self.engines.iter().map(|engine| engine.format()) {
            let left = sized.iter().filter(|entry| !lacks(&without, entry, format));
            let orders = left.map(Order::plain).collect();
            let again = |model: &str| self.arguments.typed([model]);
            // No half precision is measured, so that a device's is not needed.
            let lane = Lane { format, ..Lane::default() };
            let exported = export::carry_out(spec, orders, lane, false, width.root(), &again)?;
            let failed = exported.into_iter().filter(|one| one.outcome.is_err());
            without.extend(failed.map(|one| (format, one.model)));
        }
        self.failures += without.len();
        for entry in &sized {
            let engines = self.engines.iter().filter(|engine| !lacks(&without, entry, engine.format()));
            let engines: Vec<_> = engines.copied().collect();
            for threads in &self.arguments.threads {
                if !engines.is_empty() {
                    self.one(spec, entry, width, usize::from(threads.get()), &engines)?;
                }
                self.bar.inc(1);
            }
        }
        Ok(())
    }

    /// Measures one model on the engines that it was exported for.
    fn one(
        &mut self,
        spec: &Spec,
        entry: &Entry,
        width: Width,
        threads: usize,
        engines: &[&'static dyn engine::Engine],
    ) -> Result<()> {
        let subject = RuntimeSpec::new(entry, &spec.versions);
        let folder = width.root().join(entry.name.as_str());
        let target = self.target(engines.to_vec(), width, threads);
        match self.with_python(spec, entry, |python| measure(&subject, &folder, &target, python)) {
            Ok(measured) => {
                for (engine, failure) in &measured.failed {
                    self.failed(entry, &format!("{engine}, stage {}: {failure}", failure.stage));
                }
                for speed in measured.speeds {
                    self.measured(speed)?;
                }
            }
            Err(failure) => self.failed(entry, &format!("stage {}: {failure}", failure.stage)),
        }
        Ok(())
    }

    /// Measures how fast all entries write text, and ends with a table; a failure is exit code 1.
    fn decode(mut self, spec: &Spec, entries: &[&Entry]) -> Result<ExitCode> {
        let mut speeds = Vec::new();
        for width in &self.arguments.width {
            speeds.extend(decode::at_width(&mut self, spec, entries, *width)?);
        }
        self.bar.finish_and_clear();
        show(decode::table_of(&speeds))?;
        println!("\n{} measured, {} failed", speeds.len(), self.failures);
        Ok(if self.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn target(&self, engines: Vec<&'static dyn engine::Engine>, width: Width, threads: usize) -> BenchTarget {
        BenchTarget { engines, device: self.device, width, threads, compile: self.arguments.compile }
    }

    /// Does something with the Python that has the entry's class.
    fn with_python<T>(
        &mut self,
        spec: &Spec,
        entry: &Entry,
        work: impl FnOnce(&mut EagerProcess) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut python = match self.pythons.remove(&entry.source) {
            Some(python) => python,
            None => EagerProcess::start(&entry.source, &spec.versions)?,
        };
        let done = work(&mut python)?;
        // A process that failed is not asked again: what it still has to say is unknown.
        self.pythons.insert(entry.source.clone(), python);
        Ok(done)
    }

    /// Keeps what was measured, and says what was left out.
    fn measured(&mut self, speed: Speed) -> Result<()> {
        append_to(&speed::path(), &speed)?;
        self.bar.suspend(|| {
            speed.left_out.iter().for_each(|why| println!("left out {} · {why}", speed.about.model))
        });
        self.speeds.push(speed);
        Ok(())
    }

    fn failed(&mut self, entry: &Entry, why: &str) {
        self.failures += 1;
        self.bar.suspend(|| println!("FAILED {} · {why}", entry.name));
    }
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
            ["bench", "bert", "--engine", "torchscript,pt2", "--width", "realistic", "--threads", "1,2"];
        let arguments = Line::parse_from(words).arguments;
        assert_eq!(arguments.engine, [Format::TorchScript, Format::Pt2]);
        let again = "just bench bert --engine torchscript,pt2 --width realistic --threads 1,2";
        assert_eq!(arguments.typed(["bert"]).to_string(), again);
        assert_eq!(
            Line::parse_from(["bench", "bert"]).arguments.typed(["bert"]).to_string(),
            "just bench bert"
        );
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for words in
            ["--threads 0", "--width wide", "--engine onnx", "--decode --compile", "--decode --engine pt2"]
        {
            let words = ["bench"].into_iter().chain(words.split(' '));
            assert!(Line::try_parse_from(words.clone()).is_err(), "{words:?}");
        }
    }
}
