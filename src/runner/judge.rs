//! A judge for anyone's export: somebody's own program, held to an entry's references by the checks of this project.
//!
//! In: a program file, an entry with its artifact. Out: how its inputs and outputs were matched to the entry's, and what
//! each check found. The checks see an ordinary engine ([`Foreign`]) and do not know.

use crate::artifact::{Artifact, Format};
use crate::device::Device;
use crate::engine::{self, Engine, Program};
use crate::failure::{Failure, Stage};
use crate::model::ModelSpec;
use crate::numerics::Tensor;
use crate::spec::{Check, Entry, Padding};
use crate::task::{Dtype, Fill, Input};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The checks that run the program alone. The others ask for what only this project's artifacts have: digests of weights,
/// half precisions, a program with a cache.
pub const JUDGED: [Check; 10] = [
    Check::OutputContract,
    Check::MatchesReference,
    Check::Generalises,
    Check::Deterministic,
    Check::BatchInvariant,
    Check::PaddingInvariant,
    Check::Causal,
    Check::Responsive,
    Check::Optimised,
    Check::Exact,
];

/// What helps where inputs do not fit.
const NAMING: &str = "name those that the program takes, in its order: --inputs A,B";

/// How inputs were matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Name,
    Order,
    /// Somebody said so.
    Word,
}

impl By {
    /// `by name`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Name => "by name",
            Self::Order => "by order: the file does not name them",
            Self::Word => "as --inputs says",
        }
    }
}

/// Which of an entry's inputs a program takes, and which of its outputs are the entry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For each input of the program, in its order, the place of the entry's.
    pub inputs: Vec<usize>,
    pub by: By,
    /// For each of the entry's outputs the place of the program's.
    pub outputs: Vec<usize>,
    /// How many outputs the program has.
    pub returned: usize,
}

/// Somebody's program.
pub struct Foreign {
    pub file: PathBuf,
    engine: &'static dyn Engine,
    pub ports: Ports,
}

impl Foreign {
    /// Opens the program in `file` and finds out, by its names and by a run of the artifact's traced case, what of it is
    /// what of the entry; `named` are the entry's inputs in the program's order, where somebody says so.
    ///
    /// # Errors
    /// Stage `load`: no such program, inputs that the entry does not have; stage `run`: it does not run at the traced sizes;
    /// stage `compare`: it returns nothing that could be one of the entry's outputs.
    pub fn open(
        file: &Path,
        named: Option<&[String]>,
        artifact: &Artifact,
        model: &ModelSpec,
        device: Device,
    ) -> Result<Self, Failure> {
        let none = || Failure::new(Stage::Load, "this build has no libtorch");
        let engine = engine::of(format_of(file)).ok_or_else(none)?;
        let program = engine.load(file, device)?;
        let (inputs, by) = inputs(model, named, &program.takes())?;
        let ports = Ports { inputs, by, outputs: Vec::new(), returned: 0 };
        let returned = program.run(&ports.given(&artifact.inputs("traced")?)).map_err(|failure| {
            let given: Vec<&str> = ports.inputs.iter().map(|place| &*model.inputs[*place].name).collect();
            failure.with(format!("given {}, {}; {NAMING}", given.join(", "), by.words()))
        })?;
        let expected = model.outputs.iter().map(|port| {
            let eager = artifact.reference("traced", Dtype::Float32, &port.name)?;
            Ok((port.name.as_ref(), eager))
        });
        let outputs = outputs(&expected.collect::<Result<Vec<_>, Failure>>()?, &returned)?;
        let ports = Ports { outputs, returned: returned.len(), ..ports };
        Ok(Self { file: file.to_owned(), engine, ports })
    }

    fn matched(&self, program: Box<dyn Program>) -> Box<dyn Program> {
        Box::new(Matched { program, ports: self.ports.clone() })
    }
}

/// The engine that reads a file, by the end of its name: `.pt2` is a graph of `torch.export`, everything else TorchScript.
pub fn format_of(file: &Path) -> Format {
    match file.extension().is_some_and(|end| end == "pt2") {
        true => Format::Pt2,
        false => Format::TorchScript,
    }
}

/// The checks that are due on somebody's program for an entry.
pub fn due(entry: &Entry, file: &Path) -> impl Iterator<Item = Check> {
    format_of(file).due(entry).filter(|check| JUDGED.contains(check))
}

/// What a program calls its inputs; nothing where its file does not say.
///
/// # Errors
/// Stage `load`: no such program.
pub fn takes(file: &Path) -> Result<Vec<String>, Failure> {
    match (format_of(file), engine::of(Format::Pt2)) {
        (Format::Pt2, Some(engine)) => Ok(engine.load(file, Device::Cpu)?.takes()),
        _ => Ok(Vec::new()),
    }
}

