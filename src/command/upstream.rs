//! `upstream`: what transformers itself computes otherwise with a cache than without one.
//!
//! In: the entries that say so where they leave `decodes` out. Out: each with a short program that shows it, just run; exit code
//! 1 where an entry that was asked for has none.

use super::{failed, select::select, spec};
use anyhow::{Result, bail};
use clap::Args;
use hf_conformance::export::upstream::reproduce;
use hf_conformance::spec::{Check, Entry};
use std::process::ExitCode;

/// What a reason has where the fault is a release's own.
const BLAMED: &str = "(transformers ";

#[derive(Args)]
pub struct Arguments {
    /// Models, families or tasks; everything when left out
    filter: Vec<String>,
}

/// Prints every finding with its program; those that no short program shows come with the reason.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let spec = spec()?;
    let selected = select(&spec, &arguments.filter)?;
    let blamed: Vec<&Entry> = selected.into_iter().filter(|entry| reason(entry).is_some()).collect();
    if blamed.is_empty() {
        bail!("none of these entries blames transformers for leaving `decodes` out");
    }
    let mut shown = 0;
    reproduce(&spec, &blamed, |model, found| {
        let entry = blamed.iter().find(|entry| entry.name.as_str() == model);
        println!("{model}: {}", entry.and_then(|entry| reason(entry)).unwrap_or_default());
        match found {
            Ok(found) => {
                shown += 1;
                println!(
                    "{}, where it printed {}:\n\n{}",
                    found.way,
                    found.printed,
                    indented(&found.program)
                );
            }
            Err(why) => println!("  not shown: {why}\n"),
        }
    })
    .map_err(|failure| failed(&failure))?;
    println!("{shown} of {} findings shown by a program", blamed.len());
    Ok(if shown == blamed.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why an entry leaves `decodes` out, where transformers is to blame.
fn reason(entry: &Entry) -> Option<&str> {
    entry.omit.get(&Check::Decodes).map(String::as_str).filter(|reason| reason.contains(BLAMED))
}

fn indented(program: &str) -> String {
    program.lines().map(|line| format!("    {line}\n")).collect()
}
