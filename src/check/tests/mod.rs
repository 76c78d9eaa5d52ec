//! The checks on a toy model, without libtorch: green when it is healthy, red for the right reason when not.
//!
//! The toy is a causal language model written in a few lines of Rust. It looks back at unmasked tokens, by their
//! ids and their distance; its references are the same sums in float64, rounded where eager would round.

mod step;

use super::{CheckContext, body};
use crate::artifact::{Artifact, Change, GenerationSettings, Manifest, Parameters, Situation};
use crate::engine::{Device, Engine, Program, Tensor};
use crate::failure::Failure;
use crate::model::{ModelSpec, dynamic, idle};
use crate::report::{About, Record};
use crate::spec::{Axis, Case, Check, Idle};
use crate::task::{Dtype, Task, Text, TextGeneration};
use crate::verdict::Outcome;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

const VOCABULARY: usize = 16;
/// What stands for the digest of the toy's only weight.
const BITS: &str = "1000";
const AXES: &[(Text, Axis)] = &[dynamic("batch", 2, 3), dynamic("sequence", 6, 9)];
const CARD: ModelSpec = ModelSpec {
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

/// What is wrong with a toy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    Weight,
    MaskIgnored,
    FutureSeen,
    TokensIgnored,
    PositionsIgnored,
    LengthBaked,
    RowsMixed,
    Noise,
    Zero,
    NotANumber,
    Double,
    SavedWrong,
    OptimisedWrong,
    HalfWrong,
    OtherBits,
    OtherParameters,
    OneOutputMissing,
    NarrowOutput,
    StaleCache,
    ShortCache,
    Fails,
}

struct Toy {
    fault: Fault,
    dtype: Dtype,
    scale: Mutex<f64>,
    runs: Mutex<usize>,
}

struct ToyEngine(Fault);

impl Toy {
    fn new(fault: Fault) -> Self {
        let scale = if fault == Fault::Weight { 1.001 } else { 1.0 };
        Self { fault, dtype: Dtype::Float32, scale: Mutex::new(scale), runs: Mutex::new(0) }
    }

    /// Logits in float64, `[batch, sequence, vocabulary]`.
    fn logits(&self, ids: &Tensor, mask: &Tensor, positions: &Tensor) -> Vec<f64> {
        let (rows, length) = (ids.shape()[0], ids.shape()[1]);
        let at = |tensor: &Tensor, row, position| tensor.int_at(&[row, position]).unwrap() as f64;
        let scale = *self.scale.lock().unwrap();
        let mut logits = Vec::new();
        for row in 0..rows {
            for t in 0..length {
                for v in 0..VOCABULARY {
                    let seen = if self.fault == Fault::FutureSeen { length } else { t + 1 };
                    let sum: f64 = (0..seen)
                        .filter(|&u| self.fault == Fault::MaskIgnored || at(mask, row, u) == 1.0)
                        .map(|u| {
                            let id = if self.fault == Fault::TokensIgnored { 3.0 } else { at(ids, row, u) };
                            let distance = match self.fault {
                                Fault::PositionsIgnored => 0.0,
                                _ => at(positions, row, t) - at(positions, row, u),
                            };
                            ((id + 1.0) * (v as f64 + 1.0) * 0.37 + 0.3 * distance).sin()
                        })
                        .sum();
                    logits.push(scale * sum);
                }
            }
        }
        logits
    }
}

