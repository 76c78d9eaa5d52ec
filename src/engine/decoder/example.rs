//! Decodes with the step program that `just export gpt2` made: prompts first, then a token a step.

use hf_conformance::device::Device;
use hf_conformance::engine::{Decoder, TorchScript, largest_at_end};
use hf_conformance::numerics::Tensor;
use hf_conformance::task::Dtype;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let decoder = Decoder::open("artifacts/gpt2".as_ref(), &TorchScript, Device::Cpu)?;
    let mut cache = decoder.empty(2)?;
    let mut tokens = Tensor::int(Dtype::Int64, &[2, 4], vec![17, 9, 3, 40, 23, 8, 51, 6])?;
    for _ in 0..20 {
        let logits = &decoder.read(&mut cache, &tokens)?[0];
        let next = largest_at_end(logits)?;
        println!("{next:?} after {} tokens", cache.read());
        tokens = Tensor::int(Dtype::Int64, &[2, 1], next)?;
    }
    Ok(())
}
