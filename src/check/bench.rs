//! The bench a model is put on: its artifact, its loaded program, and how outputs are held against references.

use super::rule::{self, Agreement};
use crate::artifact::Artifact;
use crate::engine::{Device, Engine, Program, Tensor};
use crate::failure::{Failure, Stage};
use crate::model::Card;
use crate::spec::{Axis, Check};
use crate::task::{Contract, Dim, Dtype, Fill, Input};

/// A model ready to be checked.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    pub card: &'a Card<'a>,
    pub contract: &'a Contract,
    pub artifact: &'a Artifact,
    pub program: &'a dyn Program,
    pub engine: &'a dyn Engine,
    pub device: Device,
}

/// The agreement of one output in one situation, for the results store.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The case, and what was done to it: `sequence`, `traced, row 1 alone`.
    pub situation: String,
    pub output: String,
    pub agreement: Agreement,
}

/// What a check found out about a model that passed.
pub type Findings = Result<Vec<Measure>, Failure>;

/// An output to be held against its eager references.
pub struct Claim<'a> {
    pub check: Check,
    pub situation: String,
    pub output: &'a str,
    /// What the engine returned.
    pub x: &'a Tensor,
    /// Eager, in the program's precision.
    pub e: &'a Tensor,
    /// Eager, in float64.
    pub r: &'a Tensor,
    pub precision: Dtype,
}

/// What a program returned for one set of inputs.
pub struct Returned {
    /// The contract's outputs, in its order.
    pub outputs: Vec<Tensor>,
    /// Outputs of the manifest's layers, in its order.
    pub layers: Vec<Tensor>,
}

impl<'a> Bench<'a> {
    /// Runs the float32 program.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Returned, Failure> {
        let mut outputs = self.program.run(inputs)?;
        let (expected, layers) = (self.card.outputs.len(), self.artifact.manifest.layers.len());
        if outputs.len() != expected + layers {
            let counts = format!("{} outputs, not {expected} and {layers} layers", outputs.len());
            return Err(Failure::new(Stage::Compare, format!("the program returned {counts}")));
        }
        let layers = outputs.split_off(expected);
        Ok(Returned { outputs, layers })
    }

    /// The stored inputs of a case.
    pub fn inputs(&self, case: &str) -> Result<Vec<Tensor>, Failure> {
        self.artifact.inputs(case)
    }

    /// Eager outputs of a case in the program's precision and in float64.
    pub fn references(&self, case: &str, dtype: Dtype, output: &str) -> Result<(Tensor, Tensor), Failure> {
        Ok((
            self.artifact.reference(case, dtype, output)?,
            self.artifact.reference(case, Dtype::Float64, output)?,
        ))
    }

    /// Position and port of the input of that name.
    pub fn input(&self, name: &str) -> Option<(usize, &'a Input)> {
        self.card.inputs.iter().enumerate().find(|(_, input)| input.name == name)
    }

    /// Position of the mask that belongs to a token input: the one of its own shape.
    pub fn mask_of(&self, tokens: &Input) -> Option<usize> {
        let fits = |input: &Input| input.fill == Fill::Mask && input.shape == tokens.shape;
        self.card.inputs.iter().position(fits)
    }

    /// How many slices each axis has for one step along `axis`: itself, and those given per it.
    pub fn followers(&self, axis: &str) -> Vec<(&'a str, usize)> {
        let per = self.card.axes.iter().filter_map(|(name, size)| match size {
            Axis::Per { axis: other, count } if other == axis => Some((name.as_ref(), *count)),
            _ => None,
        });
        let own = self.card.axes.iter().filter(|(name, _)| name == axis).map(|(name, _)| (name.as_ref(), 1));
        own.chain(per).collect()
    }

    /// Holds a whole case against its references.
    pub fn matches(&self, check: Check, case: &str) -> Findings {
        let returned = self.run(&self.inputs(case)?)?;
        self.judge_case(check, case, &returned)
    }

    /// Holds what a program returned for a case against its references.
    pub fn judge_case(&self, check: Check, case: &str, returned: &Returned) -> Findings {
        let judged = self.card.outputs.iter().zip(&returned.outputs).map(|(port, x)| {
            let (e, r) = self.references(case, Dtype::Float32, &port.name)?;
            let claim = Claim {
                check,
                situation: case.to_owned(),
                output: &port.name,
                x,
                e: &e,
                r: &r,
                precision: Dtype::Float32,
            };
            self.judge(&claim, |_| true)
        });
        let judged: Findings = judged.collect();
        match (judged, case) {
            (Err(failure), "traced") if failure.stage == Stage::Compare => {
                Err(failure.with(self.first_differing_layer(returned)?))
            }
            (judged, _) => judged,
        }
    }

    /// Applies the numerical rule to the elements that `keep` accepts.
    pub fn judge(&self, claim: &Claim, keep: impl Fn(&[usize]) -> bool) -> Result<Measure, Failure> {
        let Claim { situation, output, x, e, r, .. } = claim;
        if x.shape() != r.shape() {
            let shapes = format!("is {:?}, the reference {:?}", x.shape(), r.shape());
            return Err(Failure::new(Stage::Compare, format!("{output} ({situation}) {shapes}")));
        }
        let k = self.k(claim);
        let agreement = rule::judge(x, e, r, k, keep);
        if agreement.count == 0 {
            let nothing = format!("{output} ({situation}): no element is left to compare");
            return Err(Failure::new(Stage::Compare, nothing));
        }
        if agreement.eager_error > rule::soundness(claim.precision) * agreement.scale {
            return Err(unsound(claim, &agreement));
        }
        match agreement.holds() {
            true => Ok(Measure { situation: situation.clone(), output: (*output).to_owned(), agreement }),
            false => Err(disagreement(claim, k, &agreement)),
        }
    }

    /// The rule's factor for a claim: everybody's, or the entry's debt.
    fn k(&self, claim: &Claim) -> f64 {
        let debt = self.card.tolerance.iter().find(|debt| {
            debt.check == claim.check && debt.output.as_ref().is_none_or(|output| output == claim.output)
        });
        debt.map_or(rule::K, |debt| debt.k)
    }

    /// Where the traced case first leaves its reference, layer by layer.
    fn first_differing_layer(&self, returned: &Returned) -> Result<String, Failure> {
        let names = &self.artifact.manifest.layers;
        for (name, x) in names.iter().zip(&returned.layers) {
            let (e, r) = self.references("traced", Dtype::Float32, &format!("layer/{name}"))?;
            if x.shape() != r.shape() || !rule::judge(x, &e, &r, rule::K, |_| true).holds() {
                return Ok(format!("first differing layer: {name}"));
            }
        }
        Ok(match names.last() {
            Some(last) => format!("every layer agrees up to {last}: the difference arises after it"),
            None => "the model has no list of layers to search".to_owned(),
        })
    }
}