impl Program for Toy {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let [ids, mask, positions] = inputs else { unreachable!("the toy has three inputs") };
        let (rows, length) = (ids.shape()[0], ids.shape()[1]);
        let mut logits = self.logits(ids, mask, positions);
        let mut runs = self.runs.lock().unwrap();
        *runs += 1;
        match self.fault {
            Fault::Fails => {
                return Err(Failure::new(crate::failure::Stage::Run, "the program failed: out of toys"));
            }
            Fault::OneOutputMissing => return Ok(Vec::new()),
            Fault::Noise => logits[0] += 1e-7 * *runs as f64,
            Fault::Zero => logits.fill(0.0),
            Fault::NotANumber => logits[5] = f64::NAN,
            Fault::HalfWrong if self.dtype == Dtype::Bfloat16 => {
                logits.iter_mut().for_each(|value| *value *= 1.1)
            }
            Fault::LengthBaked if length > 6 => logits[6 * VOCABULARY..].fill(0.25),
            Fault::RowsMixed => {
                let mean = logits.iter().sum::<f64>() / logits.len() as f64;
                logits.iter_mut().for_each(|value| *value += 1e-3 * mean);
            }
            _ => {}
        }
        let dtype = if self.fault == Fault::Double { Dtype::Float64 } else { self.dtype };
        let width = if self.fault == Fault::NarrowOutput { VOCABULARY - 1 } else { VOCABULARY };
        logits.truncate(rows * length * width);
        let logits = Tensor::float(dtype, &[rows, length, width], logits).unwrap().cast(dtype);
        Ok(vec![logits])
    }

    fn served(&self, inputs: &[Tensor], _: usize) -> Result<Vec<Tensor>, Failure> {
        let wrong = if self.fault == Fault::OptimisedWrong { 1e-3 } else { 0.0 };
        self.perturb("", 0, wrong)?;
        self.run(inputs)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        let name = if self.fault == Fault::OtherParameters { "model.other" } else { "model.layers.0.scale" };
        Ok(vec![(name.to_owned(), vec![1, 1])])
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        let wrong = if self.fault == Fault::SavedWrong { 0.5 } else { 0.0 };
        std::fs::write(path, (*self.scale.lock().unwrap() + wrong).to_string()).unwrap();
        Ok(())
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        let bits = if self.fault == Fault::OtherBits { "1001" } else { BITS };
        Ok(names.iter().map(|name| (name.clone(), bits.to_owned())).collect())
    }

    fn parameter(&self, _: &str) -> Result<Tensor, Failure> {
        Ok(Tensor::float(Dtype::Float32, &[1], vec![*self.scale.lock().unwrap()]).unwrap())
    }

    fn perturb(&self, _: &str, _: usize, delta: f64) -> Result<(), Failure> {
        *self.scale.lock().unwrap() += delta;
        Ok(())
    }
}

impl Engine for ToyEngine {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn load(&self, path: &Path, _: Device) -> Result<Box<dyn Program>, Failure> {
        let mut toy = Toy::new(self.0);
        if path.ends_with("program.decode.pt") {
            return Ok(Box::new(step::Step(toy)));
        }
        if path.ends_with("program.bfloat16.pt") {
            toy.dtype = Dtype::Bfloat16;
        } else {
            // A saved copy; the artifact's own program is no file.
            let saved = std::fs::read_to_string(path).ok().map(|scale| scale.parse().unwrap());
            saved.into_iter().for_each(|scale| toy.scale = Mutex::new(scale));
        }
        Ok(Box::new(toy))
    }
}

/// Ids, mask and positions of a case; the second row begins with padding.
fn inputs(rows: usize, length: usize) -> Vec<Tensor> {
    let padding = |row: usize| if row == 1 { 2 } else { 0 };
    let int = |f: &dyn Fn(usize, usize) -> usize| {
        let values = (0..rows * length).map(|i| f(i / length, i % length) as i64).collect();
        Tensor::int(Dtype::Int64, &[rows, length], values).unwrap()
    };
    vec![
        int(&|row, t| if t < padding(row) { 0 } else { (5 * row + 7 * t + 3) % 13 + 1 }),
        int(&|row, t| usize::from(t >= padding(row))),
        int(&|row, t| t.saturating_sub(padding(row))),
    ]
}

const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "position_ids"];

/// What checks do to the traced case, and the inputs that come of it.
fn situations() -> Vec<(Situation, Vec<Tensor>)> {
    let traced = inputs(2, 6);
    let made = |name: &str, change: Change, inputs: Vec<Tensor>| {
        (Situation { name: name.to_owned(), change }, inputs)
    };
    let row = |row: usize| traced.iter().map(|input| input.select(0, &[row])).collect();
    let padded = traced.iter().map(|input| input.padded(1, 3, 0, 0.0)).collect();
    let padding = Change::Padding {
        mask: "attention_mask".to_owned(),
        axis: "sequence".to_owned(),
        before: 3,
        after: 0,
    };
    let mut changed = traced.clone();
    changed[0] = changed[0].map_int(|index, token| if index[1] == 5 { token % 13 + 1 } else { token });
    vec![
        made("row-0", Change::Row { row: 0 }, row(0)),
        made("row-1", Change::Row { row: 1 }, row(1)),
        made("padding", padding, padded),
        made("token", Change::Token { input: "input_ids".to_owned() }, changed),
    ]
}

