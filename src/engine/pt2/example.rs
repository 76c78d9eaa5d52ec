//! Loads a program that `just export bert --engine pt2` made, and runs it: no Python, no spec, no test.

use hf_conformance::device::Device;
use hf_conformance::engine::{Engine, Pt2};
use hf_conformance::numerics::Tensor;
use hf_conformance::task::Dtype;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = Pt2.load("artifacts/bert/program.pt2".as_ref(), Device::Cpu)?;
    let ids = Tensor::int(Dtype::Int64, &[2, 4], vec![2, 17, 9, 3, 2, 40, 3, 0])?;
    let mask = Tensor::int(Dtype::Int64, &[2, 4], vec![1, 1, 1, 1, 1, 1, 1, 0])?;
    let types = Tensor::zeros(Dtype::Int64, &[2, 4]);
    let logits = &program.run(&[ids, mask, types])?[0];
    println!("logits {:?}", logits.shape());
    Ok(())
}
