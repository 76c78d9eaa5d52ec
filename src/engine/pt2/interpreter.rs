//! Runs a graph, operator by operator.
//!
//! In: a [`Graph`] and a device, then weights and inputs. Out: the graph's outputs. Every operator is looked up once, when
//! the graph is loaded, with all its constants; what it is given at a run are tensors and sizes.

use super::graph::{Argument, Graph, Output, Scan, Size, Slot, Step, Target};
use super::shim::{Call, Given, Pointers, Returned};
use super::sizes::{Arithmetic, Number};
use crate::device::Device;
use tch::Tensor;

/// A graph whose operators were found.
pub struct Interpreter {
    graph: Graph,
    steps: Vec<Ready>,
}

/// A step, ready to be run.
enum Ready {
    Call {
        call: Call,
        /// The places, among the step's arguments, of those that come with each call.
        later: Vec<usize>,
        /// Their positions in the operator's schema.
        places: Vec<i32>,
    },
    Size,
    Arithmetic(Arithmetic),
    /// A loop, with its body's operators.
    Scan(Vec<Ready>),
}

/// What a slot holds.
enum Value {
    Tensor(Tensor),
    Number(Number),
}

/// A step that failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("{operator}: {why}")]
pub struct StepError {
    /// The operator as the graph's file has it.
    pub operator: String,
    pub why: String,
}

impl Interpreter {
    /// Looks up every operator of a graph; device arguments become `device`.
    ///
    /// # Errors
    /// An operator that this libtorch does not have, or that takes other arguments.
    pub fn new(graph: Graph, device: Device) -> Result<Self, StepError> {
        let steps = all_ready(&graph, &device.to_string())?;
        Ok(Self { graph, steps })
    }

    /// The graph that is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Runs the graph on its inputs, weights among them, in its order.
    ///
    /// # Errors
    /// The first step that fails.
    ///
    /// # Panics
    /// When there are fewer inputs than the graph has.
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, StepError> {
        run_all(&self.graph, &self.steps, inputs)
    }

    /// Begins to run the graph step by step.
    pub fn begin<'a>(&'a self, inputs: &'a [&'a Tensor]) -> Running<'a> {
        Running::new(&self.graph, &self.steps, inputs)
    }
}

/// Every step of a graph, ready to be run.
fn all_ready(graph: &Graph, device: &str) -> Result<Vec<Ready>, StepError> {
    graph.steps.iter().map(|step| ready(step, device).map_err(|why| failed(step, why))).collect()
}

/// A graph's outputs.
fn run_all(graph: &Graph, steps: &[Ready], inputs: &[&Tensor]) -> Result<Vec<Tensor>, StepError> {
    let mut running = Running::new(graph, steps, inputs);
    for place in 0..steps.len() {
        running.step(place)?;
        running.forget_after(place);
    }
    let output = |slot: &Slot| running.values.tensor(*slot).map(Tensor::shallow_clone);
    let outputs: Result<_, String> = graph.outputs.iter().map(output).collect();
    outputs.map_err(|why| StepError { operator: "the graph's outputs".to_owned(), why })
}

/// A graph that has run so far.
pub struct Running<'a> {
    graph: &'a Graph,
    steps: &'a [Ready],
    values: Values<'a>,
}

