//! `decodes`: with a cache, Rust writes what Python writes, and every step computes what the whole row without one does.

use super::context::{CheckContext, CheckResult, Expectation, dims_of, rows_of};
use super::loads;
use crate::artifact::{CacheAxis, StepProgram};
use crate::engine::{Cache, Decoder, largest_at_end};
use crate::failure::{At, Failure, Stage};
use crate::numerics::{Measure, Tensor};
use crate::spec::Check;
use crate::task::{Dtype, Input, Output};
use std::collections::BTreeMap;

/// Tokens that a chunk after the prompt has: more than one, and fewer than a window.
const CHUNK: usize = 5;

/// The programs have eager's weights, and read the stored row as it was written.
pub fn check(context: &CheckContext) -> CheckResult {
    let decoder = context
        .decoder()
        .map_err(|failure| failure.with("where the class cannot, the entry says so: omit: {decodes: why}"))?;
    for program in decoder.programs() {
        loads::weights(program, context.artifact.digests(Dtype::Float32)?)?;
    }
    reads(context, &decoder)
}

/// Reads the stored row (the prompt, then the tokens that Python's `generate` wrote with its own cache) in three ways: one
/// token a step after the prompt, every row alone, and in chunks. Each time the next tokens are Python's, the cache has the
/// shapes that it should have, and the logits of every step obey the numerical rule in the precision of the programs.
pub fn reads(context: &CheckContext, decoder: &Decoder) -> CheckResult {
    let row = Row::stored(context, decoder)?;
    let mut measures = Vec::new();
    for way in [row.by_token(), row.alone(), row.in_chunks()] {
        let judged = row.read(&way).and_then(|logits| row.judge(&way, &logits));
        measures.extend(judged.map_err(|failure| row.explained(failure))?);
    }
    Ok(measures)
}

/// The stored row, and how it is decoded.
struct Row<'a> {
    context: &'a CheckContext<'a>,
    decoder: &'a Decoder,
    /// Inputs of the model's program, in its order.
    inputs: Vec<Tensor>,
    /// Place of the tokens, and of their mask, among them.
    tokens: usize,
    mask: Option<usize>,
    /// What Python wrote after the prompt: one token more than the row has there.
    written: Tensor,
    port: &'a Output,
    /// Place of the logits among the outputs.
    logits: usize,
}

/// A way to read a row: which rows at a time, and where each step ends.
struct Way {
    told: &'static str,
    groups: Vec<Vec<usize>>,
    ends: Vec<usize>,
}

impl<'a> Row<'a> {
    fn stored(context: &'a CheckContext<'a>, decoder: &'a Decoder) -> Result<Self, Failure> {
        let StepProgram { tokens, mask, .. } = decoder.about();
        let place = |name: &str| context.artifact.manifest.inputs.iter().position(|input| input == name);
        let generation = context.contract.generation;
        let found = generation.and_then(|generation| {
            context.model.outputs.iter().enumerate().find(|(_, port)| port.name == generation.logits)
        });
        let (logits, port) = found
            .ok_or_else(|| Failure::new(Stage::Load, "the entry lacks the output that decoding needs"))?;
        let mask = mask.as_deref().and_then(place);
        let tokens =
            place(tokens).ok_or_else(|| Failure::new(Stage::Load, "the entry has no input of tokens"))?;
        let inputs = context.inputs("decode")?;
        let written = context.artifact.tensor("decode/tokens")?;
        Ok(Self { context, decoder, inputs, tokens, mask, written, port, logits })
    }

    fn rows(&self) -> Vec<usize> {
        (0..self.written.shape()[0]).collect()
    }

    fn length(&self) -> usize {
        self.inputs[self.tokens].shape()[1]
    }

    fn prompt(&self) -> usize {
        self.decoder.about().prompt
    }

    fn by_token(&self) -> Way {
        let ends = (self.prompt()..=self.length()).collect();
        Way { told: "a token a step", groups: vec![self.rows()], ends }
    }

    fn alone(&self) -> Way {
        let groups = self.rows().into_iter().map(|row| vec![row]).collect();
        Way { told: "each row alone", groups, ..self.by_token() }
    }

    /// Half the prompt, or as much as must be read at once, and all after it in further chunks.
    fn in_chunks(&self) -> Way {
        let first = (self.prompt() / 2).max(CHUNK).max(self.decoder.about().prefill.unwrap_or(0));
        let ends = (first..self.length()).step_by(CHUNK).chain([self.length()]).collect();
        Way { told: "in chunks", groups: vec![self.rows()], ends }
    }

    /// Logits of the whole row, `[rows, tokens, vocabulary]`.
    fn read(&self, way: &Way) -> Result<Tensor, Failure> {
        let groups = way.groups.iter().map(|rows| self.read_rows(way, rows));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        Tensor::joined(0, &groups.iter().collect::<Vec<_>>()).at(Stage::Compare, "logits")
    }

    fn read_rows(&self, way: &Way, rows: &[usize]) -> Result<Tensor, Failure> {
        let inputs = self.inputs_of(rows);
        let mut begun: Option<Cache> = None;
        let mut given = BTreeMap::new();
        let mut read = Vec::new();
        for span in spans(&way.ends) {
            let (mut outputs, cache) = match begun.take() {
                None => self.decoder.prefill(&self.first(&inputs, span.len()))?,
                Some(mut cache) => (self.step(&mut cache, &inputs, &span)?, cache),
            };
            let logits = outputs.swap_remove(self.logits);
            self.holds(way, &cache, &mut given)?;
            self.next(way, rows, &cache, &logits)?;
            read.push(logits);
            begun = Some(cache);
        }
        Tensor::joined(1, &read.iter().collect::<Vec<_>>()).at(Stage::Compare, "logits")
    }

