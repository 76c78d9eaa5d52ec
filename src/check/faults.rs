//! Planted faults: the proof that the checks can fail.
//!
//! In: a healthy model. Out: the same model with one thing wrong, in its program, its weights, its stored inputs
//! or its references. Every fault has a check that exists to catch it; others may catch it as well.

use super::{CheckContext, Session, body};
use crate::artifact::{Artifact, Decoding, Format, Lane};
use crate::device::Device;
use crate::engine::{self, Engine, Program};
use crate::failure::{At, Failure, Stage};
use crate::model::ModelSpec;
use crate::numerics::Tensor;
use crate::spec::{Check, Entry};
use crate::task::{Contract, Dtype};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One way in which a model can be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What is wrong, in a few words; the exporter's name for faults of the program.
    pub name: String,
    /// The check that must turn red.
    pub target: Check,
    pub plant: Plant,
}

/// Where a fault is planted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plant {
    /// In the program, by the exporter.
    Program,
    /// In one weight, which is made larger by this much.
    Weight(f64),
    /// In one weight, by a unit in its last place.
    LastPlace,
    /// In the saved copy of the program.
    Saved,
    /// In what the engine makes of a program in use.
    Optimised,
    /// In the stored rows of the inputs: their order.
    Inputs,
    /// In one value of the eager references.
    Reference,
    /// In the graph, by a billionth: what float32 cannot show.
    Slight(Slight),
    /// In the last token that Python generated.
    Tokens,
    /// In the class that the manifest names.
    Class,
}

/// What of a graph is off by a billionth of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slight {
    /// One weight.
    Weight,
    /// All weights of one matrix, and so the product that it is a factor of.
    Product,
    /// One factor that is written in the graph.
    Constant,
    /// One weight of the graphs that decode, and none of the model's own.
    Step,
}

/// That billionth, which only float64 can show: a sixtieth of what float32 rounds.
const SLIGHT: f64 = 1e-9;

/// Faults of the program that suit every task; the exporter says where one has nothing to take hold of.
const PROGRAM: &[(&str, Check)] = &[
    ("mask-ignored", Check::PaddingInvariant),
    ("rows-swapped", Check::MatchesReference),
    ("positions-shifted", Check::MatchesReference),
    ("causal-mask-removed", Check::Causal),
    ("length-baked", Check::Generalises),
    ("batch-baked", Check::Generalises),
    ("last-layer-dropped", Check::Loads),
    ("output-bfloat16", Check::MatchesReference),
    ("output-dtype", Check::OutputContract),
    ("outputs-reordered", Check::MatchesReference),
    ("batch-leak", Check::BatchInvariant),
    ("noise", Check::Deterministic),
    ("half-layer-dropped", Check::Half),
    ("eager-layer-dropped", Check::MatchesReference),
    ("zero-output", Check::Responsive),
    ("spare-parameter", Check::EveryParameter),
    ("nan-output", Check::OutputContract),
    ("cache-key-stale", Check::Decodes),
    ("cache-rows-swapped", Check::Decodes),
    ("cache-window-off", Check::Decodes),
    ("cache-position-shifted", Check::Decodes),
    ("cache-mask-short", Check::Decodes),
    ("cross-key-stale", Check::Decodes),
    ("cross-rows-swapped", Check::Decodes),
    ("seen-stale", Check::Decodes),
    ("seen-delta-off", Check::Decodes),
];

/// Faults of everything else.
const OTHER: &[(&str, Check, Plant)] = &[
    ("one weight + 1 ulp", Check::Loads, Plant::LastPlace),
    ("one weight + 1e-3", Check::MatchesReference, Plant::Weight(1e-3)),
    ("saved copy differs", Check::Reloads, Plant::Saved),
    ("optimised wrongly", Check::Optimised, Plant::Optimised),
    ("one weight + 1e-9 of it", Check::Exact, Plant::Slight(Slight::Weight)),
    ("one product + 1e-9 of it", Check::Exact, Plant::Slight(Slight::Product)),
    ("one constant + 1e-9 of it", Check::Exact, Plant::Slight(Slight::Constant)),
    ("a step's weight + 1e-9 of it", Check::Exact, Plant::Slight(Slight::Step)),
    ("input rows swapped", Check::MatchesReference, Plant::Inputs),
    ("references off by 1e-3", Check::MatchesReference, Plant::Reference),
    ("another last token", Check::Generates, Plant::Tokens),
    ("another class", Check::Loads, Plant::Class),
];

