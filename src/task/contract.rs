//! The words in which a task states its inputs and outputs.
//!
//! In: nothing. Out: plain data ([`Contract`], [`Input`], [`Output`]) that the spec resolves against an
//! entry, the exporter reads as JSON, the code generator writes as literals and the harness checks
//! tensors against. Every type can be built in a `const`, so that tasks and generated modules are statics.

use serde::Serialize;
use std::fmt;
use std::ops::Deref;

/// A name or a reason, for the life of the process: literals in tasks and generated modules, leaked when it
/// came from YAML, which is read once. So ports can be copied and built in a `const`.
#[derive(Clone, Copy, Debug, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Text(pub &'static str);

/// A shape in symbols, outermost dimension first.
pub type Shape = &'static [Dim];

/// One dimension of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Dim {
    /// A symbol: an axis of the entry (`batch`), a dimension of the config (`vocabulary`), or, when it
    /// is neither, a size that the first output carrying it decides and all others must repeat.
    Named(Text),
    /// A size that never changes.
    Size(usize),
}

/// Element type of a tensor, with torch's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Bool,
    Uint8,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Bfloat16,
    Float32,
    Float64,
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.leak())
    }
}

impl<T: AsRef<str> + ?Sized> PartialEq<T> for Text {
    fn eq(&self, other: &T) -> bool {
        self.0 == other.as_ref()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Size(size) => write!(f, "{size}"),
        }
    }
}

impl Dtype {
    /// Every element type, in the order of their names in the spec's README.
    pub const ALL: [Self; 10] = [
        Self::Bool,
        Self::Uint8,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Float16,
        Self::Bfloat16,
        Self::Float32,
        Self::Float64,
    ];

    /// The lower-case spelling used in YAML, JSON and Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Uint8 => "uint8",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }

    /// The element type of that spelling.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Whether values carry rounding error, so that the numerical rule applies instead of equality.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Bfloat16 | Self::Float32 | Self::Float64)
    }

    /// Whether values are whole numbers; truth values are not.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Uint8 | Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64)
    }
}

/// How the exporter fills an input with values. The seed of the entry makes them repeatable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fill {
    /// Random token ids below the vocabulary, none of them special; padding ids where the mask is 0.
    Tokens,
    /// The same as a tokenizer writes a text: in every row the config's begin token first, where it has one, and its
    /// end token last, before the padding. For classes that look for one of them.
    Text,
    /// 1 for real positions, 0 for padding in every row but the first.
    Mask,
    /// Position ids counted from the first real position of each row (the mask's running sum minus 1).
    Positions,
    /// Standard normal values.
    Normal,
    /// Values evenly distributed in [0, 1).
    Uniform,
    /// Boxes `x0 ≤ x1, y0 ≤ y1` on the 0–1000 grid of layout models; last dimension 4.
    Boxes,
    /// Whole numbers, `low` included, `high` excluded.
    Integers { low: i64, high: i64 },
    /// Ones.
    Ones,
    /// 0 for words, 1 where the first of the entry's placeholders stands, 2 for the second: token types of
    /// models that see. The shape is that of the tokens.
    MmTokenTypeIds,
    /// These numbers along the last dimension, which has as many, or one number everywhere: sizes of images, which
    /// other inputs fit.
    Values { values: &'static [i64] },
    /// Column and row of every place of a grid, row by row, then -1 where there are more places; last dimension 2.
    Grid { columns: usize, rows: usize },
}

/// Which values an output may hold, beyond being finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Range {
    /// Any finite value.
    Finite,
    /// Between 0 and 1, both included: probabilities and normalised boxes.
    Unit,
    /// Vectors of length 1 along the last dimension: embeddings that are compared by cosine.
    Normalised,
    /// Ids from 0 up to the config's vocabulary.
    TokenIds,
}

/// A named input of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    /// The keyword of the class's `forward`.
    pub name: Text,
    pub dtype: Dtype,
    pub shape: Shape,
    pub fill: Fill,
}

/// A named output of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The attribute of the class's returned `ModelOutput`.
    pub name: Text,
    pub dtype: Dtype,
    pub shape: Shape,
    pub range: Range,
}

/// How a task decodes greedily: which input grows by one token a step, and what follows it. Every other input is given once,
/// before the first step: a program that decodes with a cache takes it in its prefill, and no step takes it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// The token input that grows.
    pub grows: &'static str,
    /// The mask that grows with it, where there is one.
    pub mask: Option<&'static str>,
    /// The position ids that grow with it, where the model takes them.
    pub positions: Option<&'static str>,
    /// The output whose last position is searched for the largest value.
    pub logits: &'static str,
}

impl Fill {
    /// Whether it makes token ids.
    pub fn is_tokens(self) -> bool {
        matches!(self, Self::Tokens | Self::Text)
    }
}

/// What a HuggingFace task promises: the inputs a program takes and the outputs it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// The hub's pipeline name.
    pub name: &'static str,
    pub inputs: &'static [Input],
    pub outputs: &'static [Output],
    /// Outputs at a position depend on earlier positions of this token input alone.
    pub causal: Option<&'static str>,
    pub generation: Option<Generation>,
}

