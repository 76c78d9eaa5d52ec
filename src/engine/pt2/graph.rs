//! A graph as it is run: values are numbered, and every step says which of them nobody needs after it.
//!
//! In: what [`super::from_schema`] builds. Out: what the interpreter runs. Nothing of libtorch is needed here. The body of a
//! loop is a graph of its own.

use super::sizes::{Arithmetic, Number};

/// The number of a value.
pub type Slot = usize;

/// A graph whose inputs have the first numbers.
#[derive(Debug, Default, PartialEq)]
pub struct Graph {
    /// What each input is, in order.
    pub inputs: Vec<Input>,
    pub steps: Vec<Step>,
    pub outputs: Vec<Slot>,
    /// How many values there are.
    pub slots: usize,
}

/// What an input stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is given at each run, under this name.
    Given(String),
    Parameter(String),
    Buffer(String),
    Constant(String),
}

/// One operator, on values that are there by then.
#[derive(Debug, PartialEq)]
pub struct Step {
    pub target: Target,
    pub arguments: Vec<(String, Argument)>,
    pub outputs: Vec<Output>,
    /// Values that no later step reads and that are no outputs.
    pub dead: Vec<Slot>,
    /// Where in the model's source it comes from, as far as the file says.
    pub line: Option<Line>,
}

/// A line of Python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub file: String,
    pub number: usize,
    pub code: String,
}

/// What a step runs.
#[derive(Debug, PartialEq)]
pub enum Target {
    /// `aten::add`, `Tensor`.
    Operator {
        name: String,
        overload: String,
    },
    /// The size of a tensor along a dimension.
    Size,
    Arithmetic(Arithmetic),
    Scan(Scan),
}

/// A loop along the first dimension of some tensors (`torch._higher_order_ops.scan`).
///
/// Its body takes what the step before it has left, a slice of each tensor, and what is the same in every step; it returns
/// what it leaves, and slices of what the loop returns after what the last step has left.
#[derive(Debug, PartialEq)]
pub struct Scan {
    pub body: Graph,
    /// What the first step is given.
    pub start: Vec<Slot>,
    /// What is taken slice by slice.
    pub along: Vec<Slot>,
    /// What every step is given.
    pub whole: Vec<Slot>,
}

/// What an operator is given: a value of the graph, a constant, or a list that may hold both.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    None,
    Value(Slot),
    Tensors(Vec<Option<Slot>>),
    Number(Number),
    Sizes(Vec<Size>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Text(String),
    /// ATen's number of an element type.
    ElementType(i64),
    /// The device that the program is on, whatever the file says.
    Device,
}

/// A whole number, known or computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Known(i64),
    Value(Slot),
}

/// Where what a step returns goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Nothing,
    Value(Slot),
    List(Vec<Slot>),
}

impl Input {
    /// The name of the weight that it stands for; none where it is given at each run.
    pub fn weight(&self) -> Option<&str> {
        match self {
            Self::Given(_) => None,
            Self::Parameter(name) | Self::Buffer(name) | Self::Constant(name) => Some(name),
        }
    }
}

impl Step {
    /// The values that it needs.
    pub fn reads(&self) -> Vec<Slot> {
        match &self.target {
            Target::Scan(Scan { start, along, whole, .. }) => [&start[..], along, whole].concat(),
            _ => self.arguments.iter().flat_map(|(_, argument)| argument.reads()).collect(),
        }
    }
}

impl Argument {
    /// The values that it needs.
    pub fn reads(&self) -> Vec<Slot> {
        match self {
            Self::Value(slot) => vec![*slot],
            Self::Tensors(slots) => slots.iter().flatten().copied().collect(),
            Self::Sizes(sizes) => sizes.iter().filter_map(|size| size.slot()).collect(),
            _ => Vec::new(),
        }
    }
}

impl Size {
    fn slot(&self) -> Option<Slot> {
        match self {
            Self::Known(_) => None,
            Self::Value(slot) => Some(*slot),
        }
    }
}

impl Output {
    /// The values that it is.
    pub fn slots(&self) -> &[Slot] {
        match self {
            Self::Nothing => &[],
            Self::Value(slot) => std::slice::from_ref(slot),
            Self::List(slots) => slots,
        }
    }
}

/// ATen's numbers of element types.
const FLOAT32: i64 = 6;
const FLOAT64: i64 = 7;
const COMPLEX64: i64 = 9;
const COMPLEX128: i64 = 10;

impl Graph {
    /// Puts float64 in the place of every float32 that an operator is told to make or to expect.
    pub fn widen(&mut self) {
        for step in &mut self.steps {
            if let Target::Scan(scan) = &mut step.target {
                scan.body.widen();
            }
            for (_, argument) in &mut step.arguments {
                if let Argument::ElementType(kind) = argument {
                    *kind = match *kind {
                        FLOAT32 => FLOAT64,
                        COMPLEX64 => COMPLEX128,
                        other => other,
                    };
                }
            }
        }
    }

    /// The first constant that something is multiplied or divided by, of a size that matters.
    pub fn factor(&mut self) -> Option<&mut f64> {
        let is_product = |step: &&mut Step| matches!(&step.target, Target::Operator { name, .. } if name == "aten::mul" || name == "aten::div");
        let arguments = self.steps.iter_mut().filter(is_product).flat_map(|step| &mut step.arguments);
        arguments.into_iter().find_map(|(_, argument)| match argument {
            Argument::Number(Number::Float(factor)) if (1e-3..1e3).contains(&factor.abs()) => Some(factor),
            _ => None,
        })
    }

    /// Tells every step which values are needed no more after it.
    pub(super) fn find_last_uses(&mut self) {
        let mut needed = vec![false; self.slots];
        // Inputs are the caller's, and outputs are given to it.
        needed[..self.inputs.len()].fill(true);
        self.outputs.iter().for_each(|slot| needed[*slot] = true);
        for step in self.steps.iter_mut().rev() {
            let read = step.reads();
            let made = step.outputs.iter().flat_map(|output| output.slots().to_vec());
            for slot in read.into_iter().chain(made) {
                if !std::mem::replace(&mut needed[slot], true) {
                    step.dead.push(slot);
                }
            }
        }
    }
}