    /// The inputs of some rows.
    fn inputs_of(&self, rows: &[usize]) -> Vec<Tensor> {
        let (ports, counts) = (self.context.model.inputs, self.context.rows());
        let own = |(port, input): (&Input, &Tensor)| rows_of(input, port.shape, &counts, rows);
        ports.iter().zip(&self.inputs).map(own).collect()
    }

    /// The same for the first tokens: whatever goes along with tokens is cut as they are.
    fn first(&self, inputs: &[Tensor], count: usize) -> Vec<Tensor> {
        let ports = self.context.model.inputs;
        let (tokens, places) = (ports[self.tokens].shape.get(1), (0..count).collect::<Vec<_>>());
        let cut = |(port, input): (&Input, &Tensor)| match port.shape.get(1) == tokens {
            true => input.select(1, &places),
            false => input.clone(),
        };
        ports.iter().zip(inputs).map(cut).collect()
    }

    /// Reads the tokens at those places.
    fn step(&self, cache: &mut Cache, inputs: &[Tensor], span: &[usize]) -> Result<Vec<Tensor>, Failure> {
        let tokens = inputs[self.tokens].select(1, span);
        match self.mask {
            Some(mask) => self.decoder.read_padded(cache, &tokens, &inputs[mask].select(1, span)),
            None => self.decoder.read(cache, &tokens),
        }
    }

    /// The cache has the shapes that the manifest says, which are those of Python's; `given` has the sizes that the inputs
    /// decided which are given once, as they were seen first.
    fn holds(&self, way: &Way, cache: &Cache, given: &mut BTreeMap<String, usize>) -> Result<(), Failure> {
        for (tensor, shape) in self.decoder.about().tensors().zip(cache.shapes()) {
            for (axis, size) in tensor.shape.iter().zip(&shape) {
                if let CacheAxis::Given(name) = axis {
                    given.entry(name.clone()).or_insert(*size);
                }
            }
            let (name, read) = (&tensor.name, cache.read());
            let expected = tensor.shape(cache.rows(), read, |axis| given.get(axis).copied().unwrap_or(0));
            if shape != expected {
                let shapes =
                    format!("{name} ({}) is {shape:?} after {read} tokens, not {expected:?}", way.told);
                return Err(Failure::new(Stage::Compare, shapes));
            }
        }
        Ok(())
    }

    /// The token with the largest logit is the one that Python wrote next.
    fn next(&self, way: &Way, rows: &[usize], cache: &Cache, logits: &Tensor) -> Result<(), Failure> {
        let Some(new) = cache.read().checked_sub(self.prompt()) else { return Ok(()) };
        for (&row, got) in rows.iter().zip(largest_at_end(logits)?) {
            let expected = self.written.int_at(&[row, new]);
            if expected != Some(got) {
                let expected = expected.map_or("none".to_owned(), |token| token.to_string());
                let message = format!(
                    "row {row} ({}) leaves Python's tokens at new token {new}: got {got}, expected {expected}",
                    way.told
                );
                return Err(Failure::new(Stage::Compare, message));
            }
        }
        Ok(())
    }

    /// The numerical rule for every step by itself; of the measures the worst is kept.
    fn judge(&self, way: &Way, logits: &Tensor) -> CheckResult {
        let axis = self.port.shape.get(1).map(ToString::to_string).unwrap_or_default();
        let mut worst: Option<Measure> = None;
        for span in spans(&way.ends) {
            let steps = |port: &Output, whole: Tensor| {
                dims_of(port.shape, &axis).into_iter().fold(whole, |tensor, dim| tensor.select(dim, &span))
            };
            let expectation = Expectation {
                told: format!("{}, tokens {} to {}", way.told, span[0], span[span.len() - 1]),
                part: &steps,
                view: &steps,
                ..self.context.whole(Check::Decodes, "decode")
            };
            for measure in self.context.hold(&expectation, [(self.port, logits)])? {
                let larger = |worst: &Measure| worst.agreement.share() < measure.agreement.share();
                if worst.as_ref().is_none_or(larger) {
                    worst = Some(measure);
                }
            }
        }
        Ok(worst.into_iter().collect())
    }

    /// A failure, and whose it is where Python's own cached tokens are not what its row without a cache says.
    fn explained(&self, failure: Failure) -> Failure {
        match self.python_leaves() {
            Ok(Some((row, new))) => failure.with(format!(
                "Python's own decoding with a cache leaves its row without one at new token {new} of row {row}"
            )),
            _ => failure,
        }
    }

    /// Row and number of the first token that Python wrote although another has the largest logit without a cache.
    fn python_leaves(&self) -> Result<Option<(usize, usize)>, Failure> {
        let exact = self.context.artifact.reference("decode", Dtype::Float64, &self.port.name)?;
        for new in 0..=self.length() - self.prompt() {
            let logits = exact.select(1, &[self.prompt() + new - 1]);
            for (row, best) in largest_at_end(&logits)?.into_iter().enumerate() {
                if self.written.int_at(&[row, new]) != Some(best) {
                    return Ok(Some((row, new)));
                }
            }
        }
        Ok(None)
    }
}

/// The places of every step, given where each ends.
fn spans(ends: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    starts.zip(ends.iter().copied()).map(|(start, end)| (start..end).collect())
}
