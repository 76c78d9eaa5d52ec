//! `check`: the checks of `test`, straight from the spec, without compiling generated modules.
//!
//! For the moment between writing an entry and building, and for machines that have this binary and no compiler.

use super::testing::{Options, begin, end};
use super::{progress::bar, spec};
use anyhow::Result;
use hf_conformance::engine;
use hf_conformance::report::cost::{self, Step};
use hf_conformance::runner::carry_out;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the checks of the entries that the filters mean; a failure is exit code 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let spec = spec()?;
    let run = begin(&spec, options)?;
    if let Some(engine) = engine::real() {
        let (bar, checking) = (bar("checking", run.planned.len()), Instant::now());
        carry_out(&run, engine, |checks| bar.inc(checks as u64))?;
        bar.finish_and_clear();
        cost::keep(Step::Check, run.models(), checking.elapsed())?;
    }
    end(run, None, options.strict, started.elapsed())
}
