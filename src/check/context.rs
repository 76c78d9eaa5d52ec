//! What a check is given: a model's artifact and its loaded program, and how outputs are held to references.

use crate::artifact::{Artifact, Situation};
use crate::device::Device;
use crate::engine::{Decoder, Engine, Program};
use crate::failure::{Failure, Stage};
use crate::model::ModelSpec;
use crate::numerics::Tensor;
use crate::numerics::rule;
use crate::numerics::{Agreement, Measure, Reference, Ruling, Tolerance};
use crate::spec::{Check, followers};
use crate::task::{Contract, Dim, Dtype, Fill, Input, Output};
use std::collections::BTreeMap;
use std::path::Path;

/// A model ready to be checked.
#[derive(Clone, Copy)]
pub struct CheckContext<'a> {
    pub model: &'a ModelSpec<'a>,
    pub contract: &'a Contract,
    pub artifact: &'a Artifact,
    pub program: &'a dyn Program,
    pub engine: &'a dyn Engine,
    pub device: Device,
    /// In which precision `program` computes: float32, or float64 where it was loaded so.
    pub precision: Dtype,
}

/// What a check measured of a model that passed, or its failure.
pub type CheckResult = Result<Vec<Measure>, Failure>;

/// What returned outputs should equal: a case's eager outputs, or part of them.
pub struct Expectation<'a> {
    pub check: Check,
    /// The case whose eager outputs are meant.
    pub case: &'a str,
    /// Whose eager error is the yardstick: the case, or the situation that was made of it.
    pub yardstick: &'a str,
    /// What was done to the case's inputs, in words; the case's name where nothing was.
    pub told: String,
    /// The precision of the program.
    pub precision: Dtype,
    /// What r is: the truth in float64, or what eager returns in that precision.
    pub truth: Dtype,
    /// The part of a case's output that a situation's output stands for.
    pub part: &'a dyn Fn(&Output, Tensor) -> Tensor,
    /// The part of a situation's output that stands for it.
    pub view: &'a dyn Fn(&Output, Tensor) -> Tensor,
    /// Whether the element at that index counts.
    pub keep: &'a dyn Fn(&Output, &[usize]) -> bool,
}

/// What the rule makes of an output.
pub struct Bounds {
    /// The rmse that it allows.
    pub limit: f64,
    /// Which elements it compares, row-major: those that no mask hides.
    pub compared: Vec<bool>,
}

impl<'a> CheckContext<'a> {
    /// A model as its float32 program was loaded, where its artifact says.
    pub fn new(
        model: &'a ModelSpec<'a>,
        contract: &'a Contract,
        artifact: &'a Artifact,
        program: &'a dyn Program,
        engine: &'a dyn Engine,
    ) -> Self {
        let device = artifact.lane.device;
        Self { model, contract, artifact, program, engine, device, precision: Dtype::Float32 }
    }

    /// Loads another program, to compute in the same precision on the same device.
    ///
    /// # Errors
    /// As [`Engine::load`] and [`Engine::load_in_float64`].
    pub fn load(&self, path: &Path) -> Result<Box<dyn Program>, Failure> {
        match self.precision {
            Dtype::Float64 => self.engine.load_in_float64(path, self.device),
            _ => self.engine.load(path, self.device),
        }
    }

    /// The programs that decode with a cache, to compute in the same precision on the same device.
    ///
    /// # Errors
    /// As [`Decoder::open`], and as [`Engine::load_in_float64`].
    pub fn decoder(&self) -> Result<Decoder, Failure> {
        let Artifact { folder, manifest, .. } = self.artifact;
        Decoder::load(folder, manifest, self.engine.format(), |path| self.load(path))
    }

