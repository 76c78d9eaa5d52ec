//! The command line. Recipes in the justfile call it; every command explains itself with `--help`.

mod command;

use clap::{Parser, Subcommand};
use hf_conformance::process;
use std::process::ExitCode;

/// Proves that HuggingFace models, exported to TorchScript, compute on libtorch what Python computes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the pinned Python environment in .venv, unless it is there
    Setup,
    /// Writes the locks: every package that is installed, with the digests of its files
    Lock,
    /// Exports the models whose entry, pins or exporter changed
    Export(command::export::Arguments),
    /// Loads one exported model, runs it and compares it with eager Python
    Run(command::run::Arguments),
    /// Exports what changed, runs the generated tests and ends with a summary
    Test(command::testing::Options),
    /// Runs the same checks straight from the spec, without compiling generated modules
    Check(command::testing::Options),
    /// Adds an entry for an architecture: finds its class, makes it small, tries it
    Add(command::add::Arguments),
    /// Adds the entries that a batch file names
    Batch(command::batch::Arguments),
    /// Takes entries out of a copy of the spec and adds them anew by name: does the machine write what people did?
    Readd(command::readd::Arguments),
    /// Removes an entry, its generated module and its artifact
    Remove(command::remove::Arguments),
    /// Runs checks for another process of this program
    #[command(hide = true)]
    Worker,
    /// Lists the entries, filtered
    List(command::list::Arguments),
    /// Shows an entry after inheritance, with where each value comes from
    Show(command::show::Arguments),
    /// Checks the spec as the build does, and against the source packages and the roster
    Validate(command::validate::Arguments),
    /// Writes the JSON Schema of the spec's files
    Schema,
    /// Proves a checkpoint and leaves a bundle of programs, tokenizer and certificate
    Certify(command::certify::Arguments),
    /// Checks a bundle that certify left: digests and versions
    Verify(command::verify::Arguments),
    /// Counts how much of the roster is proved by real runs
    Coverage(command::coverage::Arguments),
    /// Prints what the results store holds
    Results(command::results::Arguments),
    /// Puts the results of the machines that shared a run together, and names what is lost
    Merge(command::merge::Arguments),
    /// Says what a run of any size would cost on several machines, by what the last ones did cost here
    Forecast(command::forecast::Arguments),
    /// Prints which model runs where, or what changed since another result set
    Matrix(command::matrix::Arguments),
    /// Writes everything that is known into one HTML file
    Report(command::report::Arguments),
    /// Measures speed and memory on libtorch and in eager Python
    Bench(command::bench::Arguments),
    /// Runs the suite and a pytest suite of the same checks in turns, and compares what they cost
    BenchSuite(command::bench_suite::Arguments),
    /// Says what is missing or stale on this machine and how to repair it
    Doctor,
    /// Plants faults in models and shows which checks catch them
    Faults(command::faults::Arguments),
    /// Runs the comparing checks as on other processors, and shows how near they come to being red
    Portability(command::portability::Arguments),
    /// Tries another version of transformers or torch and says what an upgrade would break
    Radar(command::radar::Arguments),
    /// Traces models without each of their adapters and lists those no longer needed
    Adapters(command::adapters::Arguments),
    /// Lists what transformers computes otherwise with a cache than without one, each with a program that shows it
    Upstream(command::upstream::Arguments),
    /// Ends runs in the middle, starts them twice and starves them, and says whether all is well after it
    #[cfg(unix)]
    Stress(command::stress::Arguments),
    /// Holds somebody's own program, exported by whatever means, to an entry's references
    Judge(command::judge::Arguments),
    /// Runs a model's graph beside itself in float64, operator by operator, and says which is off
    Explain(command::explain::Arguments),
    /// Repeats a model's cases in Python: the exported program against the stored references
    Replay(command::replay::Arguments),
}

