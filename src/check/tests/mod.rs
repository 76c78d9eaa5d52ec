//! The checks on a toy model, without libtorch: green when it is healthy, red for the right reason when not.
//!
//! The toy is a causal language model written in a few lines of Rust. It looks back at unmasked tokens, by their
//! ids and their distance; its references are the same sums in float64, rounded where eager would round.

mod artifact;
mod generates;
mod step;
mod toy;

use super::faults::{FaultyModel, Plant, Slight};
use super::{CheckContext, Session, body};
use crate::artifact::{Artifact, Lane};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::model::{ModelSpec, dynamic, idle};
use crate::report::{About, Record};
use crate::spec::{Axis, Check, Idle, Waiver};
use crate::task::{Dtype, Task, Text, TextGeneration};
use crate::verdict::Outcome;
use artifact::artifact;
use std::collections::BTreeSet;
use std::time::Duration;
use toy::{Toy, ToyEngine, ToyFault};

const AXES: &[(Text, Axis)] = &[dynamic("batch", 2, 3), dynamic("sequence", 6, 9)];
const SPEC: ModelSpec = ModelSpec {
    name: "toy",
    family: "toys",
    class: "ToyForCausalLM",
    checkpoint: None,
    digest: "0123456789abcdef",
    inputs: TextGeneration::CONTRACT.inputs,
    outputs: TextGeneration::CONTRACT.outputs,
    axes: AXES,
    tolerance: &[],
    idle: &[],
};

/// The outcome of a check on a toy with that fault.
fn outcome(fault: ToyFault, check: Check) -> Result<(), Failure> {
    outcome_of(&artifact(), fault, check)
}

/// The same where the artifact is not the toy's usual one.
fn outcome_of(artifact: &Artifact, fault: ToyFault, check: Check) -> Result<(), Failure> {
    let (program, engine) = (Toy::new(fault), ToyEngine(fault));
    let contract = TextGeneration::CONTRACT;
    body(check)(&CheckContext::new(&SPEC, &contract, artifact, &program, &engine)).map(drop)
}

