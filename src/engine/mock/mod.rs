//! The stand-in for builds without libtorch: what can be said of a generated module without running its model.
//!
//! In: a module's model, and the spec. Out: whether what was written apart fits together: the module and the spec, the
//! sizes that the config gives and those that the entry gives, the cases and the axes, and whatever the module's
//! checks will look for. That proves nothing about a model, so results say MOCK and are not recorded.

use crate::failure::{Failure, Stage};
use crate::model::{Model, ModelSpec, RuntimeSpec};
use crate::spec::{self, Axis, Case, Check, Padding, Spec};
use crate::task::{CONFIG_DIMS, Contract, Dim, Dtype, Fill, Generation, Input, Output, Shape, Task};
use crate::verdict::{Outcome, Verdict};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::OnceLock;

/// Where configs keep the height and width of the images that their positions are made for.
const IMAGE_SIZES: &[&str] = &["image_size", "vision_config.image_size"];

/// Whether everything is there that the module's checks will look for; prints what is not.
pub fn wired<T: Task>(model: &Model<T>) -> Verdict {
    let model = &model.spec;
    match of_spec(model, &T::CONTRACT) {
        Ok(()) => Verdict(Outcome::Mock),
        Err(message) => {
            eprintln!("FAILED MOCK {}: {message}", model.name);
            Verdict(Outcome::Failed(Failure::new(Stage::Spec, message)))
        }
    }
}

/// The same with the entry of that name in the spec of the working directory's project, which is read once.
fn of_spec(model: &ModelSpec, contract: &Contract) -> Result<(), String> {
    static SPEC: OnceLock<Result<Spec, String>> = OnceLock::new();
    let spec = SPEC.get_or_init(|| {
        spec::load(Path::new(".")).map_err(|problems| format!("the spec has {} problem(s)", problems.len()))
    });
    let spec = spec.as_ref().map_err(String::clone)?;
    let entry = spec.entries.iter().find(|entry| entry.name.as_str() == model.name);
    let entry = entry.ok_or("the spec has no entry of that name; run: cargo build")?;
    let subject = RuntimeSpec::new(entry, &spec.versions);
    Wiring { model, contract, subject: &subject }.holds()
}

/// A module and the entry that it was made from.
#[derive(Clone, Copy)]
struct Wiring<'a> {
    model: &'a ModelSpec<'a>,
    contract: &'a Contract,
    subject: &'a RuntimeSpec<'a>,
}

impl<'a> Wiring<'a> {
    fn holds(self) -> Result<(), String> {
        self.module()?;
        let cases = spec::cases(self.model.axes.iter().map(|(name, axis)| (name.as_ref(), axis)));
        self.cases(&cases)?;
        cases.iter().try_for_each(|case| self.sizes(case))?;
        self.rows(&cases[0])?;
        self.promises()?;
        self.padding()?;
        if let Some(tokens) = self.contract.causal.filter(|_| self.is_due(Check::Causal)) {
            self.causal(tokens)?;
        }
        match self.contract.generation.filter(|_| self.is_due(Check::Generates)) {
            Some(generation) => self.generation(&generation),
            None => Ok(()),
        }
    }

    fn is_due(self, check: Check) -> bool {
        check.omitted(self.subject.entry()).is_none()
    }

    /// The module holds what the spec says.
    fn module(self) -> Result<(), String> {
        let (module, spec) = (self.model, self.subject.model());
        let same = [
            ("task", self.contract == self.subject.entry().task),
            ("family", module.family == spec.family),
            ("class", module.class == spec.class),
            ("checkpoint", module.checkpoint == spec.checkpoint),
            ("inputs", module.inputs == spec.inputs),
            ("outputs", module.outputs == spec.outputs),
            ("axes", module.axes == spec.axes),
            ("tolerance", module.tolerance == spec.tolerance),
            ("idle", module.idle == spec.idle),
            ("digest", module.digest == spec.digest),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((key, _)) => Err(format!("the module and the spec differ in {key}; run: cargo build")),
            None => Ok(()),
        }
    }