fn main() -> ExitCode {
    process::end_with_parent();
    let outcome = match Arguments::parse().command {
        Command::Setup => command::setup::run(),
        Command::Lock => command::lock::run(),
        Command::Export(arguments) => command::export::run(&arguments),
        Command::Run(arguments) => command::run::run(&arguments),
        Command::Test(options) => command::test::run(&options),
        Command::Check(options) => command::check::run(&options),
        Command::Add(arguments) => command::add::run(&arguments),
        Command::Batch(arguments) => command::batch::run(&arguments),
        Command::Readd(arguments) => command::readd::run(&arguments),
        Command::Remove(arguments) => command::remove::run(&arguments),
        Command::List(arguments) => command::list::run(&arguments),
        Command::Show(arguments) => command::show::run(&arguments),
        Command::Validate(arguments) => command::validate::run(&arguments),
        Command::Schema => command::schema::run(),
        Command::Certify(arguments) => command::certify::run(&arguments),
        Command::Verify(arguments) => command::verify::run(&arguments),
        Command::Coverage(arguments) => command::coverage::run(&arguments),
        Command::Results(arguments) => command::results::run(&arguments),
        Command::Merge(arguments) => command::merge::run(&arguments),
        Command::Forecast(arguments) => command::forecast::run(&arguments),
        Command::Matrix(arguments) => command::matrix::run(&arguments),
        Command::Report(arguments) => command::report::run(&arguments),
        Command::Bench(arguments) => command::bench::run(&arguments),
        Command::BenchSuite(arguments) => command::bench_suite::run(&arguments),
        Command::Doctor => command::doctor::run(),
        Command::Faults(arguments) => command::faults::run(&arguments),
        Command::Portability(arguments) => command::portability::run(&arguments),
        Command::Radar(arguments) => command::radar::run(&arguments),
        Command::Adapters(arguments) => command::adapters::run(&arguments),
        Command::Explain(arguments) => command::explain::run(&arguments),
        Command::Replay(arguments) => command::replay::run(&arguments),
        Command::Upstream(arguments) => command::upstream::run(&arguments),
        #[cfg(unix)]
        Command::Stress(arguments) => command::stress::run(&arguments),
        Command::Judge(arguments) => command::judge::run(&arguments),
        Command::Worker => command::worker::run(),
    };
    match (process::interrupted(), outcome) {
        (None, Ok(code)) => code,
        (None, Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        // Whatever went wrong went wrong because of that.
        (Some(signal), outcome) => {
            if outcome.is_err() {
                eprintln!("interrupted; the same command goes on from here");
            }
            ExitCode::from(process::exit_code(signal))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    const RECIPES: &str = include_str!("../justfile");
    const DOCUMENTS: [&str; 4] = [
        include_str!("../README.md"),
        include_str!("../CONTRIBUTING.md"),
        include_str!("../ARCHITECTURE.md"),
        include_str!("../spec/README.md"),
    ];

    /// The names that begin a line and end before parameters, dependencies or the colon.
    fn recipes() -> BTreeSet<&'static str> {
        let heads = RECIPES.lines().filter(|line| line.contains(':') && !line.contains(":="));
        heads.filter_map(|line| line.split([' ', ':']).next()).filter(|name| !name.is_empty()).collect()
    }

    /// The words after each `just` in code of the documents.
    fn documented() -> BTreeSet<&'static str> {
        let after = DOCUMENTS.iter().flat_map(|text| text.split("just ").skip(1).zip(text.split("just ")));
        let typed = after.filter(|(_, before)| before.ends_with(['`', '\n']) || before.ends_with("&& "));
        let words = typed
            .filter_map(|(text, _)| text.split(|end: char| !end.is_ascii_lowercase() && end != '-').next());
        words.filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn every_command_has_a_recipe() {
        let command = Arguments::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let lacking: Vec<&str> =
            shown.map(clap::Command::get_name).filter(|name| !recipes().contains(name)).collect();
        assert!(lacking.is_empty(), "no recipe in the justfile for {lacking:?}");
    }

    #[test]
    fn faults_are_planted_in_a_model_of_every_family() {
        let (_, rest) = RECIPES.split_once("\nfaults *FILTER=\"").unwrap();
        let (models, _) = rest.split_once('"').unwrap();
        let models: BTreeSet<&str> = models.split(' ').collect();
        let spec = super::command::spec().unwrap();
        let planted = spec.entries.iter().filter(|entry| models.contains(entry.name.as_str()));
        let planted: BTreeSet<&str> = planted.map(|entry| entry.family.as_str()).collect();
        let all: BTreeSet<&str> = spec.entries.iter().map(|entry| entry.family.as_str()).collect();
        assert_eq!(all.difference(&planted).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    #[test]
    fn every_documented_recipe_is_there() {
        let documented = documented();
        assert!(documented.contains("run") && documented.contains("matrix"), "{documented:?}");
        let lacking: Vec<_> = documented.difference(&recipes()).copied().collect();
        assert!(lacking.is_empty(), "documented, but not in the justfile: {lacking:?}");
    }
}