    /// Every element of a case's outputs, in the precision of the program.
    pub fn whole<'b>(&self, check: Check, case: &'b str) -> Expectation<'b> {
        Expectation {
            check,
            case,
            yardstick: case,
            told: case.to_owned(),
            precision: self.precision,
            truth: Dtype::Float64,
            part: &|_, reference| reference,
            view: &|_, returned| returned,
            keep: &|_, _| true,
        }
    }

    /// Runs the program.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        self.complete(self.program.run(inputs)?)
    }

    /// What a program returned, if it is one tensor for each output.
    pub fn complete(&self, outputs: Vec<Tensor>) -> Result<Vec<Tensor>, Failure> {
        let expected = self.model.outputs.len();
        match outputs.len() == expected {
            true => Ok(outputs),
            false => Err(Failure::new(
                Stage::Compare,
                format!("the program returned {} outputs, not {expected}", outputs.len()),
            )),
        }
    }

    /// The stored inputs of a case.
    pub fn inputs(&self, case: &str) -> Result<Vec<Tensor>, Failure> {
        self.artifact.inputs(case)
    }

    /// The situations that were made of the traced case for this check.
    ///
    /// # Errors
    /// Stage `load` where there are none: the check would prove nothing.
    pub fn situations(&self, check: Check) -> Result<Vec<&'a Situation>, Failure> {
        let made = self.artifact.manifest.situations.iter();
        let own: Vec<_> = made.filter(|situation| situation.change.check() == check).collect();
        match own.is_empty() {
            true => Err(Failure::new(Stage::Load, format!("the artifact has no case for {}", check.name()))),
            false => Ok(own),
        }
    }

    /// Position and port of the input of that name.
    pub fn input(&self, name: &str) -> Option<(usize, &'a Input)> {
        self.model.inputs.iter().enumerate().find(|(_, input)| input.name == name)
    }

    /// Position of the mask that belongs to a token input: the one of its own shape.
    pub fn mask_of(&self, tokens: &Input) -> Option<usize> {
        let fits = |input: &Input| input.fill == Fill::Mask && input.shape == tokens.shape;
        self.model.inputs.iter().position(fits)
    }

    /// How many slices each axis has for one row of the batch.
    pub fn rows(&self) -> BTreeMap<&'a str, usize> {
        followers(self.model.axes.iter().map(|(name, size)| (name.as_ref(), size)), "batch")
    }

    /// Holds whole cases against their references, under every attention that there is a program of.
    pub fn matches(&self, check: Check, cases: &[&str]) -> CheckResult {
        let mut measures = self.match_cases(check, cases, None)?;
        for (attention, path) in self.artifact.others() {
            let program = self.load(&path)?;
            let other = CheckContext { program: program.as_ref(), ..*self };
            measures.extend(other.match_cases(check, cases, Some(attention))?);
        }
        Ok(measures)
    }

    fn match_cases(&self, check: Check, cases: &[&str], attention: Option<&str>) -> CheckResult {
        let mut measures = Vec::new();
        for case in cases {
            let returned = self.run(&self.inputs(case)?)?;
            measures.extend(self.judge_case(check, case, &returned, attention)?);
        }
        Ok(measures)
    }

    /// Holds what a program returned for a case against its references; `attention` is the program's, where that is not
    /// the class's own choice.
    pub fn judge_case(
        &self,
        check: Check,
        case: &str,
        returned: &[Tensor],
        attention: Option<&str>,
    ) -> CheckResult {
        let told = attention.map_or(case.to_owned(), |attention| format!("{case}, {attention} attention"));
        let expectation = Expectation { told, ..self.whole(check, case) };
        let judged = self.hold(&expectation, self.model.outputs.iter().zip(returned));
        let cases = &self.artifact.manifest.cases;
        let grown = cases.iter().find(|stored| stored.name == case).and_then(|stored| stored.sizes.get(case));
        judged.map_err(|failure| match grown {
            Some(size) => Failure { message: format!("at {case} = {size}: {}", failure.message), ..failure },
            None => failure,
        })
    }

    /// Holds every output against its references. A failure is the first output's that is off, and has the measures of
    /// all that could be compared.
    pub fn hold<'b>(
        &self,
        expectation: &Expectation,
        outputs: impl IntoIterator<Item = (&'b Output, &'b Tensor)>,
    ) -> CheckResult {
        let (mut measures, mut first) = (Vec::new(), None);
        for (port, x) in outputs {
            let (measure, judged) = self.judge(expectation, port, x)?;
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
        expectation: &Expectation,
        port: &Output,
        x: &Tensor,
    ) -> Result<(Option<Measure>, Result<(), Failure>), Failure> {
        let (x, reference) = ((expectation.view)(port, x.clone()), self.reference(expectation, port)?);
        let named = format!("{} ({})", port.name, expectation.told);
        if [x.shape(), reference.error.shape()] != [reference.exact.shape(); 2] {
            let shapes = format!("{named} is {:?}, the reference {:?}", x.shape(), reference.exact.shape());
            return Ok((None, Err(Failure::new(Stage::Compare, shapes))));
        }
        let tolerance = self.tolerance(expectation.check, expectation.precision, port);
        let agreement = rule::judge(&x, &reference, tolerance, |index| (expectation.keep)(port, index));
        let judged = match agreement.ruling(tolerance) {
            Ruling::Agrees => Ok(()),
            Ruling::Differs => Err(disagreement(&named, &port.name, tolerance, &agreement)),
            Ruling::NoYardstick => Err(unsound(&named, expectation.precision, tolerance, &agreement)),
            Ruling::Nothing => {
                let nothing = Failure::new(Stage::Compare, format!("{named}: no element is left to compare"));
                return Ok((None, Err(nothing)));
            }
        };
        let (situation, output) = (expectation.told.clone(), port.name.to_string());
        Ok((Some(Measure { situation, output, agreement }), judged))
    }

    /// What an output is held to, and eager's own error there.
    fn reference(&self, expectation: &Expectation, port: &Output) -> Result<Reference, Failure> {
        let Expectation { case, yardstick, truth, precision, .. } = *expectation;
        let error = match precision {
            // No rounding of eager's is a yardstick there; what a mask hides is hidden all the same.
            Dtype::Float64 => self
                .artifact
                .error(yardstick, Dtype::Float32, &port.name)?
                .map_float(|error| if error.is_nan() { error } else { 0.0 }),
            _ => self.artifact.error(yardstick, precision, &port.name)?,
        };
        Ok(Reference {
            exact: (expectation.part)(port, self.artifact.reference(case, truth, &port.name)?),
            error: (expectation.view)(port, error),
        })
    }

    /// What the rule makes of every output of the traced case.
    pub fn bounds(&self) -> Result<Vec<Bounds>, Failure> {
        let expectation = self.whole(Check::MatchesReference, "traced");
        let bounds = |port: &Output| {
            let reference = self.reference(&expectation, port)?;
            let tolerance = self.tolerance(expectation.check, expectation.precision, port);
            let limit = rule::judge(&reference.exact, &reference, tolerance, |_| true).limit;
            let compared = reference.error.to_f64().iter().map(|error| !error.is_nan()).collect();
            Ok(Bounds { limit, compared })
        };
        self.model.outputs.iter().map(bounds).collect()
    }

    /// Everybody's tolerance in that precision, with the factor of the entry's own where it has one.
    pub fn tolerance(&self, check: Check, precision: Dtype, port: &Output) -> Tolerance {
        let own = self.model.tolerance.iter().find(|waiver| {
            waiver.check == check && waiver.output.as_ref().is_none_or(|output| *output == port.name)
        });
        let usual = Tolerance::of(precision);
        own.map_or(usual, |waiver| Tolerance { k: waiver.k, ..usual })
    }
}