impl<'a> Running<'a> {
    fn new(graph: &'a Graph, steps: &'a [Ready], inputs: &'a [&'a Tensor]) -> Self {
        Self { graph, steps, values: Values::new(inputs, graph.slots) }
    }

    /// Runs the step at a place, all before it having run.
    pub fn step(&mut self, place: usize) -> Result<(), StepError> {
        let step = &self.graph.steps[place];
        run(step, &self.steps[place], &mut self.values).map_err(|why| failed(step, why))
    }

    /// Drops what nobody needs after that step.
    pub fn forget_after(&mut self, place: usize) {
        self.graph.steps[place].dead.iter().for_each(|slot| self.values.forget(*slot));
    }

    /// The tensors that a step needs, before it has run.
    pub fn given(&self, place: usize) -> Vec<&Tensor> {
        let slots = self.graph.steps[place].reads();
        slots.into_iter().filter_map(|slot| self.values.tensor(slot).ok()).collect()
    }

    /// The tensors that a step has made.
    pub fn made(&self, place: usize) -> Vec<&Tensor> {
        let slots = self.graph.steps[place].outputs.iter().flat_map(Output::slots);
        slots.filter_map(|slot| self.values.tensor(*slot).ok()).collect()
    }

    /// What the same step of another interpreter of this graph makes of what is given to it here, once `converted`. To be
    /// asked before the step has run: it may write into what it is given.
    pub fn elsewhere(
        &self,
        place: usize,
        other: &Interpreter,
        converted: impl Fn(&Tensor) -> Result<Tensor, String>,
    ) -> Result<Vec<Tensor>, StepError> {
        let step = &other.graph.steps[place];
        let made = || {
            let mut values = Values::new(&[], other.graph.slots);
            for slot in step.reads() {
                let value = match self.values.get(slot)? {
                    Held::Tensor(tensor) => Value::Tensor(converted(tensor)?),
                    Held::Number(number) => Value::Number(number),
                };
                values.put(slot, value);
            }
            run(step, &other.steps[place], &mut values)?;
            let slots = step.outputs.iter().flat_map(Output::slots);
            Ok(slots.filter_map(|slot| values.tensor(*slot).ok().map(Tensor::shallow_clone)).collect())
        };
        made().map_err(|why| failed(step, why))
    }
}

/// The values of one run.
struct Values<'a> {
    inputs: &'a [&'a Tensor],
    /// All others.
    own: Vec<Option<Value>>,
}

impl<'a> Values<'a> {
    fn new(inputs: &'a [&'a Tensor], slots: usize) -> Self {
        let own = Vec::from_iter((inputs.len()..slots).map(|_| None));
        Self { inputs, own }
    }
}

impl Values<'_> {
    fn tensor(&self, slot: Slot) -> Result<&Tensor, String> {
        match self.get(slot)? {
            Held::Tensor(tensor) => Ok(tensor),
            Held::Number(number) => Err(format!("{number:?} stands where a tensor must")),
        }
    }

    fn number(&self, slot: Slot) -> Result<Number, String> {
        match self.get(slot)? {
            Held::Number(number) => Ok(number),
            Held::Tensor(_) => Err("a tensor stands where a number must".to_owned()),
        }
    }

    fn whole(&self, slot: Slot) -> Result<i64, String> {
        let number = self.number(slot)?;
        number.whole().ok_or_else(|| format!("{number:?} stands where a whole number must"))
    }

    fn get(&self, slot: Slot) -> Result<Held<'_>, String> {
        if let Some(input) = self.inputs.get(slot) {
            return Ok(Held::Tensor(input));
        }
        match &self.own[slot - self.inputs.len()] {
            Some(Value::Tensor(tensor)) => Ok(Held::Tensor(tensor)),
            Some(Value::Number(number)) => Ok(Held::Number(*number)),
            None => Err("a value that it needs is not there: its operator returned none".to_owned()),
        }
    }

    fn put(&mut self, slot: Slot, value: Value) {
        self.own[slot - self.inputs.len()] = Some(value);
    }

    fn forget(&mut self, slot: Slot) {
        self.own[slot - self.inputs.len()] = None;
    }
}

/// A look at what a slot holds.
enum Held<'a> {
    Tensor(&'a Tensor),
    Number(Number),
}

fn ready(step: &Step, device: &str) -> Result<Ready, String> {
    let (name, overload) = match &step.target {
        Target::Size => return Ok(Ready::Size),
        Target::Arithmetic(arithmetic) => return Ok(Ready::Arithmetic(*arithmetic)),
        Target::Scan(scan) => {
            let body = all_ready(&scan.body, device).map_err(|error| error.to_string())?;
            return Ok(Ready::Scan(body));
        }
        Target::Operator { name, overload } => (name, overload),
    };
    let given = |(name, argument)| (name, constant(argument, device));
    let arguments = step.arguments.iter().map(|(name, argument)| (name.as_str(), argument));
    let call = Call::prepare(name, overload, &Vec::from_iter(arguments.map(given)))?;
    if call.returns() != step.outputs.len() {
        return Err(format!(
            "it returns {} values, and the graph takes {}",
            call.returns(),
            step.outputs.len()
        ));
    }
    let comes_later = |place: &usize| !step.arguments[*place].1.reads().is_empty();
    let later = Vec::from_iter((0..step.arguments.len()).filter(comes_later));
    let places = later.iter().map(|place| call.place(*place)).collect();
    Ok(Ready::Call { call, later, places })
}

