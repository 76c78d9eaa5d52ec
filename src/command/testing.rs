//! What `test` and `check` have in common: their options, how a run begins, and what is printed at its end.

use super::{export, failed, limits::Limits, select::select, show, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::CellAlignment;
use hf_conformance::artifact::{self, Format, Lane};
use hf_conformance::engine;
use hf_conformance::export::Anew;
use hf_conformance::process;
use hf_conformance::report::{self, Record, github, told};
use hf_conformance::runner::shard::Shard;
use hf_conformance::runner::{BrokeOff, Ended, TestRun};
use hf_conformance::spec::{Check, Spec};
use hf_conformance::task::Dtype;
use hf_conformance::typed::Typed;
use hf_conformance::verdict::Status;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    /// Models, families, tasks or tiers of the roster; everything when left out
    pub filter: Vec<String>,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, env = "HF_CONFORMANCE_DEVICE", default_value = super::AUTO)]
    pub device: String,
    /// torchscript, pt2 or aot
    #[arg(long, env = "HF_CONFORMANCE_ENGINE", default_value = super::TORCHSCRIPT)]
    pub engine: Format,
    /// The half precision of the check `half`: bfloat16 or float16
    #[arg(long, env = "HF_CONFORMANCE_HALF", default_value = super::BFLOAT16, value_parser = artifact::half)]
    pub half: Dtype,
    /// Only these checks, separated by commas
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub check: Vec<String>,
    /// Checks that were due and did not run are failures too, whatever kept them from it
    #[arg(long, env = "HF_CONFORMANCE_STRICT", value_parser = clap::builder::FalseyValueParser::new())]
    pub strict: bool,
    /// Only this part of the models: the second of four machines runs 2/4
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    #[command(flatten)]
    pub limits: Limits,
}

impl Options {
    /// The `just test` that repeats this.
    fn typed(&self) -> Typed {
        let filters = self.filter.iter().map(String::as_str);
        let checks = (!self.check.is_empty()).then(|| self.check.join(","));
        let typed = Typed::test(filters, checks.as_deref(), super::asked(&self.device))
            .option("--engine", self.engine.option());
        let typed = typed.half(self.half.name());
        let shard = self.shard.map(|shard| shard.to_string());
        self.limits.repeat(typed.flag("--strict", self.strict).option("--shard", shard.as_deref()))
    }
}

/// Chooses models, checks and device, and exports what changed.
///
/// # Errors
/// Unknown models or checks, an absent device, a build without libtorch, no Python environment.
pub fn begin<'a>(spec: &'a Spec, options: &Options) -> Result<TestRun<'a>> {
    let selected = select(spec, &options.filter)?;
    let entries =
        options.shard.map_or_else(|| selected.clone(), |shard| shard.part(selected.iter().copied()));
    if entries.is_empty() {
        bail!("no model is left for this part of {} models: fewer machines will do", selected.len());
    }
    let checks = checks(&options.check)?;
    if engine::real().is_none() {
        bail!("this build has no libtorch; use: {}", options.typed());
    }
    let (device, explained) = engine::choose(&options.device).map_err(|failure| failed(&failure))?;
    println!("device {explained}");
    let lane = Lane::new(options.engine, device).with_half(options.half).map_err(anyhow::Error::msg)?;
    let mut run = TestRun::begin(spec, entries, checks, lane, artifact::root(), report::path());
    run.exported(&export::artifacts(spec, &run.entries, lane, Anew::Due)?)?;
    Ok(run)
}

fn checks(only: &[String]) -> Result<Vec<Check>> {
    if only.is_empty() {
        return Ok(Check::ALL.to_vec());
    }
    let all = || Check::ALL.map(Check::name).join(", ");
    let found = |name: &String| {
        Check::find(name).with_context(|| format!("no check is called '{name}'; there are: {}", all()))
    };
    only.iter().map(found).collect()
}