/// A task as a type: `Model<FillMask>` can only be given to checks that suit fill-mask.
pub trait Task: Sync + 'static {
    /// The task's promise.
    const CONTRACT: Contract;
}

/// A task whose contract names a token input that nothing after it has a say in: what the check `causal` takes.
///
/// ```no_run
/// use hf_conformance::prelude::*;
/// # const SPEC: ModelSpec = ModelSpec {
/// #     name: "gpt2", family: "decoder-only", class: "GPT2LMHeadModel", checkpoint: None, digest: "",
/// #     inputs: &[], outputs: &[], axes: &[], tolerance: &[], idle: &[],
/// # };
///
/// static MODEL: Model<TextGeneration> = Model::new(SPEC);
/// let _ = check::causal(&MODEL);
/// ```
///
/// A model that reads in both directions does not compile there:
///
/// ```compile_fail
/// use hf_conformance::prelude::*;
/// # const SPEC: ModelSpec = ModelSpec {
/// #     name: "bert", family: "encoder-only", class: "BertForMaskedLM", checkpoint: None, digest: "",
/// #     inputs: &[], outputs: &[], axes: &[], tolerance: &[], idle: &[],
/// # };
///
/// static MODEL: Model<FillMask> = Model::new(SPEC);
/// let _ = check::causal(&MODEL);
/// ```
pub trait Causal: Task {}

/// A task whose contract says how it decodes greedily: what the check `generates` takes.
///
/// ```no_run
/// use hf_conformance::prelude::*;
/// # const SPEC: ModelSpec = ModelSpec {
/// #     name: "t5", family: "encoder-decoder", class: "T5ForConditionalGeneration", checkpoint: None, digest: "",
/// #     inputs: &[], outputs: &[], axes: &[], tolerance: &[], idle: &[],
/// # };
///
/// static MODEL: Model<Translation> = Model::new(SPEC);
/// let _ = check::generates(&MODEL);
/// ```
///
/// A model that writes no text does not compile there:
///
/// ```compile_fail
/// use hf_conformance::prelude::*;
/// # const SPEC: ModelSpec = ModelSpec {
/// #     name: "vit", family: "vision", class: "ViTForImageClassification", checkpoint: None, digest: "",
/// #     inputs: &[], outputs: &[], axes: &[], tolerance: &[], idle: &[],
/// # };
///
/// static MODEL: Model<ImageClassification> = Model::new(SPEC);
/// let _ = check::generates(&MODEL);
/// ```
pub trait Generates: Task {}

/// Images (or rows of text) in one call.
pub const BATCH: Dim = named("batch");
/// Tokens in a row.
pub const SEQUENCE: Dim = named("sequence");
/// Decoder tokens in a row.
pub const TARGET: Dim = named("target");
/// Entries of the token vocabulary.
pub const VOCABULARY: Dim = named("vocabulary");
/// Classes of a classification head.
pub const LABELS: Dim = named("labels");
/// Colour channels of an image.
pub const CHANNELS: Dim = named("channels");
/// Height and width of a square image, in pixels.
pub const IMAGE: Dim = named("image");

/// Where a config keeps the size behind a symbol: attribute paths, the first that exists counts.
/// Attribute names are transformers' common ones; its `attribute_map` covers the older spellings.
pub const CONFIG_DIMS: &[(&str, &[&str])] = &[
    ("vocabulary", &["vocab_size", "text_config.vocab_size", "decoder.vocab_size"]),
    ("labels", &["num_labels"]),
    ("channels", &["num_channels", "vision_config.num_channels"]),
    ("mels", &["num_mel_bins"]),
    ("hidden", &["hidden_size", "text_config.hidden_size", "d_model"]),
    ("projection", &["projection_dim"]),
];

/// A symbol of a shape.
pub const fn named(name: &'static str) -> Dim {
    Dim::Named(Text(name))
}

/// An input of a task.
pub const fn input(name: &'static str, dtype: Dtype, shape: &'static [Dim], fill: Fill) -> Input {
    Input { name: Text(name), dtype, shape, fill }
}

/// An output of a task.
pub const fn output(name: &'static str, dtype: Dtype, shape: &'static [Dim], range: Range) -> Output {
    Output { name: Text(name), dtype, shape, range }
}

/// A float32 output that may hold any finite value.
pub const fn float(name: &'static str, shape: &'static [Dim]) -> Output {
    output(name, Dtype::Float32, shape, Range::Finite)
}

/// `input_ids`-like: token ids in rows of `length`.
pub const fn tokens(name: &'static str, shape: &'static [Dim]) -> Input {
    input(name, Dtype::Int64, shape, Fill::Tokens)
}

/// `attention_mask`-like: 1 real, 0 padding.
pub const fn mask(name: &'static str, shape: &'static [Dim]) -> Input {
    input(name, Dtype::Int64, shape, Fill::Mask)
}

/// `position_ids`-like: counted from the first real token.
pub const fn positions(name: &'static str, shape: &'static [Dim]) -> Input {
    input(name, Dtype::Int64, shape, Fill::Positions)
}

/// `pixel_values`-like: standard normal, as image processors deliver them.
pub const fn features(name: &'static str, shape: &'static [Dim]) -> Input {
    input(name, Dtype::Float32, shape, Fill::Normal)
}