/// An argument that no value of the graph is part of.
fn constant<'a>(argument: &'a Argument, device: &'a str) -> Given<'a> {
    let known = |size: &Size| match size {
        Size::Known(size) => Some(*size),
        Size::Value(_) => None,
    };
    match argument {
        Argument::None => Given::None,
        Argument::Number(number) => Given::Number(*number),
        Argument::ElementType(kind) => Given::Number(Number::Int(*kind)),
        Argument::Floats(all) => Given::Floats(all),
        Argument::Bools(all) => Given::Bools(all),
        Argument::Text(text) => Given::Text(text),
        Argument::Device => Given::Device(device),
        Argument::Sizes(sizes) => {
            sizes.iter().map(known).collect::<Option<_>>().map_or(Given::Later, Given::Ints)
        }
        Argument::Tensors(slots) if slots.iter().all(Option::is_none) => {
            Given::Tensors(slots.iter().map(|_| None).collect())
        }
        Argument::Value(_) | Argument::Tensors(_) => Given::Later,
    }
}

fn run(step: &Step, ready: &Ready, values: &mut Values) -> Result<(), String> {
    match ready {
        Ready::Call { call, later, places } => {
            let given = later.iter().map(|place| current(&step.arguments[*place].1, values));
            let given = given.collect::<Result<Vec<_>, _>>()?;
            let returned = call.call(places, &given)?;
            drop(given);
            returned
                .into_iter()
                .zip(&step.outputs)
                .try_for_each(|(returned, output)| keep(returned, output, values))
        }
        Ready::Size => {
            let given =
                |name| step.arguments.iter().find(|(found, _)| found == name).map(|(_, argument)| argument);
            let (Some(Argument::Value(tensor)), Some(dim)) = (given("self"), given("dim")) else {
                return Err("it takes a tensor and a dimension".to_owned());
            };
            let sizes = values.tensor(*tensor)?.size();
            let dim = number(dim, values)?.whole().ok_or("a dimension is a whole number")?;
            let place = if dim < 0 { dim + sizes.len() as i64 } else { dim };
            let size = usize::try_from(place).ok().and_then(|place| sizes.get(place).copied());
            let size =
                size.ok_or_else(|| format!("a tensor of {} dimensions has no dimension {dim}", sizes.len()))?;
            keep_number(Number::Int(size), step, values)
        }
        Ready::Arithmetic(arithmetic) => {
            let numbers = step.arguments.iter().map(|(_, argument)| number(argument, values));
            let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
            let computed = arithmetic.of(&numbers).map_err(|error| error.to_string())?;
            keep_number(computed, step, values)
        }
        Ready::Scan(body) => {
            let Target::Scan(scan) = &step.target else { return Err("it is no loop".to_owned()) };
            let made = looped(scan, body, values)?;
            let returned = made.into_iter().map(Returned::Tensor).zip(&step.outputs);
            returned.into_iter().try_for_each(|(returned, output)| keep(returned, output, values))
        }
    }
}