/// Prints every failure, what the process that ran the checks said if it broke off, a line per model and the closing
/// lines; a run that is not good is exit code 1.
///
/// # Errors
/// The results store or the JUnit report cannot be written.
pub fn end(run: TestRun, broke_off: &[BrokeOff], strict: bool, took: Duration) -> Result<ExitCode> {
    let ended = run.end(broke_off.first().map(|broken| broken.why.as_str()));
    let ended = ended.with_context(|| report::path().display().to_string())?;
    print_told(&ended.records, Status::is_red);
    print_told(&ended.records, |status| status == Status::NotRun);
    tell_ci(&ended)?;
    // A test process whose checks failed does not end well either, and need not say so again.
    for broken in broke_off.iter().filter(|broken| broken.is_news || ended.tally.lost > 0) {
        println!("\n{}\n{}", broken.said, broken.why);
    }
    show(format!("\n{}", summary(&ended)))?;
    print_spare_waivers(&ended);
    show(format!("\n{}", closing(&ended, strict, took)))?;
    Ok(exit_code(&ended, strict))
}

fn exit_code(ended: &Ended, strict: bool) -> ExitCode {
    match ended.interrupt {
        Some(signal) => ExitCode::from(process::exit_code(signal)),
        None if ended.is_good(strict) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// Two lines: what there was, and `N passed, N failed` alone, which programs read. Failed is there whatever makes the
/// exit code 1; of what crashed and timed out the first line tells. One more where the run was interrupted.
fn closing(ended: &Ended, strict: bool, took: Duration) -> String {
    let (run, tally) = (&ended.run, &ended.tally);
    let failed = ended.failed(strict);
    let counted = match failed - tally.red() {
        0 => String::new(),
        count => format!(", {count} of them counted as failed"),
    };
    let interrupted = match ended.interrupt {
        Some(_) => "interrupted: what was not run yet stands as it did before\n",
        None => "",
    };
    let ended_otherwise = [(tally.crashed, "crashed"), (tally.timed_out, "timed out")];
    let ended_otherwise = ended_otherwise.iter().filter(|(count, _)| *count > 0);
    let ended_otherwise: String = ended_otherwise.map(|(count, word)| format!(", {count} {word}")).collect();
    format!(
        "{interrupted}{} checks due on {} models in {:.1} s; {} left out, {} not run{counted}{ended_otherwise}\n\
        {} passed, {failed} failed",
        run.due.len(),
        run.entries.len(),
        took.as_secs_f64(),
        tally.left_out,
        tally.not_run,
        tally.passed
    )
}

/// Every record of such a status; one that stopped all checks of a model in the same way is told once.
fn print_told(records: &[Record], is_such: impl Fn(Status) -> bool) {
    for (record, others) in told(records, is_such) {
        println!("\n{}", record.failure_text());
        if !others.is_empty() {
            println!("  the same stopped: {}", others.join(", "));
        }
    }
}

/// Writes the JUnit report beside the results; in GitHub Actions, puts every failure beside its entry.
fn tell_ci(ended: &Ended) -> Result<()> {
    let path = report::path().with_file_name("junit.xml");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, ended.junit()?).with_context(|| path.display().to_string())?;
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        for (record, _) in told(&ended.records, Status::is_red) {
            let entry = ended.run.entries.iter().find(|entry| entry.name.as_str() == record.model);
            if let Some(entry) = entry {
                println!("{}", github::annotation(record, &entry.place));
            }
        }
    }
    Ok(())
}

/// Looser tolerances that their outputs no longer need, with what to take out of the spec.
fn print_spare_waivers(ended: &Ended) {
    for (entry, waiver) in ended.spare_waivers() {
        let (check, k) = (waiver.check.name(), waiver.k);
        println!(
            "\n{} passes {check} without its looser tolerance; take out of {}:",
            entry.name, entry.place
        );
        println!("    tolerance:\n    - {{check: {check}, k: {k}, …}}");
    }
}

