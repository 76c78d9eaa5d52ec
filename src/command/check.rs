//! `check`: the checks of `test`, straight from the spec, without compiling generated modules.
//!
//! For the moment between writing an entry and building, and for machines that have this binary and no compiler.

use super::testing::{Options, begin, end};
use super::{progress::bar, spec};
use anyhow::Result;
use hf_conformance::process;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::runner::{carry_out, worker};
use std::process::ExitCode;
use std::time::Instant;

/// Runs the checks of the entries that the filters mean; a failure is exit code 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let spec = spec()?;
    let mut run = begin(&spec, options)?;
    let (bar, checking) = (bar("checking", run.planned.len()), Instant::now());
    let broken =
        carry_out(&mut run, &worker::start, &options.limits.asked(), &|checks| bar.inc(checks as u64))?;
    bar.finish_and_clear();
    if process::interrupted().is_none() {
        cost::keep(Step::Check, run.models(), checking.elapsed())?;
    }
    end(run, &broken, options.strict, started.elapsed())
}