/// The entry for a program that takes no positions, where that is so: eager Python counts them itself, as the program
/// does, from the first token on, and so rightly only where padding comes last.
pub fn counting(entry: &Entry, takes: &[String]) -> Option<Entry> {
    let is_taken = |input: &Input| takes.iter().any(|name| *input.name == **name);
    let is_counted = |input: &Input| input.fill == Fill::Positions && !is_taken(input);
    if !entry.inputs.iter().any(is_taken) || !entry.inputs.iter().any(is_counted) {
        return None;
    }
    let mut entry = entry.clone();
    entry.inputs.retain(|input| !is_counted(input));
    if entry.padding == Padding::Left {
        entry.padding = Padding::Right;
    }
    Some(entry)
}

impl Engine for Foreign {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    /// The one program there is, whichever of the artifact's is asked for.
    fn load(&self, _: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        Ok(self.matched(self.engine.load(&self.file, device)?))
    }

    fn load_in_float64(&self, _: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        Ok(self.matched(self.engine.load_in_float64(&self.file, device)?))
    }
}

/// A program that is given the entry's inputs and returns the entry's outputs.
struct Matched {
    program: Box<dyn Program>,
    ports: Ports,
}

impl Ports {
    /// The entry's inputs as the program takes them.
    fn given(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        self.inputs.iter().map(|place| inputs[*place].clone()).collect()
    }

    /// The program's outputs as the entry has them; one that is missing now was there at the traced sizes.
    fn found(&self, returned: Vec<Tensor>) -> Result<Vec<Tensor>, Failure> {
        let missing = || {
            let then = self.returned;
            let counts =
                format!("the program returned {} outputs, and {then} at the traced sizes", returned.len());
            Failure::new(Stage::Run, counts)
        };
        self.outputs.iter().map(|place| returned.get(*place).cloned().ok_or_else(missing)).collect()
    }
}

impl Program for Matched {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        self.ports.found(self.program.run(&self.ports.given(inputs))?)
    }

    fn served(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Tensor>, Failure> {
        self.ports.found(self.program.served(&self.ports.given(inputs), count)?)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        self.program.parameters()
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        self.program.digests(names)
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        self.program.save(path)
    }

    fn parameter(&self, name: &str) -> Result<Tensor, Failure> {
        self.program.parameter(name)
    }

    fn perturb(&self, parameter: &str, element: usize, delta: f64) -> Result<(), Failure> {
        self.program.perturb(parameter, element, delta)
    }
}

/// The places of the entry's inputs in a program's order: as somebody named them, else by the program's own names, else,
/// where none of these is one of the entry's, in the entry's order.
fn inputs(
    model: &ModelSpec,
    named: Option<&[String]>,
    takes: &[String],
) -> Result<(Vec<usize>, By), Failure> {
    let place = |name: &String| model.inputs.iter().position(|input| *input.name == **name);
    let (names, by) = match named {
        Some(names) => (names, By::Word),
        None if takes.iter().any(|name| place(name).is_some()) => (takes, By::Name),
        None if takes.len() <= model.inputs.len() => {
            let count = if takes.is_empty() { model.inputs.len() } else { takes.len() };
            return Ok(((0..count).collect(), By::Order));
        }
        None => (takes, By::Name),
    };
    let unknown = |name: &String| {
        let known: Vec<&str> = model.inputs.iter().map(|input| &*input.name).collect();
        let failure = Failure::new(Stage::Load, format!("{} has no input '{name}'", model.name));
        failure.with(format!("it has: {}; {NAMING}", known.join(", ")))
    };
    let places =
        names.iter().map(|name| place(name).ok_or_else(|| unknown(name))).collect::<Result<_, _>>()?;
    Ok((places, by))
}

/// For each of the entry's outputs, given by name as eager returns it, the first of the program's, not taken yet, that has
/// its type and shape.
fn outputs(expected: &[(&str, Tensor)], returned: &[Tensor]) -> Result<Vec<usize>, Failure> {
    let mut places: Vec<usize> = Vec::new();
    for (name, eager) in expected {
        let fits = |place: &usize| {
            let output = &returned[*place];
            !places.contains(place) && (output.dtype, output.shape()) == (eager.dtype, eager.shape())
        };
        let place = (0..returned.len()).find(fits).ok_or_else(|| {
            let shapes: Vec<String> = returned.iter().map(described).collect();
            let none = format!("the program returns no {name}, {}", described(eager));
            let returns = format!("at the traced sizes it returns {}", shapes.join(", "));
            Failure::new(Stage::Compare, none).with(returns)
        })?;
        places.push(place);
    }
    Ok(places)
}