/// What the exporter stores of a case or situation: inputs, references, and by how much eager rounds them.
fn stored(name: &str, inputs: Vec<Tensor>) -> BTreeMap<String, Tensor> {
    let healthy = Toy::new(Fault::Nothing);
    let (rows, length) = (inputs[0].shape()[0], inputs[0].shape()[1]);
    let shape = [rows, length, VOCABULARY];
    let logits = healthy.logits(&inputs[0], &inputs[1], &inputs[2]);
    let exact = Tensor::float(Dtype::Float64, &shape, logits).unwrap();
    let mut tensors = BTreeMap::new();
    for dtype in [Dtype::Float64, Dtype::Float32, Dtype::Bfloat16] {
        let rounded = exact.cast(dtype);
        let pairs = exact.to_f64().into_iter().zip(rounded.to_f64()).enumerate();
        // What the mask hides is not compared.
        let hidden =
            |i: usize| inputs[1].int_at(&[i / VOCABULARY / length, i / VOCABULARY % length]) == Some(0);
        let off = pairs.map(|(i, (a, b))| if hidden(i) { f64::NAN } else { a - b }).collect();
        let error = Tensor::float(Dtype::Float32, &shape, off).unwrap();
        tensors.insert(format!("{name}/{}/logits", dtype.name()), rounded);
        tensors.insert(format!("{name}/error/{}/logits", dtype.name()), error);
    }
    let named = INPUTS.iter().zip(inputs).map(|(input, tensor)| (format!("{name}/input/{input}"), tensor));
    tensors.extend(named);
    tensors
}

/// What the exporter would have written for a healthy toy.
fn artifact() -> Artifact {
    let healthy = Toy::new(Fault::Nothing);
    let case = |name: &str, batch: usize, sequence: usize| Case {
        name: name.to_owned(),
        sizes: [("batch".to_owned(), batch), ("sequence".to_owned(), sequence)].into(),
    };
    let cases = vec![case("traced", 2, 6), case("batch", 3, 6), case("sequence", 2, 9)];
    let mut tensors = BTreeMap::new();
    for case in &cases {
        tensors.extend(stored(&case.name, inputs(case.sizes["batch"], case.sizes["sequence"])));
    }
    let (situations, changed): (Vec<_>, Vec<_>) = situations().into_iter().unzip();
    for (situation, inputs) in situations.iter().zip(changed) {
        tensors.extend(stored(&situation.name, inputs));
    }
    for (name, input) in INPUTS.iter().zip(inputs(2, 6)) {
        tensors.insert(format!("generate/input/{name}"), input);
    }
    let generated = Tensor::int(Dtype::Int64, &[2, 3], greedy(&healthy, 3)).unwrap();
    tensors.insert("generate/tokens".to_owned(), generated);
    let (written, row) = step::row(&healthy);
    tensors.extend(stored("decode", row));
    tensors.insert("decode/tokens".to_owned(), written);
    let manifest = Manifest {
        key: String::new(),
        model: "toy".to_owned(),
        task: "text-generation".to_owned(),
        class: "ToyForCausalLM".to_owned(),
        module: "toys".to_owned(),
        model_type: None,
        model_types: Vec::new(),
        checkpoint: None,
        weights: "random".to_owned(),
        seed: 0,
        versions: BTreeMap::new(),
        dims: [("vocabulary".to_owned(), VOCABULARY)].into(),
        inputs: INPUTS.map(str::to_owned).to_vec(),
        outputs: vec!["logits".to_owned()],
        attention: vec!["eager".to_owned()],
        layers: vec!["layers.0".to_owned()],
        cases,
        situations,
        parameters: Parameters {
            count: 1,
            tensors: [("model.layers.0.scale".to_owned(), vec![1, 1])].into(),
        },
        digests: ["float32", "bfloat16"]
            .map(|dtype| {
                (dtype.to_owned(), BTreeMap::from([("model.layers.0.scale".to_owned(), BITS.to_owned())]))
            })
            .into(),
        idle: Vec::new(),
        seconds: 0.0,
        generation: Some(GenerationSettings { eos: None, pad: 0, start: None, new_tokens: 3 }),
        decoding: Some(step::decoding()),
        adapters: Vec::new(),
        differences: Vec::new(),
        files: BTreeMap::new(),
    };
    Artifact::in_memory(manifest, tensors)
}

/// Greedy decoding written a second time, in the plainest way: rows of new tokens, one after the other.
fn greedy(toy: &Toy, steps: usize) -> Vec<i64> {
    let start = inputs(2, 6);
    let mut tokens = Vec::new();
    for row in 0..2 {
        let mut context = start.iter().map(|input| input.select(0, &[row])).collect::<Vec<_>>();
        for _ in 0..steps {
            let length = context[0].shape()[1];
            let logits = toy.logits(&context[0], &context[1], &context[2]);
            let last = &logits[(length - 1) * VOCABULARY..];
            let best = (0..VOCABULARY).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap() as i64;
            let position = context[2].int_at(&[0, length - 1]).unwrap() + 1;
            for (tensor, value) in context.iter_mut().zip([best, 1, position]) {
                *tensor = tensor.padded(1, 0, 1, value as f64);
            }
            tokens.push(best);
        }
    }
    tokens
}

