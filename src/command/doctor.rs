//! `doctor`: what is missing or stale, and what to type about it.

use super::{show, spec};
use anyhow::Result;
use hf_conformance::doctor::{Finding, Health, examine};
use std::process::ExitCode;

/// Prints every finding; exit code 1 when something needs repair.
pub fn run() -> Result<ExitCode> {
    let findings = examine(&spec()?);
    for finding in &findings {
        show(line(finding))?;
    }
    let repairs = findings.iter().filter(|finding| finding.needs_repair()).count();
    show(format_args!("\n{} looked at, {repairs} to repair", findings.len()))?;
    Ok(if repairs == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A word, what was looked at and what was found; below it what to type.
fn line(finding: &Finding) -> String {
    let (word, advice) = match &finding.state {
        Health::Good => ("good", None),
        Health::Note(advice) => ("note", advice.as_ref()),
        Health::Repair(command) => ("REPAIR", Some(command)),
    };
    let line = format!("{word:<7}{:<18} {}", finding.subject, finding.said);
    advice.map_or(line.clone(), |advice| format!("{line}\n{:26}type: {advice}", ""))
}
