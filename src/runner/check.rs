//! What generated tests call, a function for each check.
//!
//! In: a [`Model`]. Out: a [`Verdict`], recorded in the results store on the way. The functions only pass the model on,
//! so that seven hundred modules share one compiled copy of every check.

use crate::check::{Session, Settings, body, outcome};
use crate::failure::{Failure, Stage};
use crate::model::{Model, ModelSpec};
use crate::process;
use crate::report::{self, About, Record, journal};
use crate::spec::Check;
use crate::task::{Causal, Contract, Generates, Task};
use crate::verdict::{Outcome, Verdict};
use std::time::Instant;

/// The digests, class and parameters of the artifact are the manifest's.
pub fn loads<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Loads, &model.spec, &T::CONTRACT)
}

/// Types, shapes and ranges of outputs are the task's.
pub fn output_contract<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::OutputContract, &model.spec, &T::CONTRACT)
}

/// Outputs at the traced shape are eager Python's.
pub fn matches_reference<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::MatchesReference, &model.spec, &T::CONTRACT)
}

/// Outputs at a second size of every dynamic axis are eager Python's.
pub fn generalises<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Generalises, &model.spec, &T::CONTRACT)
}

/// Two runs give the same bits.
pub fn deterministic<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Deterministic, &model.spec, &T::CONTRACT)
}

/// A row alone gives what it gives in a batch.
pub fn batch_invariant<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::BatchInvariant, &model.spec, &T::CONTRACT)
}

/// More padding changes nothing at real positions.
pub fn padding_invariant<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::PaddingInvariant, &model.spec, &T::CONTRACT)
}

/// A token changes nothing before it.
pub fn causal<T: Causal>(model: &Model<T>) -> Verdict {
    verdict(Check::Causal, &model.spec, &T::CONTRACT)
}

/// Every input changes some output, no output is constant.
pub fn responsive<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Responsive, &model.spec, &T::CONTRACT)
}

/// Every parameter changes some output, or the entry says why not.
pub fn every_parameter<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::EveryParameter, &model.spec, &T::CONTRACT)
}

/// Saved and loaded again, the program gives the same bits.
pub fn reloads<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Reloads, &model.spec, &T::CONTRACT)
}

/// What libtorch makes of the program in its first runs gives what eager Python does.
pub fn optimised<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Optimised, &model.spec, &T::CONTRACT)
}

/// The half-precision program gives what eager gives in that precision.
pub fn half<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Half, &model.spec, &T::CONTRACT)
}

/// Greedy decoding gives Python's tokens.
pub fn generates<T: Generates>(model: &Model<T>) -> Verdict {
    verdict(Check::Generates, &model.spec, &T::CONTRACT)
}

/// Decoding with a cache gives Python's tokens, and at every step the logits of the row without one.
pub fn decodes<T: Generates>(model: &Model<T>) -> Verdict {
    verdict(Check::Decodes, &model.spec, &T::CONTRACT)
}

/// In float64 the graph gives what eager does in float64.
pub fn exact<T: Task>(model: &Model<T>) -> Verdict {
    verdict(Check::Exact, &model.spec, &T::CONTRACT)
}

/// Runs a check on the process's settings, records the outcome and prints a failure in full.
#[inline(never)]
fn verdict(check: Check, model: &ModelSpec<'static>, contract: &Contract) -> Verdict {
    process::end_with_parent();
    let _begun = journal::begin(model.name, check.name());
    let started = Instant::now();
    let settings = Settings::of_process();
    let session =
        settings.as_ref().map(|settings| settings.as_ref().map(|settings| Session::cached(model, settings)));
    let (outcome, measures) = match &session {
        Ok(Some(Ok(session))) => outcome(body(check)(&session.context(model, contract))),
        Ok(None) => {
            let none = Failure::new(Stage::Load, "this build has no libtorch");
            (Outcome::NotRun(none), Vec::new())
        }
        Ok(Some(Err(failure))) => outcome(Err(failure.clone())),
        // The machine's lack, not the model's.
        Err(failure) => (Outcome::NotRun((*failure).clone()), Vec::new()),
    };
    let lane = settings.as_ref().ok().and_then(Option::as_ref).map(|settings| settings.lane);
    let opened = session.as_ref().ok().and_then(Option::as_ref).and_then(|session| session.as_ref().ok());
    let manifest = opened.map(|session| &session.artifact.manifest);
    let about = About { model, contract, check, lane, manifest };
    let record = Record::new(&about, &outcome, &measures, started.elapsed());
    if outcome.failure().is_some() {
        eprintln!("{}", record.failure_text());
    }
    if let Err(error) = report::append(&record) {
        eprintln!("results were not recorded: {error}");
    }
    Verdict(outcome)
}