/// Every fault to try on an entry's programs of a format; its inputs are disconnected one by one.
pub fn faults(entry: &Entry, format: Format) -> Vec<Fault> {
    let program = PROGRAM.iter().map(|(name, target)| ((*name).to_owned(), *target));
    let disconnected =
        entry.inputs.iter().map(|input| (format!("input-disconnected:{}", input.name), Check::Responsive));
    let in_program =
        program.chain(disconnected).map(|(name, target)| Fault { name, target, plant: Plant::Program });
    let other = OTHER.iter().map(|(name, target, plant)| Fault {
        name: (*name).to_owned(),
        target: *target,
        plant: *plant,
    });
    let due = Vec::from_iter(format.due(entry));
    in_program.chain(other).filter(|fault| due.contains(&fault.target)).collect()
}

/// A model with a fault, ready to be checked.
pub struct FaultyModel {
    session: Session<'static>,
    plant: Plant,
    /// In the place of the session's own engine, where that is at fault.
    engine: Option<Box<dyn Engine>>,
}

impl FaultyModel {
    /// The model in `folder` (healthy, or with the fault already in its program) with the fault planted.
    ///
    /// # Errors
    /// Any stage: what cannot even be loaded is caught by that, unless it is [`Failure::not_applicable`].
    pub fn new(
        folder: &Path,
        model: &ModelSpec,
        fault: &Fault,
        engine: &'static dyn Engine,
        device: Device,
    ) -> Result<Self, Failure> {
        let session = Session::open(folder, model, engine, Lane::new(engine.format(), device))?;
        Self::planted(session, fault.plant)
    }

    /// The same of a model that is open.
    pub(super) fn planted(mut session: Session<'static>, plant: Plant) -> Result<Self, Failure> {
        let weight = || Weight::of(&session.artifact, session.program.as_ref());
        let mut engine: Option<Box<dyn Engine>> = None;
        match plant {
            Plant::Program => {}
            Plant::Weight(delta) => change_weight(&session, |_| delta)?,
            Plant::LastPlace => change_weight(&session, |value| value * f64::from(f32::EPSILON))?,
            Plant::Saved => {
                let weight = weight()?;
                session.program =
                    Box::new(Unfaithful { weight, program: session.program, when: When::Saved });
            }
            Plant::Optimised => {
                engine = Some(Box::new(Spoiling { engine: session.engine, weight: weight()? }));
            }
            Plant::Slight(slight) => engine = Some(Box::new(Slipping::of(&session, slight)?)),
            Plant::Inputs => swap_rows(&mut session.artifact)?,
            Plant::Reference => shift_reference(&mut session.artifact)?,
            Plant::Tokens => shift_token(&mut session.artifact)?,
            Plant::Class => session.artifact.manifest.class.push_str("Fast"),
        }
        Ok(Self { session, plant, engine })
    }

    /// The faulty model, ready to be checked.
    pub fn context<'a>(&'a self, model: &'a ModelSpec<'a>, contract: &'a Contract) -> CheckContext<'a> {
        let context = self.session.context(model, contract);
        CheckContext { engine: self.engine.as_deref().unwrap_or(context.engine), ..context }
    }

    /// Those of the checks that turn red.
    ///
    /// # Errors
    /// Why the fault is none here, in words: it has nothing to take hold of, or moves no output.
    pub fn caught(
        &self,
        model: &ModelSpec,
        contract: &Contract,
        checks: impl Iterator<Item = Check>,
    ) -> Result<BTreeSet<Check>, String> {
        let context = self.context(model, contract);
        let mut red = BTreeSet::new();
        for check in checks {
            if let Err(failure) = body(check)(&context) {
                if let Some(why) = failure.refusal() {
                    return Err(why.to_owned());
                }
                red.insert(check);
            }
        }
        match self.plant {
            Plant::Slight(slight) if !red.contains(&Check::Exact) && self.is_idle(slight) => {
                Err("it changes no output".to_owned())
            }
            _ => Ok(red),
        }
    }

