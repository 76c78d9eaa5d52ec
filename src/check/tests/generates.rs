//! Greedy decoding at its ends: the end token, the padding after it, the early stop, the start token.

use super::artifact::{INPUTS, artifact, inputs, written};
use super::outcome_of;
use super::toy::{Toy, ToyFault};
use crate::artifact::{Artifact, GenerationSettings};
use crate::numerics::Tensor;
use crate::spec::Check;
use crate::task::Dtype;

const NEW: usize = 6;
/// No token that the toy reads or writes.
const PAD: i64 = 0;

/// What a healthy toy writes after these prompts, row by row, were there no end.
fn endless(prompts: &[Tensor]) -> Vec<Vec<i64>> {
    written(&Toy::new(ToyFault::Nothing), prompts, NEW).chunks(NEW).map(<[i64]>::to_vec).collect()
}

/// Every row up to its first end token, then padding, as wide as the longest.
fn cut(rows: &[Vec<i64>], eos: i64) -> Vec<Vec<i64>> {
    let length = |row: &Vec<i64>| row.iter().position(|&token| token == eos).map_or(NEW, |place| place + 1);
    let width = rows.iter().map(length).max().unwrap();
    let padded =
        |row: &Vec<i64>| (0..width).map(|step| if step < length(row) { row[step] } else { PAD }).collect();
    rows.iter().map(padded).collect()
}

/// An artifact whose Python wrote these rows after these prompts.
fn wrote(prompts: &[Tensor], rows: &[Vec<i64>], eos: Option<i64>, start: Option<i64>) -> Artifact {
    let mut artifact = artifact();
    for (name, prompt) in INPUTS.iter().zip(prompts) {
        artifact.replace(&format!("generate/input/{name}"), prompt.clone());
    }
    let tokens = Tensor::int(Dtype::Int64, &[rows.len(), rows[0].len()], rows.concat()).unwrap();
    artifact.replace("generate/tokens", tokens);
    artifact.manifest.generation = Some(GenerationSettings { eos, pad: PAD, start, new_tokens: NEW });
    artifact
}

fn outcome(artifact: &Artifact) -> Result<(), String> {
    outcome_of(artifact, ToyFault::Nothing, Check::Generates).map_err(|failure| failure.message)
}

#[test]
fn a_row_that_has_ended_is_padded_while_the_other_goes_on() {
    let prompts = inputs(2, 6);
    let rows = endless(&prompts);
    let eos = *rows[0].iter().find(|token| !rows[1].contains(token)).expect("rows differ");
    let cut = cut(&rows, eos);
    assert_eq!(outcome(&wrote(&prompts, &cut, Some(eos), None)), Ok(()));
    // The same tokens of a class that does not end there, or fills up with something else.
    assert!(
        outcome(&wrote(&prompts, &cut, None, None)).unwrap_err().starts_with("row 0 leaves Python's tokens")
    );
    let mut other = wrote(&prompts, &cut, Some(eos), None);
    other.manifest.generation.as_mut().unwrap().pad = 15;
    assert!(outcome(&other).unwrap_err().starts_with("row 0 leaves Python's tokens"));
}

#[test]
fn decoding_stops_once_all_rows_have_ended() {
    let prompts: Vec<Tensor> = inputs(2, 6).iter().map(|input| input.select(0, &[0, 0])).collect();
    let rows = endless(&prompts);
    let cut = cut(&rows, rows[0][1]);
    assert!(cut[0].len() < NEW, "{cut:?}");
    assert_eq!(outcome(&wrote(&prompts, &cut, Some(rows[0][1]), None)), Ok(()));
    let on = format!("row 0 leaves Python's tokens at new token {}", cut[0].len());
    assert_eq!(outcome(&wrote(&prompts, &rows, Some(rows[0][1]), None)), Err(on));
}

#[test]
fn a_decoder_that_starts_from_nothing_gets_its_start_token() {
    let start = 5;
    let one = |value: i64| Tensor::int(Dtype::Int64, &[2, 1], vec![value; 2]).unwrap();
    let rows = endless(&[one(start), one(1), one(0)]);
    // What stands there in the artifact is not read.
    let stored = [one(9), one(1), one(0)];
    assert_eq!(outcome(&wrote(&stored, &rows, None, Some(start))), Ok(()));
    let failure = outcome(&wrote(&stored, &rows, None, None)).unwrap_err();
    assert!(failure.starts_with("row 0 leaves Python's tokens"), "{failure}");
}
