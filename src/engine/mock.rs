//! The stand-in for builds without libtorch: what can be said of a generated module without running its model.
//!
//! In: a module's model, and the spec. Out: whether what was written apart fits together: the module and the spec, the
//! sizes that the config gives and those that the entry gives, the cases and the axes, and whatever the module's
//! checks will look for. That proves nothing about a model, so results say MOCK and are not recorded.

use crate::failure::{Failure, Stage};
use crate::model::{Model, ModelSpec, Subject};
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
    let card = &model.card;
    match of_spec(card, &T::CONTRACT) {
        Ok(()) => Verdict(Outcome::Mock),
        Err(message) => {
            eprintln!("FAILED MOCK {}: {message}", card.name);
            Verdict(Outcome::Failed(Failure::new(Stage::Spec, message)))
        }
    }
}

/// The same with the entry of that name in the spec of the working directory's project, which is read once.
fn of_spec(card: &ModelSpec, contract: &Contract) -> Result<(), String> {
    static SPEC: OnceLock<Result<Spec, String>> = OnceLock::new();
    let spec = SPEC.get_or_init(|| {
        spec::load(Path::new(".")).map_err(|problems| format!("the spec has {} problem(s)", problems.len()))
    });
    let spec = spec.as_ref().map_err(String::clone)?;
    let entry = spec.entries.iter().find(|entry| entry.name.as_str() == card.name);
    let entry = entry.ok_or("the spec has no entry of that name; run: cargo build")?;
    let subject = Subject::new(entry, &spec.versions);
    Wiring { card, contract, subject: &subject }.holds()
}

/// A module and the entry that it was made from.
#[derive(Clone, Copy)]
struct Wiring<'a> {
    card: &'a ModelSpec<'a>,
    contract: &'a Contract,
    subject: &'a Subject<'a>,
}