    /// Whether the program in float64 gives the very bits of the healthy one; of a weight that is another one in steps alone,
    /// whether it would.
    fn is_idle(&self, slight: Slight) -> bool {
        let Session { artifact, engine, .. } = &self.session;
        let slight = if slight == Slight::Step { Slight::Weight } else { slight };
        let Ok(slipping) = Slipping::of(&self.session, slight) else { return false };
        let outputs = |engine: &dyn Engine| {
            let path = artifact.program(Dtype::Float32);
            engine.load_in_float64(&path, artifact.lane.device)?.run(&artifact.inputs("traced")?)
        };
        match (outputs(*engine), outputs(&slipping)) {
            (Ok(healthy), Ok(faulty)) => {
                healthy.iter().zip(&faulty).all(|(healthy, faulty)| healthy.same_bits(faulty))
            }
            _ => false,
        }
    }
}

/// Makes the weight larger by what `by` says of its value.
fn change_weight(session: &Session, by: impl Fn(f64) -> f64) -> Result<(), Failure> {
    let weight = Weight::of(&session.artifact, session.program.as_ref())?;
    session.program.perturb(&weight.parameter, weight.element, by(weight.value))
}

/// The weight that faults change: the largest of the first matrix in the last layer, or of the largest matrix where a
/// model has no list of layers. A small one might not matter.
#[derive(Clone, Debug)]
pub struct Weight {
    pub parameter: String,
    /// Its place in the parameter, row-major.
    pub element: usize,
    pub value: f64,
}

impl Weight {
    /// The weight of a loaded program.
    ///
    /// # Errors
    /// Stage `load` when the model has no matrix.
    pub fn of(artifact: &Artifact, program: &dyn Program) -> Result<Self, Failure> {
        let tensors = &artifact.manifest.parameters.tensors;
        let matrices = || tensors.iter().filter(|(_, shape)| shape.len() > 1);
        let last = artifact.manifest.layers.last().map(|layer| layer.split('#').next().unwrap_or(layer));
        let in_last =
            matrices().find(|(name, _)| last.is_some_and(|last| name.contains(&format!("{last}."))));
        let largest = || matrices().max_by_key(|(_, shape)| shape.iter().product::<usize>());
        let nothing = || Failure::new(Stage::Load, "the model has no matrix to change");
        let (parameter, _) = in_last.or_else(largest).ok_or_else(nothing)?;
        let values = program.parameter(parameter)?.to_f64();
        let by_size = |a: &(usize, f64), b: &(usize, f64)| a.1.abs().total_cmp(&b.1.abs());
        let (element, value) = values.into_iter().enumerate().max_by(by_size).ok_or_else(nothing)?;
        Ok(Self { parameter: parameter.clone(), element, value })
    }
}

/// When a weight is another one.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Saved,
    Served,
}

/// A program with one weight that is another one in its saved copies, or in use.
struct Unfaithful {
    program: Box<dyn Program>,
    weight: Weight,
    when: When,
}

impl Unfaithful {
    /// Does something, with the other weight if it is time for that.
    fn with<T>(&self, when: When, act: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        if self.when != when {
            return act();
        }
        self.perturb(&self.weight.parameter, self.weight.element, 1.0)?;
        let done = act();
        self.perturb(&self.weight.parameter, self.weight.element, -1.0)?;
        done
    }
}

/// An engine that makes something wrong of the programs in use.
struct Spoiling {
    engine: &'static dyn Engine,
    weight: Weight,
}

impl Engine for Spoiling {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        let (program, weight) = (self.engine.load(path, device)?, self.weight.clone());
        Ok(Box::new(Unfaithful { program, weight, when: When::Served }))
    }
}