/// What the last step of a loop leaves, and the slices of all steps, stacked.
fn looped(scan: &Scan, body: &[Ready], values: &Values) -> Result<Vec<Tensor>, String> {
    let tensors =
        |slots: &[Slot]| slots.iter().map(|slot| values.tensor(*slot)).collect::<Result<Vec<_>, _>>();
    let (along, whole) = (tensors(&scan.along)?, tensors(&scan.whole)?);
    let mut left: Vec<Tensor> = tensors(&scan.start)?.into_iter().map(Tensor::shallow_clone).collect();
    let length = along[0].size().first().copied().ok_or("it goes along a tensor of no dimensions")?;
    let mut slices: Vec<Vec<Tensor>> = Vec::new();
    for place in 0..length {
        let own = along.iter().map(|tensor| tensor.f_select(0, place)).collect::<Result<Vec<_>, _>>();
        let own = own.map_err(|error| error.to_string())?;
        let inputs = Vec::from_iter(left.iter().chain(&own).chain(whole.iter().copied()));
        let mut made = run_all(&scan.body, body, &inputs).map_err(|error| error.to_string())?;
        slices.push(made.split_off(left.len()));
        left = made;
    }
    let kept = scan.body.outputs.len() - left.len();
    for place in 0..kept {
        let stacked = Tensor::f_stack(&Vec::from_iter(slices.iter().map(|made| &made[place])), 0);
        left.push(stacked.map_err(|error| error.to_string())?);
    }
    Ok(left)
}

/// An argument as it is in this run.
fn current<'a>(argument: &'a Argument, values: &'a Values) -> Result<Given<'a>, String> {
    match argument {
        Argument::Value(slot) => Ok(match values.get(*slot)? {
            Held::Tensor(tensor) => Given::Tensor(tensor),
            Held::Number(number) => Given::Number(number),
        }),
        Argument::Tensors(slots) => {
            let tensor = |slot: &Option<Slot>| slot.map(|slot| values.tensor(slot)).transpose();
            slots.iter().map(tensor).collect::<Result<Pointers, _>>().map(Given::Tensors)
        }
        Argument::Sizes(sizes) => {
            let size = |size: &Size| match size {
                Size::Known(size) => Ok(*size),
                Size::Value(slot) => values.whole(*slot),
            };
            sizes.iter().map(size).collect::<Result<_, _>>().map(Given::Ints)
        }
        constant => Err(format!("{constant:?} does not change from run to run")),
    }
}

fn number(argument: &Argument, values: &Values) -> Result<Number, String> {
    match argument {
        Argument::Number(number) => Ok(*number),
        Argument::Value(slot) => values.number(*slot),
        other => Err(format!("{other:?} is no number")),
    }
}

fn keep(returned: Returned, output: &Output, values: &mut Values) -> Result<(), String> {
    match (returned, output) {
        (Returned::Tensor(tensor), Output::Value(slot)) => values.put(*slot, Value::Tensor(tensor)),
        (Returned::Number(number), Output::Value(slot)) => values.put(*slot, Value::Number(number)),
        (Returned::Tensors(tensors), Output::List(slots)) if tensors.len() == slots.len() => {
            tensors
                .into_iter()
                .zip(slots)
                .for_each(|(tensor, slot)| values.put(*slot, Value::Tensor(tensor)));
        }
        (Returned::Tensors(tensors), Output::List(slots)) => {
            return Err(format!(
                "it returns a list of {} tensors, and the graph takes {}",
                tensors.len(),
                slots.len()
            ));
        }
        (_, Output::Nothing) | (Returned::None, Output::Value(_)) => {}
        (returned, output) => return Err(format!("it returns {returned:?}, and the graph takes {output:?}")),
    }
    Ok(())
}

fn keep_number(number: Number, step: &Step, values: &mut Values) -> Result<(), String> {
    match step.outputs[..] {
        [Output::Value(slot)] => values.put(slot, Value::Number(number)),
        _ => return Err("it returns one number".to_owned()),
    }
    Ok(())
}

fn failed(step: &Step, why: String) -> StepError {
    StepError { operator: operator(step), why }
}

/// What a step runs, by the name that the graph's file has for it.
pub fn operator(step: &Step) -> String {
    match &step.target {
        Target::Operator { name, overload } if overload.is_empty() => name.clone(),
        Target::Operator { name, overload } => format!("{name}.{overload}"),
        Target::Size => "sym_size".to_owned(),
        Target::Arithmetic(arithmetic) => format!("{arithmetic:?}"),
        Target::Scan(_) => "scan".to_owned(),
    }
}