/// The outcome of a check on a toy with that fault.
fn outcome(fault: Fault, check: Check) -> Result<(), Failure> {
    let (artifact, program, engine) = (artifact(), Toy::new(fault), ToyEngine(fault));
    let contract = TextGeneration::CONTRACT;
    let context = CheckContext {
        card: &CARD,
        contract: &contract,
        artifact: &artifact,
        program: &program,
        engine: &engine,
        device: Device::Cpu,
    };
    body(check)(&context).map(drop)
}

/// What `every_parameter` says of a toy with these idle parameters and reasons.
fn idle_outcome(idle: &[&str], excuses: &[Idle]) -> Result<(), String> {
    let (mut artifact, program, engine) = (artifact(), Toy::new(Fault::Nothing), ToyEngine(Fault::Nothing));
    artifact.manifest.idle = idle.iter().map(|name| (*name).to_owned()).collect();
    let card = ModelSpec { idle: excuses, ..CARD };
    let contract = TextGeneration::CONTRACT;
    let context = CheckContext {
        card: &card,
        contract: &contract,
        artifact: &artifact,
        program: &program,
        engine: &engine,
        device: Device::Cpu,
    };
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
        assert_eq!(outcome(Fault::Nothing, check), Ok(()), "{}", check.name());
    }
}

#[test]
fn outputs_of_another_shape_fail_where_they_are_compared_and_panic_nowhere() {
    let failed = Check::ALL.into_iter().filter(|check| outcome(Fault::NarrowOutput, *check).is_err());
    let failed: Vec<&str> = failed.map(Check::name).collect();
    for check in ["output_contract", "matches_reference", "generalises", "optimised", "half"] {
        assert!(failed.contains(&check), "{check} is not among {failed:?}");
    }
}

#[test]
fn every_fault_turns_its_check_red_and_reads_well() {
    let expected = [
        (Fault::Weight, Check::MatchesReference),
        (Fault::MaskIgnored, Check::PaddingInvariant),
        (Fault::FutureSeen, Check::Causal),
        (Fault::TokensIgnored, Check::Responsive),
        (Fault::PositionsIgnored, Check::Responsive),
        (Fault::LengthBaked, Check::Generalises),
        (Fault::RowsMixed, Check::BatchInvariant),
        (Fault::Noise, Check::Deterministic),
        (Fault::Zero, Check::Responsive),
        (Fault::NotANumber, Check::OutputContract),
        (Fault::Double, Check::OutputContract),
        (Fault::SavedWrong, Check::Reloads),
        (Fault::OptimisedWrong, Check::Optimised),
        (Fault::HalfWrong, Check::Half),
        (Fault::OtherParameters, Check::Loads),
        (Fault::OtherBits, Check::Loads),
        (Fault::MaskIgnored, Check::Generates),
        (Fault::StaleCache, Check::Decodes),
        (Fault::ShortCache, Check::Decodes),
        (Fault::OneOutputMissing, Check::MatchesReference),
        (Fault::Fails, Check::MatchesReference),
    ];
    let mut texts = Vec::new();
    for (fault, check) in expected {
        let Err(failure) = outcome(fault, check) else { panic!("{} misses {fault:?}", check.name()) };
        let outcome = Outcome::Failed(failure);
        let contract = TextGeneration::CONTRACT;
        let about = About {
            card: &CARD,
            contract: &contract,
            check,
            engine: None,
            device: Some(Device::Cpu),
            manifest: None,
        };
        let record = Record::new(&about, &outcome, &[], Duration::ZERO);
        texts.push(format!("# {fault:?}\n{}", record.failure_text()));
    }
    snapshot("check_failures", &texts.join("\n\n"));
}

#[test]
fn checks_other_than_those_that_see_a_fault_stay_green() {
    let red = |fault: Fault| {
        let checks = Check::ALL.into_iter().filter(|check| outcome(fault, *check).is_err());
        checks.map(Check::name).collect::<Vec<_>>()
    };
    assert_eq!(red(Fault::SavedWrong), ["reloads"]);
    assert_eq!(red(Fault::HalfWrong), ["half"]);
    assert_eq!(red(Fault::OtherParameters), ["loads"]);
    assert_eq!(red(Fault::OtherBits), ["loads", "half", "decodes"]);
    assert_eq!(red(Fault::Double), ["output_contract"]);
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
