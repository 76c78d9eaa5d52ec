//! What a file says of its graph → the graph as it is run.
//!
//! In: [`schema`]'s types. Out: a [`Graph`], or the error that names what is not understood. Graphs inside the graph, for
//! operators that only set modes which are never set here, become part of it.

use super::graph::{Argument, Graph, Input, Line, Output, Scan, Size, Slot, Step, Target};
use super::schema::{
    self, Argument as Written, OptionalTensor, OutputSpec, SymBool, SymFloat, SymInt, element_type,
};
use super::sizes::{Arithmetic, Number};
use heck::ToSnakeCase;
use std::collections::HashMap;

/// What in a file is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("schema version {0}.{1} is not known; this build reads {major}.x", major = schema::MAJOR)]
    Version(u32, u32),
    #[error("operator {0} is refused: a program computes, by ATen's operators, and reaches no files")]
    Refused(String),
    #[error("operator {0} is neither one of torch.ops nor arithmetic on sizes")]
    Operator(String),
    #[error("operator {0} runs a graph in a way that is not known here")]
    HigherOrder(String),
    #[error("{0}: arguments of kind {1} are not supported")]
    Kind(String, String),
    #[error("{0}: element type {1} is not known")]
    ElementType(String, u32),
    #[error("{0}: layout {1} or memory format is not known")]
    Layout(String, u32),
    #[error("{0} reads '{1}', which nothing before it makes")]
    Undefined(String, String),
    #[error("the graph has {0} inputs, and its signature {1}")]
    Inputs(usize, usize),
    #[error("inputs of kind {0} are not supported")]
    Input(String),
    #[error("outputs of kind {0} are not supported")]
    Output(String),
}

impl TryFrom<schema::ExportedProgram> for Graph {
    type Error = GraphError;

    fn try_from(program: schema::ExportedProgram) -> Result<Self, GraphError> {
        let schema::SchemaVersion { major, minor } = program.schema_version;
        if major != schema::MAJOR {
            return Err(GraphError::Version(major, minor));
        }
        let schema::GraphModule { graph, signature } = program.graph_module;
        signature.output_specs.iter().try_for_each(returned)?;
        let inputs = signature.input_specs.into_iter().map(input).collect::<Result<Vec<_>, _>>()?;
        if inputs.len() != graph.inputs.len() {
            return Err(GraphError::Inputs(graph.inputs.len(), inputs.len()));
        }
        let mut building = Building { graph: Self { inputs, ..Self::default() } };
        let mut names = HashMap::new();
        for written in graph.inputs {
            let slot = building.slot();
            names.insert(name_of("the graph", written)?, slot);
        }
        let outputs = building.nodes(graph.nodes, graph.outputs, &mut names)?;
        let mut graph = Self { outputs, ..building.graph };
        graph.find_last_uses();
        Ok(graph)
    }
}

/// The innermost call of a traceback that is not torch's own: its file below the folder of packages, its line, and what is
/// written there.
fn innermost(trace: &str) -> Option<Line> {
    let lines = Vec::from_iter(trace.lines().map(str::trim));
    let is_place = |line: &&str| line.starts_with("File \"");
    let of_torch = |line: &&str| line.contains("site-packages/torch/");
    let place = lines.iter().rposition(|line| is_place(line) && !of_torch(line));
    let place = place.or_else(|| lines.iter().rposition(is_place))?;
    let (file, rest) = lines[place].strip_prefix("File \"")?.split_once("\", line ")?;
    let number = rest.split(',').next()?.parse().ok()?;
    let file = file.rsplit_once("site-packages/").map_or(file, |(_, below)| below);
    let code = lines.get(place + 1).copied().unwrap_or_default();
    Some(Line { file: file.to_owned(), number, code: code.to_owned() })
}

/// ATen's operators that read and write files.
const OF_FILES: [&str; 2] = ["from_file", "save"];