    /// The traced case comes first, then every dynamic axis once; what is given per another axis follows it.
    fn cases(self, cases: &[Case]) -> Result<(), String> {
        let axes = self.model.axes;
        let dynamic = axes.iter().filter(|(_, axis)| matches!(axis, Axis::Dynamic { .. }));
        let due = Vec::from_iter(std::iter::once("traced").chain(dynamic.map(|(name, _)| name.as_ref())));
        let names = Vec::from_iter(cases.iter().map(|case| case.name.as_str()));
        if names != due {
            return Err(format!("the cases are {}, not {}", names.join(", "), due.join(", ")));
        }
        for (case, (name, axis)) in cases.iter().flat_map(|case| axes.iter().map(move |axis| (case, axis))) {
            let size = |name: &str| case.sizes.get(name).copied().unwrap_or(0);
            let expected = match axis {
                Axis::Dynamic { second, .. } if *name == case.name => *second,
                Axis::Dynamic { traced, .. } => *traced,
                Axis::Fixed { size, .. } => *size,
                Axis::Per { axis, count } => size(axis) * count,
            };
            if size(name) != expected {
                return Err(format!("case {}: {name} is {}, not {expected}", case.name, size(name)));
            }
        }
        Ok(())
    }

    /// What the config and an axis of the call both give is one size. A dynamic image may be larger than the one that
    /// the config has positions for; a fixed one may not.
    fn sizes(self, case: &Case) -> Result<(), String> {
        for (symbol, axis) in self.model.axes {
            let paths = match axis {
                Axis::Fixed { .. } if *symbol == "image" => Some(IMAGE_SIZES),
                _ => CONFIG_DIMS.iter().find(|(name, _)| symbol == name).map(|(_, paths)| *paths),
            };
            let config = &self.subject.entry().config;
            let promised = paths.and_then(|paths| paths.iter().find_map(|path| size_at(config, path)));
            match (promised, case.sizes.get(symbol.as_ref())) {
                (Some(promised), Some(&own)) if promised != own => {
                    return Err(format!(
                        "case {}: {symbol} is {own}, but {promised} in the config",
                        case.name
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A row alone is another batch only where the traced batch has more.
    fn rows(self, traced: &Case) -> Result<(), String> {
        match traced.sizes.get("batch") {
            Some(1) if self.is_due(Check::BatchInvariant) => {
                Err("batch_invariant: the traced batch is one row".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What the task says of an output by its inputs' symbols can be said of the entry's inputs too.
    fn promises(self) -> Result<(), String> {
        let has = |inputs: &[Input], dim: &Dim| inputs.iter().any(|input| input.shape.contains(dim));
        for output in self.model.outputs.iter().filter(|output| self.contract.outputs.contains(output)) {
            let lost = |dim: &&Dim| has(self.contract.inputs, dim) && !has(self.model.inputs, dim);
            if let Some(dim) = output.shape.iter().find(lost) {
                let shape = symbols(output.shape);
                return Err(format!("{} is {shape} by the task, but no input has {dim}", output.name));
            }
        }
        Ok(())
    }

    /// Where the entry pads there is a mask, and every mask is one of something.
    fn padding(self) -> Result<(), String> {
        let masks = || self.model.inputs.iter().filter(|input| input.fill == Fill::Mask);
        if self.subject.entry().padding != Padding::None && masks().next().is_none() {
            return Err("the entry pads, but no input is a mask".to_owned());
        }
        masks().try_for_each(|mask| self.mask(mask))
    }

    /// The mask lies over another input, and has the shape of the tokens that it has in the task.
    fn mask(self, mask: &Input) -> Result<(), String> {
        let covers = |input: &Input| mask.shape.iter().all(|dim| input.shape.contains(dim));
        if !self.model.inputs.iter().any(|input| input.name != mask.name && covers(input)) {
            return Err(format!("{} {} lies over no other input", mask.name, symbols(mask.shape)));
        }
        let is_text = |input: &&Input| input.fill == Fill::Tokens;
        let promised = self.contract.inputs.iter().find(|input| input.name == mask.name);
        let beside = |tokens: &&Input| promised.is_some_and(|mask| mask.shape == tokens.shape);
        let tokens = self.contract.inputs.iter().filter(is_text).filter(beside);
        let own = tokens.filter_map(|tokens| self.input(&tokens.name)).filter(is_text);
        match own.into_iter().find(|tokens| tokens.shape != mask.shape) {
            Some(tokens) => {
                let (of_mask, of_tokens) = (symbols(mask.shape), symbols(tokens.shape));
                Err(format!("{} is {of_mask}, but {} is {of_tokens}", mask.name, tokens.name))
            }
            None => Ok(()),
        }
    }

    /// Some output follows the rows and positions of the tokens that `causal` changes.
    fn causal(self, tokens: &str) -> Result<(), String> {
        let port = self.tokens(tokens, Check::Causal)?;
        let follows = |output: &Output| port.shape.iter().all(|dim| output.shape.contains(dim));
        match self.model.outputs.iter().any(follows) {
            true => Ok(()),
            false => Err(format!("causal: no output follows {tokens} {}", symbols(port.shape))),
        }
    }

    /// The ports that decoding reads and lengthens are there, and have the shapes that it expects.
    fn generation(self, generation: &Generation) -> Result<(), String> {
        let tokens = self.tokens(generation.grows, Check::Generates)?;
        let beside = [(generation.mask, Fill::Mask), (generation.positions, Fill::Positions)];
        for (name, fill) in beside.into_iter().filter_map(|(name, fill)| Some((name?, fill))) {
            // An entry may drop it; one of another kind or shape would not grow with the tokens.
            let Some(port) = self.input(name) else { continue };
            if port.fill != fill || port.shape != tokens.shape || port.dtype.is_float() {
                return Err(format!(
                    "generates: {name} does not grow with {} {}",
                    tokens.name,
                    symbols(tokens.shape)
                ));
            }
        }
        let logits = self.model.outputs.iter().find(|output| output.name == generation.logits);
        let logits = logits.ok_or_else(|| format!("generates: there is no output {}", generation.logits))?;
        match logits.shape {
            [rows, positions, _] if [*rows, *positions] == *tokens.shape && logits.dtype.is_float() => Ok(()),
            other => Err(format!(
                "generates: {} is {}, not a score of every token at {}",
                logits.name,
                symbols(other),
                symbols(tokens.shape)
            )),
        }
    }

    /// The input of that name, rows of token ids, which a check changes or lengthens.
    fn tokens(self, name: &str, check: Check) -> Result<&'a Input, String> {
        let check = check.name();
        let port = self.input(name).ok_or_else(|| format!("{check}: there is no input {name}"))?;
        match (port.shape, port.dtype) {
            ([Dim::Named(_), Dim::Named(_)], Dtype::Int32 | Dtype::Int64) => Ok(port),
            (shape, dtype) => {
                let found = format!("{} {}", dtype.name(), symbols(shape));
                Err(format!("{check}: {name} is {found}, not rows of token ids"))
            }
        }
    }

    fn input(self, name: &str) -> Option<&'a Input> {
        self.model.inputs.iter().find(|input| input.name == name)
    }
}

/// The size at a path of a config; none where the config leaves it to the class.
fn size_at(config: &Map<String, Value>, path: &str) -> Option<usize> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (config.get(first)?, rest) {
        (Value::Object(inner), Some(rest)) => size_at(inner, rest),
        (value, None) => value.as_u64().and_then(|size| usize::try_from(size).ok()),
        _ => None,
    }
}

fn symbols(shape: Shape) -> String {
    format!("[{}]", Vec::from_iter(shape.iter().map(Dim::to_string)).join(", "))
}

#[cfg(test)]
mod tests;