/// An engine whose programs in float64 are slightly off.
struct Slipping {
    engine: &'static dyn Engine,
    weight: Weight,
    slight: Slight,
}

impl Slipping {
    /// The session's engine, with such a fault of its programs.
    fn of(session: &Session<'static>, slight: Slight) -> Result<Self, Failure> {
        let decodes = matches!(session.artifact.manifest.decoding, Some(Decoding::Program(_)));
        if slight == Slight::Step && !decodes {
            return Err(Failure::not_applicable("nothing is decoded with a cache"));
        }
        let weight = Weight::of(&session.artifact, session.program.as_ref())?;
        Ok(Self { engine: session.engine, weight, slight })
    }

    /// Whether the fault is in the program of that file.
    fn is_in(&self, path: &Path) -> bool {
        let format = self.format();
        let decodes = [format.step(), format.prefill()].iter().any(|file| path.ends_with(file));
        decodes == (self.slight == Slight::Step)
    }
}

impl Engine for Slipping {
    fn format(&self) -> Format {
        self.engine.format()
    }

    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        self.engine.load(path, device)
    }

    fn load_in_float64(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        if self.slight == Slight::Constant && self.is_in(path) {
            return engine::spoilt(path, device, SLIGHT);
        }
        let program = self.engine.load_in_float64(path, device)?;
        if !self.is_in(path) {
            return Ok(program);
        }
        let Weight { parameter, element, value } = &self.weight;
        if self.slight == Slight::Product {
            for (element, value) in program.parameter(parameter)?.to_f64().into_iter().enumerate() {
                program.perturb(parameter, element, SLIGHT * value)?;
            }
        } else {
            program.perturb(parameter, *element, SLIGHT * value)?;
        }
        Ok(program)
    }
}

impl Program for Unfaithful {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        self.program.run(inputs)
    }

    fn served(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Tensor>, Failure> {
        self.with(When::Served, || self.program.served(inputs, count))
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        self.program.parameters()
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        self.program.digests(names)
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        self.with(When::Saved, || self.program.save(path))
    }

    fn parameter(&self, name: &str) -> Result<Tensor, Failure> {
        self.program.parameter(name)
    }

    fn perturb(&self, parameter: &str, element: usize, delta: f64) -> Result<(), Failure> {
        self.program.perturb(parameter, element, delta)
    }
}

fn swap_rows(artifact: &mut Artifact) -> Result<(), Failure> {
    for name in artifact.manifest.inputs.clone() {
        let stored = format!("traced/input/{name}");
        let input = artifact.tensor(&stored)?;
        let backwards: Vec<usize> = (0..input.shape()[0]).rev().collect();
        artifact.replace(&stored, input.select(0, &backwards));
    }
    Ok(())
}

/// One element of the references, by as much as makes a relative L2 error of 1e-3: what is wrong by an absolute 1e-3
/// would be lost in an output of large numbers.
fn shift_reference(artifact: &mut Artifact) -> Result<(), Failure> {
    let output = artifact.manifest.outputs.first().cloned().unwrap_or_default();
    let error = artifact.error("traced", Dtype::Float32, &output)?.to_f64();
    let seen = error.iter().rposition(|error| !error.is_nan());
    for dtype in [Dtype::Float32, Dtype::Float64] {
        let stored = format!("traced/{}/{output}", dtype.name());
        let reference = artifact.tensor(&stored)?;
        let mut values = reference.to_f64();
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        if let Some(value) = seen.and_then(|place| values.get_mut(place)) {
            *value += 1e-3 * norm;
        }
        let shifted = Tensor::float(reference.dtype, reference.shape(), values).at(Stage::Load, &stored)?;
        artifact.replace(&stored, shifted);
    }
    Ok(())
}

fn shift_token(artifact: &mut Artifact) -> Result<(), Failure> {
    let tokens = artifact.tensor("generate/tokens")?;
    let last = tokens.shape()[1] - 1;
    let shifted = tokens.map_int(|index, token| if index[1] == last { token + 1 } else { token });
    artifact.replace("generate/tokens", shifted);
    Ok(())
}
