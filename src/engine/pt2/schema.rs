//! The graph as `torch.export.save` writes it: `torch/_export/serde/schema.py`, as far as it is read here.
//!
//! In: JSON. Out: types that say the same. What a later minor version of the schema adds is either a field, and passed
//! over, or a kind of argument, and an error with its name.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// The version of the schema that is read: a greater one changes what is there already.
pub const MAJOR: u32 = 8;

/// `models/model.json`.
#[derive(Debug, Deserialize)]
pub struct ExportedProgram {
    pub graph_module: GraphModule,
    pub schema_version: SchemaVersion,
}

#[derive(Debug, Deserialize)]
pub struct SchemaVersion {
    pub major: u32,
    pub minor: u32,
}

#[derive(Debug, Deserialize)]
pub struct GraphModule {
    pub graph: Graph,
    pub signature: Signature,
}

#[derive(Debug, Deserialize)]
pub struct Graph {
    pub inputs: Vec<Argument>,
    pub outputs: Vec<Argument>,
    pub nodes: Vec<Node>,
}

/// One call of an operator, in order of execution.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// `torch.ops.aten.add.Tensor`, `_operator.mul`.
    pub target: String,
    pub inputs: Vec<NamedArgument>,
    pub outputs: Vec<Argument>,
    #[serde(default)]
    pub metadata: Metadata,
}

/// What the exporter noted of a node.
#[derive(Debug, Default, Deserialize)]
pub struct Metadata {
    /// The Python calls that it came from, as in a traceback, the innermost last.
    pub stack_trace: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct NamedArgument {
    pub name: String,
    pub arg: Argument,
}

/// What a node is given or returns: a value of the graph by its name, or a constant.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "they are named as the file names them")]
pub enum Argument {
    AsNone(IgnoredAny),
    AsTensor(Name),
    AsTensors(Vec<Name>),
    AsOptionalTensor(OptionalTensor),
    AsOptionalTensors(Vec<OptionalTensor>),
    AsInt(i64),
    AsInts(Vec<i64>),
    AsFloat(Real),
    AsFloats(Vec<Real>),
    AsBool(bool),
    AsBools(Vec<bool>),
    AsString(String),
    AsSymInt(SymInt),
    AsSymInts(Vec<SymInt>),
    AsSymFloat(SymFloat),
    AsSymBool(SymBool),
    AsScalarType(u32),
    AsMemoryFormat(u32),
    AsLayout(u32),
    /// A graph is exported on one device, and run on another.
    AsDevice(IgnoredAny),
    AsGraph(Subgraph),
    AsStrings(IgnoredAny),
    AsSymBools(IgnoredAny),
    AsSymFloats(IgnoredAny),
    AsCustomObj(IgnoredAny),
    AsOperator(IgnoredAny),
    AsComplex(IgnoredAny),
    AsNestedTensors(IgnoredAny),
    AsIntLists(IgnoredAny),
    AsStringToArgument(IgnoredAny),
}

/// A value of the graph.
#[derive(Debug, Deserialize)]
pub struct Name {
    pub name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptionalTensor {
    AsTensor(Name),
    AsNone(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymInt {
    AsName(String),
    AsInt(i64),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymFloat {
    AsName(String),
    AsFloat(Real),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymBool {
    AsName(String),
    AsBool(bool),
}

/// A graph that a higher-order operator runs.
#[derive(Debug, Deserialize)]
pub struct Subgraph {
    pub graph: Graph,
}

#[derive(Debug, Deserialize)]
pub struct Signature {
    pub input_specs: Vec<InputSpec>,
    pub output_specs: Vec<OutputSpec>,
}

/// What an input of the graph stands for, in the order of the graph's inputs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSpec {
    UserInput { arg: Argument },
    Parameter { parameter_name: String },
    Buffer { buffer_name: String },
    TensorConstant { tensor_constant_name: String },
    CustomObj(IgnoredAny),
    Token(IgnoredAny),
    ConstantInput(IgnoredAny),
}

/// What an output of the graph stands for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpec {
    UserOutput(IgnoredAny),
    LossOutput(IgnoredAny),
    BufferMutation(IgnoredAny),
    ParameterMutation(IgnoredAny),
    GradientToParameter(IgnoredAny),
    GradientToUserInput(IgnoredAny),
    UserInputMutation(IgnoredAny),
    Token(IgnoredAny),
}

/// `data/weights/model_weights_config.json`: name → where its numbers are.
#[derive(Debug, Deserialize)]
pub struct Payloads {
    pub config: BTreeMap<String, Payload>,
}

#[derive(Debug, Deserialize)]
pub struct Payload {
    pub path_name: String,
    pub use_pickle: bool,
    pub tensor_meta: Option<TensorMeta>,
}

/// How a tensor lies in its numbers.
#[derive(Debug, Deserialize)]
pub struct TensorMeta {
    pub dtype: u32,
    pub sizes: Vec<Known>,
    pub strides: Vec<Known>,
    pub storage_offset: Known,
}

/// ATen's number of an element type, by the schema's; `None` for what no tensor here has.
pub fn element_type(written: u32) -> Option<i64> {
    match written {
        // From uint8 to bool they are in ATen's order.
        1..=12 => Some(i64::from(written) - 1),
        13 => Some(15),
        _ => None,
    }
}

/// A size of a stored tensor, which depends on nothing.
#[derive(Debug, Deserialize)]
pub struct Known {
    pub as_int: i64,
}

/// A float; JSON has none that is not finite, and the schema writes those as words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Real(pub f64);

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Word(word) => match &*word {
                "Infinity" => Ok(Self(f64::INFINITY)),
                "-Infinity" => Ok(Self(f64::NEG_INFINITY)),
                "NaN" => Ok(Self(f64::NAN)),
                _ => Err(serde::de::Error::custom(format!("'{word}' is no float"))),
            },
        }
    }
}
