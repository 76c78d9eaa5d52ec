//! What the exporter would have written for a healthy toy.

use super::step;
use super::toy::{Toy, ToyFault, VOCABULARY};
use crate::artifact::{Artifact, Change, GenerationSettings, Manifest, Parameters, Situation};
use crate::numerics::Tensor;
use crate::spec::Case;
use crate::task::Dtype;
use std::collections::BTreeMap;

/// What stands for the digest of the toy's only weight.
pub const BITS: &str = "1000";

/// Ids, mask and positions of a case; the second row begins with padding.
pub fn inputs(rows: usize, length: usize) -> Vec<Tensor> {
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

pub const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "position_ids"];

/// What checks do to the traced case, and the inputs that come of it.
pub fn situations() -> Vec<(Situation, Vec<Tensor>)> {
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
pub fn stored(name: &str, inputs: Vec<Tensor>) -> BTreeMap<String, Tensor> {
    let healthy = Toy::new(ToyFault::Nothing);
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
pub fn artifact() -> Artifact {
    let healthy = Toy::new(ToyFault::Nothing);
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
    Artifact::in_memory(manifest(cases, situations), tensors)
}

/// What the exporter would have said of it.
fn manifest(cases: Vec<Case>, situations: Vec<Situation>) -> Manifest {
    Manifest {
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
        attention: vec!["sdpa".to_owned(), "eager".to_owned()],
        layers: vec!["layers.0".to_owned()],
        cases,
        situations,
        parameters: Parameters {
            count: 1,
            tensors: [("model.layers.0.scale".to_owned(), vec![1, 1])].into(),
        },
        digests: ["float32", "eager", "bfloat16"]
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
    }
}

/// Greedy decoding after the prompts of the traced case.
pub fn greedy(toy: &Toy, steps: usize) -> Vec<i64> {
    written(toy, &inputs(2, 6), steps)
}

/// Greedy decoding written a second time, in the plainest way: two rows of new tokens, one after the other.
pub fn written(toy: &Toy, start: &[Tensor], steps: usize) -> Vec<i64> {
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