/// Positions of an axis in a shape.
pub fn dims_of(shape: &[Dim], axis: &str) -> Vec<usize> {
    let is_axis = |dim: &Dim| matches!(dim, Dim::Named(name) if name == axis);
    shape.iter().enumerate().filter(|(_, dim)| is_axis(dim)).map(|(position, _)| position).collect()
}

/// The slices that belong to `row` along every follower of the batch axis.
pub fn row_of(tensor: &Tensor, shape: &[Dim], followers: &[(&str, usize)], row: usize) -> Tensor {
    followers.iter().fold(tensor.clone(), |tensor, &(axis, count)| {
        let own: Vec<usize> = (row * count..(row + 1) * count).collect();
        dims_of(shape, axis).into_iter().fold(tensor, |tensor, dim| tensor.select(dim, &own))
    })
}

fn unsound(claim: &Claim, agreement: &Agreement) -> Failure {
    let Claim { situation, output, precision, .. } = claim;
    let (share, most) = (agreement.eager_error / agreement.scale, rule::soundness(*precision));
    let eager = format!("eager {} itself is off by {share:.1e} of the output's size", precision.name());
    Failure::new(
        Stage::Compare,
        format!("{output} ({situation}): {eager}, more than {most:.0e}: no yardstick"),
    )
    .with("give the entry a better-conditioned config, or look for precision lost inside the model")
}

fn disagreement(claim: &Claim, k: f64, agreement: &Agreement) -> Failure {
    let Claim { situation, output, .. } = claim;
    let Agreement { error, eager_error, limit, max_abs, relative_l2, cosine, .. } = agreement;
    let message = format!(
        "{output} ({situation}) is off by {error:.2e} rmse; allowed {limit:.2e} = {k} × eager's {eager_error:.2e} + floor"
    );
    let figures = format!("max abs {max_abs:.2e}, relative L2 {relative_l2:.2e}, cosine {cosine:.9}");
    let failure = Failure::new(Stage::Compare, message).with(figures);
    agreement.worst.iter().fold(failure, |failure, difference| {
        let (index, got, expected) = (&difference.index, difference.got, difference.expected);
        failure.with(format!("{output}{index:?} is {got:.7}, reference {expected:.7}"))
    })
}