/// The names of values within one graph; those of a graph inside it are its own.
type Names = HashMap<String, Slot>;

/// A graph that is being built.
#[derive(Default)]
struct Building {
    graph: Graph,
}

impl Building {
    fn slot(&mut self) -> Slot {
        self.graph.slots += 1;
        self.graph.slots - 1
    }

    /// Adds the nodes of one graph; the slots of its outputs.
    fn nodes(
        &mut self,
        nodes: Vec<schema::Node>,
        outputs: Vec<Written>,
        names: &mut Names,
    ) -> Result<Vec<Slot>, GraphError> {
        nodes.into_iter().try_for_each(|node| self.node(node, names))?;
        let slot = |written| {
            let name = name_of("the graph", written)?;
            slot_of("the graph's output", &name, names)
        };
        outputs.into_iter().map(slot).collect()
    }

    fn node(&mut self, node: schema::Node, names: &mut Names) -> Result<(), GraphError> {
        let schema::Node { target, inputs, outputs, metadata } = node;
        let line = metadata.stack_trace.as_deref().and_then(innermost);
        if let Some(name) = target.strip_prefix("torch.ops.higher_order.") {
            return match name {
                "scan" => self.scan(inputs, outputs, line, names),
                _ => self.inlined(name, inputs, outputs, names),
            };
        }
        let arguments =
            inputs.into_iter().map(|named| Ok((named.name, argument(&target, named.arg, names)?)));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let outputs = outputs.into_iter().map(|written| self.output(&target, written, names));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let target = target_of(&target)?;
        self.graph.steps.push(Step { target, arguments, outputs, dead: Vec::new(), line });
        Ok(())
    }

    fn output(&mut self, target: &str, written: Written, names: &mut Names) -> Result<Output, GraphError> {
        let mut defined = |name: String| {
            let slot = self.slot();
            names.insert(name, slot);
            slot
        };
        Ok(match written {
            Written::AsNone(_) => Output::Nothing,
            Written::AsTensors(tensors) => {
                Output::List(tensors.into_iter().map(|one| defined(one.name)).collect())
            }
            one => Output::Value(defined(name_of(target, one)?)),
        })
    }

    /// Adds a loop whose body is a graph.
    fn scan(
        &mut self,
        inputs: Vec<schema::NamedArgument>,
        outputs: Vec<Written>,
        line: Option<Line>,
        names: &mut Names,
    ) -> Result<(), GraphError> {
        let not_known = || GraphError::HigherOrder("scan".to_owned());
        let mut inputs = inputs.into_iter().map(|input| input.arg);
        let Some(Written::AsGraph(schema::Subgraph { graph: inner })) = inputs.next() else {
            return Err(not_known());
        };
        let mut tensors = || match inputs.next() {
            Some(Written::AsTensors(all)) => {
                all.iter().map(|one| slot_of("scan", &one.name, names)).collect()
            }
            _ => Err(not_known()),
        };
        let (start, along, whole): (Vec<_>, Vec<_>, Vec<_>) = (tensors()?, tensors()?, tensors()?);
        let mut building = Self::default();
        let mut own = Names::new();
        for place in inner.inputs {
            let (slot, name) = (building.slot(), name_of("scan", place)?);
            building.graph.inputs.push(Input::Given(name.clone()));
            own.insert(name, slot);
        }
        let made = building.nodes(inner.nodes, inner.outputs, &mut own)?;
        let mut body = Graph { outputs: made, ..building.graph };
        body.find_last_uses();
        let is_fit = body.inputs.len() == start.len() + along.len() + whole.len()
            && body.outputs.len() == outputs.len()
            && outputs.len() >= start.len()
            && !along.is_empty();
        if !is_fit {
            return Err(not_known());
        }
        let outputs = outputs.into_iter().map(|written| self.output("scan", written, names));
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        let target = Target::Scan(Scan { body, start, along, whole });
        self.graph.steps.push(Step { target, arguments: Vec::new(), outputs, dead: Vec::new(), line });
        Ok(())
    }