/// A line per model.
fn summary(ended: &Ended) -> String {
    let run = &ended.run;
    let counted = [Status::Passed, Status::Failed, Status::Crashed, Status::TimedOut, Status::NotRun];
    let [passed, failed, crashed, timed_out, not_run] = counted.map(Status::word);
    let header =
        ["model", passed, failed, crashed, timed_out, not_run, "left out", "seconds", "failed checks"];
    let mut rows = table(header);
    if let Some(words) = rows.column_mut(header.len() - 1) {
        words.set_cell_alignment(CellAlignment::Left);
    }
    for entry in &run.entries {
        let name = entry.name.as_str();
        let own: Vec<&Record> = ended.records.iter().filter(|record| record.model == name).collect();
        let of = |status| own.iter().filter(move |record| record.status == status);
        let red = own.iter().filter(|record| record.status.is_red());
        let red: Vec<&str> = red.map(|record| record.check.as_str()).collect();
        let words = match run.broken.contains(name) {
            true => "all: the export failed".to_owned(),
            false => red.join(" "),
        };
        let left_out = run.checks.iter().filter(|check| run.omitted(entry, **check).is_some()).count();
        let seconds = own.iter().fold(0.0, |sum, record| sum + record.seconds);
        let counts = counted.map(|status| of(status).count().to_string());
        let row = std::iter::once(name.to_owned()).chain(counts);
        rows.add_row(row.chain([left_out.to_string(), format!("{seconds:.2}"), words]));
    }
    rows.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hf_conformance::export::{Exported, FaultOf};
    use hf_conformance::failure::{Failure, Stage};

    fn spec() -> Spec {
        hf_conformance::spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// A run of `loads` on bert that ends after its export came to `exported`.
    fn ended<'a>(spec: &'a Spec, fault_of: FaultOf, folder: &Path) -> Ended<'a> {
        let bert = select(spec, &["bert".to_owned()]).unwrap();
        let store = folder.join("results.jsonl");
        let mut run = TestRun::begin(spec, bert, vec![Check::Loads], Lane::default(), folder.into(), store);
        let outcome = Err(Failure::new(Stage::Export, "no"));
        run.exported(&[Exported { model: "bert".to_owned(), fault: None, outcome, fault_of }]).unwrap();
        run.end(None).unwrap()
    }

    #[test]
    fn exit_code_and_closing_line_say_the_same() {
        let (spec, second) = (spec(), Duration::from_secs(1));
        let cases = [
            (FaultOf::Model, false, "0 passed, 1 failed", 0),
            (FaultOf::Environment, false, "0 passed, 0 failed", 1),
            (FaultOf::Environment, true, "0 passed, 1 failed", 1),
            (FaultOf::Exporter, false, "0 passed, 1 failed", 1),
        ];
        for (fault_of, strict, last, not_run) in cases {
            let folder = tempfile::tempdir().unwrap();
            let ended = ended(&spec, fault_of, folder.path());
            let lines = closing(&ended, strict, second);
            let is_good = last.ends_with(" 0 failed");
            assert_eq!(lines.lines().last(), Some(last), "{fault_of:?}");
            assert!(lines.contains(&format!("0 left out, {not_run} not run")), "{lines}");
            assert_eq!(exit_code(&ended, strict) == ExitCode::SUCCESS, is_good, "{fault_of:?}");
        }
    }

    #[test]
    fn a_build_without_libtorch_tells_the_same_command_again() {
        let options = Options {
            filter: vec!["bert".to_owned()],
            device: "cuda:1".to_owned(),
            engine: Format::Pt2,
            half: Dtype::Float16,
            check: vec!["half".to_owned(), "causal".to_owned()],
            strict: true,
            shard: Some(Shard { number: 2, of: 4 }),
            limits: Limits::default(),
        };
        assert_eq!(
            options.typed().to_string(),
            "just test bert --check half,causal --device cuda:1 --engine pt2 --half float16 --strict --shard 2/4"
        );
        assert_eq!(
            Options {
                device: "auto".to_owned(),
                engine: Format::TorchScript,
                half: Dtype::Bfloat16,
                shard: None,
                ..options
            }
            .typed()
            .to_string(),
            "just test bert --check half,causal --strict"
        );
    }

    #[test]
    fn an_unknown_check_is_an_error_that_lists_all() {
        assert_eq!(checks(&[]).unwrap().len(), Check::ALL.len());
        assert!(
            checks(&["half".to_owned(), "looks".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("loads, output_contract")
        );
    }
}