/// What `every_parameter` says of a toy with these idle parameters and reasons.
fn idle_outcome(idle: &[&str], excuses: &[Idle]) -> Result<(), String> {
    let (mut artifact, program, engine) =
        (artifact(), Toy::new(ToyFault::Nothing), ToyEngine(ToyFault::Nothing));
    artifact.manifest.idle = idle.iter().map(|name| (*name).to_owned()).collect();
    let model = ModelSpec { idle: excuses, ..SPEC };
    let contract = TextGeneration::CONTRACT;
    let context = CheckContext::new(&model, &contract, &artifact, &program, &engine);
    body(Check::EveryParameter)(&context).map(drop).map_err(|failure| failure.message)
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn a_healthy_model_passes_every_check() {
    for check in Check::ALL {
        assert_eq!(outcome(ToyFault::Nothing, check), Ok(()), "{}", check.name());
    }
}

#[test]
fn outputs_of_another_shape_fail_where_they_are_compared_and_panic_nowhere() {
    let failed = Check::ALL.into_iter().filter(|check| outcome(ToyFault::NarrowOutput, *check).is_err());
    let failed: Vec<&str> = failed.map(Check::name).collect();
    for check in ["output_contract", "matches_reference", "generalises", "optimised", "half"] {
        assert!(failed.contains(&check), "{check} is not among {failed:?}");
    }
}

#[test]
fn every_fault_turns_its_check_red_and_reads_well() {
    let expected = [
        (ToyFault::Weight, Check::MatchesReference),
        (ToyFault::MaskIgnored, Check::PaddingInvariant),
        (ToyFault::FutureSeen, Check::Causal),
        (ToyFault::TokensIgnored, Check::Responsive),
        (ToyFault::PositionsIgnored, Check::Responsive),
        (ToyFault::PositionsFaint, Check::Responsive),
        (ToyFault::PositionsHidden, Check::Responsive),
        (ToyFault::PositionsBreak, Check::Responsive),
        (ToyFault::LengthBaked, Check::Generalises),
        (ToyFault::RowsMixed, Check::BatchInvariant),
        (ToyFault::Noise, Check::Deterministic),
        (ToyFault::Zero, Check::Responsive),
        (ToyFault::NotANumber, Check::OutputContract),
        (ToyFault::Double, Check::OutputContract),
        (ToyFault::SavedWrong, Check::Reloads),
        (ToyFault::OptimisedWrong, Check::Optimised),
        (ToyFault::HalfWrong, Check::Half),
        (ToyFault::HalfWrongLater, Check::Half),
        (ToyFault::OtherParameters, Check::Loads),
        (ToyFault::OtherBits, Check::Loads),
        (ToyFault::OtherAttention, Check::Loads),
        (ToyFault::MaskIgnored, Check::Generates),
        (ToyFault::StaleCache, Check::Decodes),
        (ToyFault::ShortCache, Check::Decodes),
        (ToyFault::Slight, Check::Exact),
        (ToyFault::SlightStep, Check::Exact),
        (ToyFault::OneOutputMissing, Check::MatchesReference),
        (ToyFault::Fails, Check::MatchesReference),
    ];
    let mut texts = Vec::new();
    for (fault, check) in expected {
        let Err(failure) = outcome(fault, check) else { panic!("{} misses {fault:?}", check.name()) };
        let outcome = Outcome::Failed(failure);
        let contract = TextGeneration::CONTRACT;
        let about =
            About { model: &SPEC, contract: &contract, check, lane: Some(Lane::default()), manifest: None };
        let record = Record::new(&about, &outcome, &[], Duration::ZERO);
        texts.push(format!("# {fault:?}\n{}", record.failure_text()));
    }
    snapshot("check_failures", &texts.join("\n\n"));
}

#[test]
fn a_half_precision_that_is_worse_than_zeros_is_red_though_the_program_computes_the_same() {
    let mut artifact = artifact();
    let upside_down =
        artifact.reference("traced", Dtype::Float64, "logits").unwrap().map_float(|value| -value);
    artifact.replace("traced/bfloat16/logits", upside_down.cast(Dtype::Bfloat16));
    let failure = outcome_of(&artifact, ToyFault::Nothing, Check::Half).unwrap_err();
    let message = "logits: eager bfloat16 is further from float64 than zeros would be (200 % of the output's size): no yardstick";
    assert_eq!(failure.message, message);
    assert!(failure.lacks_yardstick());
}

#[test]
fn checks_other_than_those_that_see_a_fault_stay_green() {
    let red = |fault: ToyFault| {
        let checks = Check::ALL.into_iter().filter(|check| outcome(fault, *check).is_err());
        checks.map(Check::name).collect::<Vec<_>>()
    };
    assert_eq!(red(ToyFault::SavedWrong), ["reloads"]);
    assert_eq!(red(ToyFault::HalfWrong), ["half"]);
    assert_eq!(red(ToyFault::OtherParameters), ["loads"]);
    assert_eq!(red(ToyFault::OtherBits), ["loads", "half", "decodes"]);
    assert_eq!(red(ToyFault::OtherAttention), ["loads"]);
    assert_eq!(red(ToyFault::Double), ["output_contract"]);
    assert_eq!(red(ToyFault::Slight), ["exact"]);
    assert_eq!(red(ToyFault::SlightStep), ["exact"]);
}

#[test]
fn no_waiver_allows_more_than_the_order_of_sums_without_rounding() {
    let waiver = Waiver {
        check: Check::MatchesReference,
        output: None,
        k: 100.0,
        reason: Text("rounding"),
        issue: None,
        until: None,
    };
    let model = ModelSpec { tolerance: &[waiver], ..SPEC };
    let (artifact, program, engine) = (artifact(), Toy::new(ToyFault::Slight), ToyEngine(ToyFault::Slight));
    let contract = TextGeneration::CONTRACT;
    let context = CheckContext::new(&model, &contract, &artifact, &program, &engine);
    let failure = body(Check::Exact)(&context).unwrap_err();
    assert!(failure.message.ends_with("= 1e-12 of the output's size"), "{}", failure.message);
}

/// The checks that a slight fault in the graph turns red, of a toy with a fault of its own; or why it is none.
fn caught(engine: &'static dyn Engine, slight: Slight) -> Result<BTreeSet<Check>, String> {
    let session = Session { artifact: artifact(), program: Box::new(Toy::new(ToyFault::Nothing)), engine };
    let faulty = FaultyModel::planted(session, Plant::Slight(slight)).unwrap();
    faulty.caught(&SPEC, &TextGeneration::CONTRACT, Check::ALL.into_iter())
}

#[test]
fn a_slight_fault_is_caught_without_rounding_and_by_nothing_else() {
    for slight in [Slight::Weight, Slight::Product, Slight::Step] {
        assert_eq!(caught(&ToyEngine(ToyFault::Nothing), slight), Ok(BTreeSet::from([Check::Exact])));
    }
}

#[test]
fn a_fault_that_changes_no_output_or_has_nothing_to_take_hold_of_is_none() {
    let idle = caught(&ToyEngine(ToyFault::Rigid), Slight::Weight);
    assert_eq!(idle, Err("it changes no output".to_owned()));
    let nothing = caught(&ToyEngine(ToyFault::NothingToPlant), Slight::Weight);
    assert_eq!(nothing, Err("a toy is all of a piece".to_owned()));
}

#[test]
fn a_parameter_that_moves_nothing_needs_a_reason_and_a_reason_needs_a_parameter() {
    let reason = |own| idle("layers.*.key.bias", "softmax takes it away", own);
    let keys = ["layers.0.key.bias", "layers.1.key.bias"];
    assert_eq!(idle_outcome(&keys, &[reason(false)]), Ok(()));
    let unmoved = "1 of 1 parameters move no output, first layers.0.value.bias";
    assert_eq!(
        idle_outcome(&["layers.0.key.bias", "layers.0.value.bias"], &[reason(false)]),
        Err(unmoved.to_owned())
    );
    let spare = "`idle` excuses layers.*.key.bias, and no parameter has such a name";
    assert_eq!(idle_outcome(&[], &[reason(true)]), Err(spare.to_owned()));
    assert_eq!(idle_outcome(&[], &[idle("layers.*.scale", "it is the toy's only one", true)]), Ok(()));
    // What is inherited may concern nothing here.
    assert_eq!(idle_outcome(&[], &[reason(false)]), Ok(()));
}