    /// Adds the graph of an operator that runs it under a mode: gradients are off throughout, and autocast too, so that
    /// switching either off changes nothing.
    fn inlined(
        &mut self,
        name: &str,
        inputs: Vec<schema::NamedArgument>,
        outputs: Vec<Written>,
        names: &mut Names,
    ) -> Result<(), GraphError> {
        let not_known = || GraphError::HigherOrder(name.to_owned());
        let mut inputs = inputs.into_iter().map(|input| input.arg);
        let is_off = match name {
            "wrap_with_set_grad_enabled" => matches!(inputs.next(), Some(Written::AsBool(_))),
            // The device's type, an element type, whether it is on, whether casts are kept.
            "wrap_with_autocast" => matches!(inputs.by_ref().take(4).nth(2), Some(Written::AsBool(false))),
            _ => false,
        };
        if name == "wrap_with_autocast" {
            inputs.next();
        }
        let Some(Written::AsGraph(inner)) = inputs.next().filter(|_| is_off) else { return Err(not_known()) };
        let schema::Subgraph { graph } = inner;
        let mut own = Names::new();
        for (place, given) in graph.inputs.into_iter().zip(inputs) {
            let slot = slot_of(name, &name_of(name, given)?, names)?;
            own.insert(name_of(name, place)?, slot);
        }
        let made = self.nodes(graph.nodes, graph.outputs, &mut own)?;
        let mut outer = Vec::new();
        for written in outputs {
            match written {
                Written::AsTensors(tensors) => outer.extend(tensors.into_iter().map(|one| one.name)),
                one => outer.push(name_of(name, one)?),
            }
        }
        if outer.len() != made.len() {
            return Err(not_known());
        }
        names.extend(outer.into_iter().zip(made));
        Ok(())
    }
}

fn target_of(target: &str) -> Result<Target, GraphError> {
    if target == "torch.ops.aten.sym_size.int" {
        return Ok(Target::Size);
    }
    if let Some(arithmetic) = Arithmetic::named(target) {
        return Ok(Target::Arithmetic(arithmetic));
    }
    let parts: Vec<&str> =
        target.strip_prefix("torch.ops.").map(|name| name.split('.').collect()).unwrap_or_default();
    let [namespace, name, overload] = parts[..] else { return Err(GraphError::Operator(target.to_owned())) };
    if namespace != "aten" || OF_FILES.contains(&name) {
        return Err(GraphError::Refused(target.to_owned()));
    }
    let overload = if overload == "default" { "" } else { overload };
    Ok(Target::Operator { name: format!("{namespace}::{name}"), overload: overload.to_owned() })
}