impl<'a> Wiring<'a> {
    fn holds(self) -> Result<(), String> {
        self.module()?;
        let cases = spec::cases(self.card.axes.iter().map(|(name, axis)| (name.as_ref(), axis)));
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
        let (module, spec) = (self.card, self.subject.card());
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
        let axes = self.card.axes;
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
        for (symbol, axis) in self.card.axes {
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
        for output in self.card.outputs.iter().filter(|output| self.contract.outputs.contains(output)) {
            let lost = |dim: &&Dim| has(self.contract.inputs, dim) && !has(self.card.inputs, dim);
            if let Some(dim) = output.shape.iter().find(lost) {
                let shape = symbols(output.shape);
                return Err(format!("{} is {shape} by the task, but no input has {dim}", output.name));
            }
        }
        Ok(())
    }

    /// Where the entry pads there is a mask, and every mask is one of something.
    fn padding(self) -> Result<(), String> {
        let masks = || self.card.inputs.iter().filter(|input| input.fill == Fill::Mask);
        if self.subject.entry().padding != Padding::None && masks().next().is_none() {
            return Err("the entry pads, but no input is a mask".to_owned());
        }
        masks().try_for_each(|mask| self.mask(mask))
    }

    /// The mask lies over another input, and has the shape of the tokens that it has in the task.
    fn mask(self, mask: &Input) -> Result<(), String> {
        let covers = |input: &Input| mask.shape.iter().all(|dim| input.shape.contains(dim));
        if !self.card.inputs.iter().any(|input| input.name != mask.name && covers(input)) {
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
        match self.card.outputs.iter().any(follows) {
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
        let logits = self.card.outputs.iter().find(|output| output.name == generation.logits);
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
        self.card.inputs.iter().find(|input| input.name == name)
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
mod tests {
    use super::*;
    use crate::spec::Entry;
    use crate::task::{FillMask, Range, Text, TextGeneration, input, mask, named, output, positions, tokens};

    const ROWS: Shape = &[named("batch"), named("sequence")];
    const CODES: Shape = &[named("batch"), named("sequence"), named("codes")];
    const POOLED: Shape = &[named("batch"), named("vocabulary")];
    const FAMILY: &str = "
family: text
defaults: {axes: {batch: [2, 3], sequence: [5, 7]}, config: {vision_config: {image_size: 32}}}
models:
  - {name: gpt2, class: GPT2LMHeadModel, task: text-generation, padding: left}
  - name: vlm
    class: Vlm
    task: image-text-to-text
    axes: {images: {per: batch, count: 2}, image: {size: 32, fixed: learned positions}}
";

    fn spec() -> Spec {
        let versions =
            "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}";
        let file = |name: &str, text: &str| (Path::new("spec").join(name), text.as_bytes().to_vec());
        spec::parse(&[file("text.yaml", FAMILY), file("versions.yaml", versions)], spec::today()).unwrap()
    }

    /// What is said of an entry's module: once the entry was changed, and then its module.
    fn said(
        name: &str,
        change_entry: impl FnOnce(&mut Entry),
        change_module: impl FnOnce(&mut ModelSpec),
    ) -> Result<(), String> {
        let Spec { mut entries, versions, .. } = spec();
        let entry = entries.iter_mut().find(|entry| entry.name.as_str() == name).unwrap();
        change_entry(entry);
        let subject = Subject::new(entry, &versions);
        let mut card = subject.card();
        change_module(&mut card);
        Wiring { card: &card, contract: entry.task, subject: &subject }.holds()
    }

    /// The same of a GPT-2 whose entry, and with it the module, was changed.
    fn said_of(change: impl FnOnce(&mut Entry)) -> String {
        said("gpt2", change, |_| {}).unwrap_err()
    }

    #[test]
    fn what_fits_together_is_wired() {
        for name in ["gpt2", "vlm"] {
            assert_eq!(said(name, |_| {}, |_| {}), Ok(()));
        }
    }

    const RANK: &[Output] = &[output("logits", Dtype::Float32, ROWS, Range::Finite)];

    #[test]
    fn a_module_that_is_not_the_specs_is_told_by_what_differs() {
        let said = |change: fn(&mut ModelSpec)| said("gpt2", |_| {}, change).unwrap_err();
        let differs = |key: &str| format!("the module and the spec differ in {key}; run: cargo build");
        assert_eq!(said(|card| card.outputs = RANK), differs("outputs"));
        assert_eq!(said(|card| card.inputs = &card.inputs[..1]), differs("inputs"));
        assert_eq!(said(|card| card.axes = &card.axes[1..]), differs("axes"));
        assert_eq!(said(|card| card.class = "GPT2Model"), differs("class"));
        assert_eq!(said(|card| card.digest = ""), differs("digest"));
    }

    #[test]
    fn a_module_of_another_task_is_told() {
        let Spec { entries, versions, .. } = spec();
        let subject = Subject::new(&entries[0], &versions);
        let wiring = Wiring { card: &subject.card(), contract: &FillMask::CONTRACT, subject: &subject };
        assert_eq!(wiring.holds().unwrap_err(), "the module and the spec differ in task; run: cargo build");
    }

    #[test]
    fn a_module_without_an_entry_is_told() {
        let Spec { entries, versions, .. } = spec();
        let subject = Subject::new(&entries[0], &versions);
        let card = ModelSpec { name: "no-such-model", ..subject.card() };
        let said = of_spec(&card, &TextGeneration::CONTRACT).unwrap_err();
        assert_eq!(said, "the spec has no entry of that name; run: cargo build");
    }

    #[test]
    fn cases_that_are_not_the_axes_are_told() {
        let Spec { entries, versions, .. } = spec();
        let entry = entries.iter().find(|entry| entry.name.as_str() == "vlm").unwrap();
        let subject = Subject::new(entry, &versions);
        let card = subject.card();
        let said = |change: fn(&mut Vec<Case>)| {
            let mut cases = entry.cases();
            change(&mut cases);
            Wiring { card: &card, contract: entry.task, subject: &subject }.cases(&cases).unwrap_err()
        };
        assert_eq!(
            said(|cases| cases.swap(0, 1)),
            "the cases are batch, traced, sequence, not traced, batch, sequence"
        );
        assert_eq!(
            said(|cases| drop(cases.pop())),
            "the cases are traced, batch, not traced, batch, sequence"
        );
        assert_eq!(
            said(|cases| cases.push(cases[1].clone())),
            "the cases are traced, batch, sequence, batch, not traced, batch, sequence"
        );
        let resized = |name: &str, size: usize| {
            let mut cases = entry.cases();
            cases[1].sizes.insert(name.to_owned(), size);
            Wiring { card: &card, contract: entry.task, subject: &subject }.cases(&cases).unwrap_err()
        };
        assert_eq!(resized("images", 4), "case batch: images is 4, not 6");
        assert_eq!(resized("batch", 2), "case batch: batch is 2, not 3");
        assert_eq!(resized("sequence", 7), "case batch: sequence is 7, not 5");
        assert_eq!(resized("image", 31), "case batch: image is 31, not 32");
    }

    #[test]
    fn sizes_of_the_call_that_the_config_contradicts_are_told() {
        let image = |size: usize| {
            let reason = Text("learned positions");
            said("vlm", |entry| _ = entry.axes.insert("image".into(), Axis::Fixed { size, reason }), |_| {})
        };
        assert_eq!(image(48).unwrap_err(), "case traced: image is 48, but 32 in the config");
        let labels = said_of(|entry| {
            entry.axes.insert("vocabulary".into(), Axis::Dynamic { traced: 8, second: 9 });
            entry.config.insert("vocab_size".into(), 8.into());
        });
        assert_eq!(labels, "case vocabulary: vocabulary is 9, but 8 in the config");
    }

    #[test]
    fn a_batch_of_one_row_proves_nothing_of_rows() {
        let one =
            said_of(|entry| _ = entry.axes.insert("batch".into(), Axis::Dynamic { traced: 1, second: 2 }));
        assert_eq!(one, "batch_invariant: the traced batch is one row");
    }

    #[test]
    fn an_output_that_follows_what_no_input_has_is_told() {
        const TOKENS: Shape = &[named("batch"), named("tokens")];
        let renamed = said_of(|entry| entry.inputs.iter_mut().for_each(|input| input.shape = TOKENS));
        assert_eq!(renamed, "logits is [batch, sequence, vocabulary] by the task, but no input has sequence");
    }

    #[test]
    fn padding_without_a_mask_is_told() {
        let said = said_of(|entry| entry.inputs.retain(|input| input.fill != Fill::Mask));
        assert_eq!(said, "the entry pads, but no input is a mask");
    }

    #[test]
    fn a_mask_of_another_shape_than_its_tokens_is_told() {
        const LONGER: Shape = &[named("batch"), named("joined")];
        let alone = said_of(|entry| entry.inputs[1] = mask("attention_mask", LONGER));
        assert_eq!(alone, "attention_mask [batch, joined] lies over no other input");
        let beside = said_of(|entry| {
            entry.inputs[1] = mask("attention_mask", LONGER);
            entry.inputs[2] = positions("position_ids", LONGER);
        });
        assert_eq!(beside, "attention_mask is [batch, joined], but input_ids is [batch, sequence]");
    }

    #[test]
    fn causal_without_tokens_or_an_output_that_follows_them_is_told() {
        let no_tokens = said_of(|entry| entry.inputs[0] = tokens("tokens", ROWS));
        assert_eq!(no_tokens, "causal: there is no input input_ids");
        let rank = said_of(|entry| entry.inputs[0] = tokens("input_ids", CODES));
        assert!(rank.starts_with("attention_mask is [batch, sequence], but input_ids is"), "{rank}");
        let still =
            said_of(|entry| entry.outputs[0] = output("logits", Dtype::Float32, POOLED, Range::Finite));
        assert_eq!(still, "causal: no output follows input_ids [batch, sequence]");
    }

    #[test]
    fn generation_that_names_what_is_not_there_is_told() {
        let said_of = |change: fn(&mut Entry)| {
            said_of(|entry| {
                entry.omit.insert(Check::Causal, "generation alone is looked at".to_owned());
                change(entry);
            })
        };
        let no_tokens = said_of(|entry| entry.inputs[0] = tokens("tokens", ROWS));
        assert_eq!(no_tokens, "generates: there is no input input_ids");
        let floats =
            said_of(|entry| entry.inputs[0] = input("input_ids", Dtype::Float32, ROWS, Fill::Normal));
        assert_eq!(floats, "generates: input_ids is float32 [batch, sequence], not rows of token ids");
        let no_logits =
            said_of(|entry| entry.outputs[0] = Output { name: Text("scores"), ..entry.outputs[0] });
        assert_eq!(no_logits, "generates: there is no output logits");
        let rank = said_of(|entry| entry.outputs[0] = Output { shape: ROWS, ..entry.outputs[0] });
        assert_eq!(
            rank,
            "generates: logits is [batch, sequence], not a score of every token at [batch, sequence]"
        );
        let places = said_of(|entry| entry.inputs[2] = positions("position_ids", CODES));
        assert_eq!(places, "generates: position_ids does not grow with input_ids [batch, sequence]");
        let kind = said_of(|entry| entry.inputs[2].fill = Fill::Tokens);
        assert_eq!(kind, "generates: position_ids does not grow with input_ids [batch, sequence]");
    }
}
