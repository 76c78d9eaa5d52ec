//! The bench a model is put on: its artifact, its loaded program, and how outputs are held against references.

use super::rule::{self, Agreement, Measure};
use crate::artifact::Artifact;
use crate::engine::{Device, Engine, Program, Tensor};
use crate::failure::{Failure, Stage};
use crate::model::Card;
use crate::spec::{Axis, Check};
use crate::task::{Contract, Dim, Dtype, Fill, Input, Output};

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

/// What a check found out about a model that passed.
pub type Findings = Result<Vec<Measure>, Failure>;

/// What returned outputs should equal: a case's eager outputs, or part of them.
pub struct Claim<'a> {
    pub check: Check,
    /// The case whose eager outputs are meant.
    pub case: &'a str,
    /// What was done to the case's inputs; its name where nothing was.
    pub situation: String,
    /// Of the program.
    pub precision: Dtype,
    /// The part of an eager output that the returned one stands for.
    pub part: &'a dyn Fn(&Output, Tensor) -> Tensor,
    /// Whether the element at that index counts.
    pub keep: &'a dyn Fn(&Output, &[usize]) -> bool,
}

impl<'a> Claim<'a> {
    /// Every element of a case's outputs, in float32.
    pub fn whole(check: Check, case: &'a str) -> Self {
        Self {
            check,
            case,
            situation: case.to_owned(),
            precision: Dtype::Float32,
            part: &|_, reference| reference,
            keep: &|_, _| true,
        }
    }
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
        match (self.hold(&Claim::whole(check, case), self.card.outputs.iter().zip(&returned.outputs)), case) {
            (Err(failure), "traced") if failure.stage == Stage::Compare => {
                Err(failure.with(self.first_differing_layer(returned)?))
            }
            (judged, _) => judged,
        }
    }

    /// Holds every output against its references. A failure is the first output's that is off, and has the measures of
    /// all that could be compared.
    pub fn hold<'b>(
        &self,
        claim: &Claim,
        outputs: impl IntoIterator<Item = (&'b Output, &'b Tensor)>,
    ) -> Findings {
        let (mut measures, mut first) = (Vec::new(), None);
        for (port, x) in outputs {
            let (measure, judged) = self.judge(claim, port, x)?;
            measures.extend(measure);
            first = first.or(judged.err());
        }
        match first {
            Some(failure) => Err(Failure { measures, ..failure }),
            None => Ok(measures),
        }
    }

    /// Applies the numerical rule to one output: what was measured, if anything, and whether it holds.
    fn judge(
        &self,
        claim: &Claim,
        port: &Output,
        x: &Tensor,
    ) -> Result<(Option<Measure>, Result<(), Failure>), Failure> {
        let (e, r) = self.references(claim.case, claim.precision, &port.name)?;
        let [e, r] = [e, r].map(|reference| (claim.part)(port, reference));
        let named = format!("{} ({})", port.name, claim.situation);
        if x.shape() != r.shape() {
            let shapes = format!("{named} is {:?}, the reference {:?}", x.shape(), r.shape());
            return Ok((None, Err(Failure::new(Stage::Compare, shapes))));
        }
        let k = self.k(claim, port);
        let agreement = rule::judge(x, &e, &r, k, |index| (claim.keep)(port, index));
        if agreement.count == 0 {
            let nothing = format!("{named}: no element is left to compare");
            return Ok((None, Err(Failure::new(Stage::Compare, nothing))));
        }
        let judged = if agreement.eager_error > rule::soundness(claim.precision) * agreement.scale {
            Err(unsound(&named, claim.precision, &agreement))
        } else if agreement.holds() {
            Ok(())
        } else {
            Err(disagreement(&named, &port.name, k, &agreement))
        };
        let (situation, output) = (claim.situation.clone(), port.name.to_string());
        Ok((Some(Measure { situation, output, agreement }), judged))
    }

    /// The rule's factor for an output: everybody's, or the entry's debt.
    fn k(&self, claim: &Claim, port: &Output) -> f64 {
        let debt = self.card.tolerance.iter().find(|debt| {
            debt.check == claim.check && debt.output.as_ref().is_none_or(|output| *output == port.name)
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

fn unsound(named: &str, precision: Dtype, agreement: &Agreement) -> Failure {
    let (share, most) = (agreement.eager_error / agreement.scale, rule::soundness(precision));
    let eager = format!("eager {} itself is off by {share:.1e} of the output's size", precision.name());
    Failure::new(Stage::Compare, format!("{named}: {eager}, more than {most:.0e}: no yardstick"))
        .with("give the entry a better-conditioned config, or look for precision lost inside the model")
}

fn disagreement(named: &str, output: &str, k: f64, agreement: &Agreement) -> Failure {
    let Agreement { error, eager_error, limit, max_abs, relative_l2, cosine, .. } = agreement;
    let message = format!(
        "{named} is off by {error:.2e} rmse; allowed {limit:.2e} = {k} × eager's {eager_error:.2e} + floor"
    );
    let figures = format!("max abs {max_abs:.2e}, relative L2 {relative_l2:.2e}, cosine {cosine:.9}");
    let failure = Failure::new(Stage::Compare, message).with(figures);
    agreement.worst.iter().fold(failure, |failure, difference| {
        let (index, got, expected) = (&difference.index, difference.got, difference.expected);
        failure.with(format!("{output}{index:?} is {got:.7}, reference {expected:.7}"))
    })
}