/// Positions of an axis in a shape.
pub fn dims_of(shape: &[Dim], axis: &str) -> Vec<usize> {
    let is_axis = |dim: &Dim| matches!(dim, Dim::Named(name) if name == axis);
    shape.iter().enumerate().filter(|(_, dim)| is_axis(dim)).map(|(position, _)| position).collect()
}

/// The slices that belong to those of the batch's rows along all its followers, each of which has `counts` for a row.
pub fn rows_of(tensor: &Tensor, shape: &[Dim], counts: &BTreeMap<&str, usize>, rows: &[usize]) -> Tensor {
    counts.iter().fold(tensor.clone(), |tensor, (axis, count)| {
        let own: Vec<usize> = rows.iter().flat_map(|row| row * count..(row + 1) * count).collect();
        dims_of(shape, axis).into_iter().fold(tensor, |tensor, dim| tensor.select(dim, &own))
    })
}

fn unsound(named: &str, precision: Dtype, tolerance: Tolerance, agreement: &Agreement) -> Failure {
    let (share, most) = (agreement.eager_error / agreement.scale, tolerance.soundness);
    let eager =
        format!("rounding alone moves eager {} by {share:.1e} of the output's size", precision.name());
    Failure::no_yardstick(Stage::Compare, format!("{named}: {eager}, more than {most:.0e}"))
        .with("of random weights, give the entry another seed or a better-conditioned config; of weights of your own, look for precision lost inside the model")
}

fn disagreement(named: &str, output: &str, tolerance: Tolerance, agreement: &Agreement) -> Failure {
    let Agreement { error, eager_error, limit, max_abs, relative_l2, cosine, .. } = agreement;
    let Tolerance { k, floor, .. } = tolerance;
    let allowed = match k {
        0.0 => format!("{floor:.0e} of the output's size"),
        _ => format!("{k} × eager's {eager_error:.2e} + floor"),
    };
    let message = format!("{named} is off by {error:.2e} rmse; allowed {limit:.2e} = {allowed}");
    let figures = format!("max abs {max_abs:.2e}, relative L2 {relative_l2:.2e}, cosine {cosine:.9}");
    let failure = Failure::new(Stage::Compare, message).with(figures);
    let digits = if k == 0.0 { 17 } else { 7 };
    agreement.worst.iter().fold(failure, |failure, difference| {
        let (index, got, expected) = (&difference.index, difference.got, difference.expected);
        failure.with(format!("{output}{index:?} is {got:.digits$}, reference {expected:.digits$}"))
    })
}