/// `float32 [2, 12, 128]`.
fn described(tensor: &Tensor) -> String {
    format!("{} {:?}", tensor.dtype.name(), tensor.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Dtype, Task, TextGeneration};

    /// Takes input_ids, attention_mask and position_ids.
    const SPEC: ModelSpec = ModelSpec {
        name: "toy",
        family: "toys",
        class: "Toy",
        checkpoint: None,
        digest: "",
        inputs: TextGeneration::CONTRACT.inputs,
        outputs: TextGeneration::CONTRACT.outputs,
        axes: &[],
        tolerance: &[],
        idle: &[],
    };

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn inputs_are_matched_by_word_then_by_name_then_by_order() {
        let matched = |named: Option<&[&str]>, takes: &[&str]| {
            inputs(&SPEC, named.map(owned).as_deref(), &owned(takes)).unwrap()
        };
        assert_eq!(SPEC.inputs.len(), 3);
        assert_eq!(matched(None, &["attention_mask", "input_ids"]), (vec![1, 0], By::Name));
        assert_eq!(matched(None, &["tensors_0", "tensors_1"]), (vec![0, 1], By::Order));
        assert_eq!(matched(None, &[]), (vec![0, 1, 2], By::Order));
        let word = matched(Some(&["position_ids", "input_ids"]), &["input_ids", "attention_mask"]);
        assert_eq!(word, (vec![2, 0], By::Word));
    }

    #[test]
    fn a_program_that_takes_no_positions_is_held_to_what_eager_counts_itself() {
        let mut entry = crate::report::samples::spec().entries.remove(0);
        entry.inputs = TextGeneration::CONTRACT.inputs.to_vec();
        entry.padding = Padding::Left;
        let own = counting(&entry, &owned(&["input_ids", "attention_mask"])).unwrap();
        let names: Vec<&str> = own.inputs.iter().map(|input| &*input.name).collect();
        assert_eq!((names, own.padding), (vec!["input_ids", "attention_mask"], Padding::Right));
        for takes in [&["input_ids", "position_ids"][..], &["a", "b"], &[]] {
            assert!(counting(&entry, &owned(takes)).is_none(), "{takes:?}");
        }
    }

    #[test]
    fn an_input_that_the_entry_does_not_have_is_named_with_those_it_has() {
        let refused = |named: Option<&[&str]>, takes: &[&str]| {
            let failure = inputs(&SPEC, named.map(owned).as_deref(), &owned(takes)).unwrap_err();
            let known = "it has: input_ids, attention_mask, position_ids; name those";
            assert!(failure.details[0].starts_with(known), "{:?}", failure.details);
            failure.message
        };
        assert_eq!(refused(None, &["input_ids", "pixels"]), "toy has no input 'pixels'");
        assert_eq!(refused(Some(&["mask"]), &["input_ids"]), "toy has no input 'mask'");
        assert_eq!(refused(None, &["a", "b", "c", "d"]), "toy has no input 'a'");
    }

    #[test]
    fn outputs_are_the_first_of_their_type_and_shape_and_each_is_taken_once() {
        let zeros = |shape: &[usize]| Tensor::zeros(Dtype::Float32, shape);
        let returned = [zeros(&[2, 3]), Tensor::zeros(Dtype::Int64, &[2, 4]), zeros(&[2, 4]), zeros(&[2, 4])];
        let expected = [("boxes", zeros(&[2, 4])), ("logits", zeros(&[2, 3])), ("more", zeros(&[2, 4]))];
        assert_eq!(outputs(&expected, &returned).unwrap(), [2, 0, 3]);
        let failure = outputs(&expected, &returned[..3]).unwrap_err();
        assert_eq!(failure.message, "the program returns no more, float32 [2, 4]");
        let returns = "at the traced sizes it returns float32 [2, 3], int64 [2, 4], float32 [2, 4]";
        assert_eq!(failure.details, [returns]);
    }

    #[test]
    fn a_graph_is_judged_without_rounding_too() {
        let entry = crate::report::samples::spec().entries.remove(0);
        let exact = |file: &str| due(&entry, Path::new(file)).any(|check| check == Check::Exact);
        assert!(exact("theirs.pt2"));
        assert!(!exact("theirs.pt"));
    }

    #[test]
    fn what_returns_less_than_it_did_is_a_failure_and_no_panic() {
        let ports = Ports { inputs: vec![], by: By::Order, outputs: vec![1], returned: 2 };
        let one = Tensor::zeros(Dtype::Float32, &[1]);
        assert_eq!(ports.found(vec![one.clone(), one.clone()]).unwrap(), std::slice::from_ref(&one));
        let less = "the program returned 1 outputs, and 2 at the traced sizes";
        assert_eq!(ports.found(vec![one]).unwrap_err().message, less);
    }
}