fn argument(target: &str, written: Written, names: &Names) -> Result<Argument, GraphError> {
    let slot = |name: &str| slot_of(target, name, names);
    let tensor = |one: OptionalTensor| match one {
        OptionalTensor::AsTensor(one) => slot(&one.name).map(Some),
        OptionalTensor::AsNone(_) => Ok(None),
    };
    let size = |one: SymInt| match one {
        SymInt::AsName(name) => slot(&name).map(Size::Value),
        SymInt::AsInt(size) => Ok(Size::Known(size)),
    };
    let number = |number| Ok(Argument::Number(number));
    match written {
        Written::AsNone(_) | Written::AsOptionalTensor(OptionalTensor::AsNone(_)) => Ok(Argument::None),
        Written::AsTensor(one) | Written::AsOptionalTensor(OptionalTensor::AsTensor(one)) => {
            slot(&one.name).map(Argument::Value)
        }
        Written::AsTensors(all) => {
            all.iter().map(|one| slot(&one.name).map(Some)).collect::<Result<_, _>>().map(Argument::Tensors)
        }
        Written::AsOptionalTensors(all) => {
            all.into_iter().map(tensor).collect::<Result<_, _>>().map(Argument::Tensors)
        }
        Written::AsSymInt(SymInt::AsName(name))
        | Written::AsSymFloat(SymFloat::AsName(name))
        | Written::AsSymBool(SymBool::AsName(name)) => slot(&name).map(Argument::Value),
        Written::AsInt(value) | Written::AsSymInt(SymInt::AsInt(value)) => number(Number::Int(value)),
        Written::AsFloat(value) | Written::AsSymFloat(SymFloat::AsFloat(value)) => {
            number(Number::Float(value.0))
        }
        Written::AsBool(value) | Written::AsSymBool(SymBool::AsBool(value)) => number(Number::Bool(value)),
        Written::AsInts(all) => Ok(Argument::Sizes(all.into_iter().map(Size::Known).collect())),
        Written::AsSymInts(all) => all.into_iter().map(size).collect::<Result<_, _>>().map(Argument::Sizes),
        Written::AsFloats(all) => Ok(Argument::Floats(all.into_iter().map(|one| one.0).collect())),
        Written::AsBools(all) => Ok(Argument::Bools(all)),
        Written::AsString(text) => Ok(Argument::Text(text)),
        Written::AsDevice(_) => Ok(Argument::Device),
        Written::AsScalarType(written) => match element_type(written) {
            Some(kind) => Ok(Argument::ElementType(kind)),
            None => Err(GraphError::ElementType(target.to_owned(), written)),
        },
        Written::AsLayout(written) => match written {
            // Strided; tensors here are nothing else.
            7 => number(Number::Int(0)),
            _ => Err(GraphError::Layout(target.to_owned(), written)),
        },
        Written::AsMemoryFormat(written) => match written {
            1 => number(Number::Int(0)),
            2 | 3 => number(Number::Int(i64::from(written))),
            4 => number(Number::Int(1)),
            _ => Err(GraphError::Layout(target.to_owned(), written)),
        },
        other => Err(GraphError::Kind(target.to_owned(), kind_of(&other))),
    }
}

fn slot_of(target: &str, name: &str, names: &Names) -> Result<Slot, GraphError> {
    names.get(name).copied().ok_or_else(|| GraphError::Undefined(target.to_owned(), name.to_owned()))
}

/// The name of a single value.
fn name_of(target: &str, written: Written) -> Result<String, GraphError> {
    match written {
        Written::AsTensor(one) | Written::AsOptionalTensor(OptionalTensor::AsTensor(one)) => Ok(one.name),
        Written::AsSymInt(SymInt::AsName(name))
        | Written::AsSymFloat(SymFloat::AsName(name))
        | Written::AsSymBool(SymBool::AsName(name)) => Ok(name),
        other => Err(GraphError::Kind(target.to_owned(), kind_of(&other))),
    }
}

fn input(spec: schema::InputSpec) -> Result<Input, GraphError> {
    use schema::InputSpec;
    match spec {
        InputSpec::UserInput { arg } => name_of("the signature", arg).map(Input::Given),
        InputSpec::Parameter { parameter_name } => Ok(Input::Parameter(parameter_name)),
        InputSpec::Buffer { buffer_name } => Ok(Input::Buffer(buffer_name)),
        InputSpec::TensorConstant { tensor_constant_name } => Ok(Input::Constant(tensor_constant_name)),
        other => Err(GraphError::Input(kind_of(&other))),
    }
}

/// Whether an output is what the caller is given: a program here keeps nothing from one run to the next.
fn returned(spec: &OutputSpec) -> Result<(), GraphError> {
    match spec {
        OutputSpec::UserOutput(_) => Ok(()),
        other => Err(GraphError::Output(kind_of(other))),
    }
}

/// What the schema calls a variant of its unions: `as_strings`.
fn kind_of(written: &impl std::fmt::Debug) -> String {
    let written = format!("{written:?}");
    written.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_snake_case()
}
