//! What the exporter wrote for one model, read back and checked against the entry it was made from.
//!
//! In: `artifacts/<model>/` (`manifest.json`, `program*.pt`, `cases.safetensors`, and the programs of other formats, each with
//! its list, where they were asked for). Out: an [`Artifact`] whose files are whole and whose key is the entry's own; anything else is a
//! failure that names the command that renews it.

mod beside;
mod decoding;
mod format;
pub mod key;
mod lane;

pub use beside::Beside;
pub use decoding::{CacheAxis, CacheTensor, Decoding, Refusal, StepProgram};
pub(crate) use decoding::{PREFILL, STEP};
pub use format::{Format, Target};
pub use lane::{Lane, half};

use crate::failure::{At, Failure, Stage};
use crate::model::ModelSpec;
use crate::numerics::{Tensor, TensorError};
use crate::spec::{Case, Check};
use crate::task::Dtype;
use crate::typed::Typed;
use safetensors::SafeTensors;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// [`Beside::list`]: files that are made after the artifact and only where they are asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileList {
    /// [`key::beside`] of the artifact that this was made beside.
    pub key: String,
    /// How long the export took.
    pub seconds: f64,
    /// File name → sha256, in hexadecimal.
    pub files: BTreeMap<String, String>,
    /// Parameter or buffer → sha256 of its bytes, of programs in a precision of which the manifest has none.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
}

/// `manifest.json`: everything about an artifact but its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`key::of`] of the entry this was made from and of the model type.
    pub key: String,
    pub model: String,
    pub task: String,
    /// Name of the class whose object was traced, as Python reports it.
    pub class: String,
    /// Python module of that class.
    pub module: String,
    /// The config's `model_type`: transformers' word for the architecture; a class of another package has its
    /// own name there.
    pub model_type: Option<String>,
    /// The same of it and of all models inside it: towers, backbones, decoders.
    pub model_types: Vec<String>,
    pub checkpoint: Option<String>,
    /// `random`, or `checkpoint` for real weights.
    pub weights: String,
    pub seed: u64,
    /// Python, torch and the class's package.
    pub versions: BTreeMap<String, String>,
    /// Config symbol → size.
    pub dims: BTreeMap<String, usize>,
    /// Names of inputs and outputs in the program's order.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// How programs compute attention: as `from_pretrained` chooses for the class, then in other ways.
    pub attention: Vec<String>,
    /// Modules in lists of modules, in order of execution.
    pub layers: Vec<String>,
    pub cases: Vec<Case>,
    /// What checks do to the traced case.
    pub situations: Vec<Situation>,
    pub parameters: Parameters,
    /// Precision → parameter or buffer → sha256 of its bytes in the eager model.
    pub digests: BTreeMap<String, BTreeMap<String, String>>,
    /// Parameters that move no output beyond the rule, by their name in the eager model.
    pub idle: Vec<String>,
    /// How long the export took.
    pub seconds: f64,
    pub generation: Option<GenerationSettings>,
    /// The program that decodes with a cache; `None` where the `decodes` check is left out.
    pub decoding: Option<Decoding>,
    /// The adapters that changed something about the trace of some program, by name.
    pub adapters: Vec<Note>,
    /// What makes "eager" differ from the class's plain `forward`.
    pub differences: Vec<Note>,
    /// File name → sha256, in hexadecimal.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// `2 adapters: lists_of_sizes, rope_by_length`; `just show` tells what they are for.
    pub fn traced_with(&self) -> String {
        let names: Vec<&str> = self.adapters.iter().map(|adapter| &*adapter.what).collect();
        match names.len() {
            0 => "no adapter".to_owned(),
            1 => format!("1 adapter: {}", names[0]),
            count => format!("{count} adapters: {}", names.join(", ")),
        }
    }
}

/// Something that was done to a model, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub what: String,
    pub why: String,
}

/// The parameters of the float32 program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parameters {
    /// Elements in all of them.
    pub count: usize,
    /// Name → shape.
    pub tensors: BTreeMap<String, Vec<usize>>,
}

/// The traced case with one thing changed: its inputs are stored under its name, and by how much eager is off there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Situation {
    pub name: String,
    #[serde(flatten)]
    pub change: Change,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "change")]
pub enum Change {
    /// One row is alone.
    Row { row: usize },
    /// So many masked positions were added along an axis, by the name of the mask.
    Padding { mask: String, axis: String, before: usize, after: usize },
    /// The last real token of every row of an input is another.
    Token { input: String },
}

impl Change {
    /// The check that it is made for.
    pub fn check(&self) -> Check {
        match self {
            Self::Row { .. } => Check::BatchInvariant,
            Self::Padding { .. } => Check::PaddingInvariant,
            Self::Token { .. } => Check::Causal,
        }
    }
}

/// How Python's `generate` began, ended and filled up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationSettings {
    /// Ends a row.
    pub eos: Option<i64>,
    /// Fills rows that have ended.
    pub pad: i64,
    /// First decoder token of an encoder-decoder model.
    pub start: Option<i64>,
    /// The most tokens that were generated.
    pub new_tokens: usize,
}

/// An artifact whose files are whole.
#[derive(Debug)]
pub struct Artifact {
    pub folder: PathBuf,
    pub manifest: Manifest,
    /// How its programs are run.
    pub lane: Lane,
    tensors: BTreeMap<String, Tensor>,
    /// What [`Beside::Half`] holds, once it is asked for.
    half: OnceLock<Result<Half, Failure>>,
}

/// What [`Beside::Half`] holds.
#[derive(Debug)]
struct Half {
    digests: BTreeMap<String, String>,
    tensors: BTreeMap<String, Tensor>,
}

/// The file of inputs and references.
pub const CASES: &str = "cases.safetensors";

/// `HF_CONFORMANCE_ARTIFACTS`, or `artifacts` below the working directory.
pub fn root() -> PathBuf {
    std::env::var_os("HF_CONFORMANCE_ARTIFACTS").map_or_else(|| "artifacts".into(), PathBuf::from)
}

impl Artifact {
    /// The artifact in `folder`, if it and its programs of that format are whole and made from this very entry. Its half
    /// precision references are those of the device on which the programs are to run.
    ///
    /// # Errors
    /// Stage `export` when there is none or it is stale, stage `load` when a file is damaged.
    pub fn open(folder: &Path, model: &ModelSpec, lane: Lane) -> Result<Self, Failure> {
        let renew = format!("renew it: just export {}", model.name);
        let manifest = manifest(folder)
            .map_err(|failure| failure.with(renew.clone()))?
            .ok_or_else(|| no_artifact(folder).with(renew.clone()))?;
        if manifest.key != key::of(model.digest, manifest.model_type.as_deref()) {
            let stale =
                format!("{} is stale: the entry, a pin or the exporter changed since", folder.display());
            return Err(Failure::new(Stage::Export, stale).with(renew));
        }
        // Only its key tells whether an artifact is due.
        whole(folder, &manifest.files).map_err(|failure| failure.with(format!("{renew} --force")))?;
        if lane.format != Format::TorchScript {
            beside(folder, &manifest, Beside::Programs(lane.format))?;
        }
        let tensors = tensors(&folder.join(CASES))?;
        Ok(Self { folder: folder.to_owned(), manifest, lane, tensors, half: OnceLock::new() })
    }

    /// An artifact without files, for tests of checks.
    #[cfg(test)]
    pub(crate) fn in_memory(manifest: Manifest, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { folder: PathBuf::new(), manifest, lane: Lane::default(), tensors, half: OnceLock::new() }
    }

    /// Where the program of that element type is.
    pub fn program(&self, dtype: Dtype) -> PathBuf {
        let format = self.lane.format;
        self.folder.join(match dtype {
            Dtype::Float16 if format == Format::TorchScript => self.lane.beside(dtype).program(),
            _ => format.file(dtype),
        })
    }

    /// Inputs of a case or situation, in the program's order.
    pub fn inputs(&self, case: &str) -> Result<Vec<Tensor>, Failure> {
        self.manifest.inputs.iter().map(|name| self.tensor(&format!("{case}/input/{name}"))).collect()
    }

    /// Where the float32 programs are whose attention is not the class's own choice, by its name.
    pub fn others(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        // Where programs are asked for, they are those to ship.
        let made = if self.lane.format == Format::TorchScript { &*self.manifest.attention } else { &[] };
        let others = made.iter().skip(1);
        others.map(|attention| (attention.as_str(), self.folder.join(program_with(attention))))
    }

    /// An eager output of a case, computed in `dtype`; in half precision on the kind of device that the programs run on.
    pub fn reference(&self, case: &str, dtype: Dtype, output: &str) -> Result<Tensor, Failure> {
        self.of(dtype, &format!("{case}/{}/{output}", dtype.name()))
    }

    /// By how much eager in `dtype` is off in a case or situation, element by element of an output.
    pub fn error(&self, situation: &str, dtype: Dtype, output: &str) -> Result<Tensor, Failure> {
        self.of(dtype, &format!("{situation}/error/{}/{output}", dtype.name()))
    }

    /// The sha256 of every parameter and buffer of eager in `dtype`, by name.
    ///
    /// # Errors
    /// Stage `export` or `load` when the artifact does not know them.
    pub fn digests(&self, dtype: Dtype) -> Result<&BTreeMap<String, String>, Failure> {
        if let Some(digests) = self.manifest.digests.get(dtype.name()) {
            return Ok(digests);
        }
        let none = || format!("the artifact has no digests of {} weights", dtype.name());
        let half = self.half(dtype)?.ok_or_else(|| Failure::new(Stage::Load, none()))?;
        Ok(&half.digests)
    }

    fn of(&self, dtype: Dtype, name: &str) -> Result<Tensor, Failure> {
        named(self.half(dtype)?.map_or(&self.tensors, |half| &half.tensors), name)
    }

    /// What is known of that precision, where it is beside the artifact.
    fn half(&self, dtype: Dtype) -> Result<Option<&Half>, Failure> {
        let what = self.lane.beside(dtype);
        if !self.lane.needed().contains(&what) {
            return Ok(None);
        }
        let read = || {
            let FileList { files, digests, .. } = beside(&self.folder, &self.manifest, what)?;
            let files = files.keys().filter(|name| name.ends_with(".safetensors"));
            let files = files.map(|name| tensors(&self.folder.join(name))).collect::<Result<Vec<_>, _>>()?;
            Ok(Half { digests, tensors: files.into_iter().flatten().collect() })
        };
        self.half.get_or_init(read).as_ref().map(Some).map_err(Clone::clone)
    }

    /// A stored tensor by its full name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Failure> {
        named(&self.tensors, name)
    }

    /// Puts another tensor in a stored one's place: how faults of inputs and references are planted.
    pub fn replace(&mut self, name: &str, tensor: Tensor) {
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Sizes of the symbols in a case: its own and the config's.
    pub fn sizes(&self, case: &Case) -> BTreeMap<String, usize> {
        self.manifest.dims.iter().chain(&case.sizes).map(|(name, size)| (name.clone(), *size)).collect()
    }
}

/// The manifest in `folder`; `None` when there is none.
pub fn manifest(folder: &Path) -> Result<Option<Manifest>, Failure> {
    read(&folder.join("manifest.json"))
}

/// The file of a program with another attention than the one to ship.
pub(crate) fn program_with(attention: &str) -> String {
    format!("program.{attention}.pt")
}

fn named(tensors: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor, Failure> {
    let tensor = tensors.get(name).cloned();
    tensor.ok_or_else(|| Failure::new(Stage::Load, format!("the artifact holds no '{name}'")))
}

/// The list of what is put beside the artifact in `folder`; `None` when there is none.
pub fn listed(folder: &Path, what: Beside) -> Result<Option<FileList>, Failure> {
    read(&folder.join(what.list()))
}

/// The same, if it was made beside this very artifact and all that it lists is whole.
fn beside(folder: &Path, manifest: &Manifest, what: Beside) -> Result<FileList, Failure> {
    let renew = format!("renew it: {}", what.made_by(Typed::export([&*manifest.model])));
    let forced = |failure: Failure| failure.with(format!("{renew} --force"));
    let key = key::beside(what, &manifest.key);
    let Some(list) = listed(folder, what).map_err(forced)?.filter(|list| list.key == key) else {
        let none = format!("{} has no {what} of the entry as it stands", folder.display());
        return Err(Failure::new(Stage::Export, none).with(renew));
    };
    whole(folder, &list.files).map_err(forced)?;
    Ok(list)
}

/// What a list of digests says; its own digest stands in a file beside it.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => {
            found.at(Stage::Load, path.display())?;
        }
    }
    let mut seal = path.as_os_str().to_owned();
    seal.push(".sha256");
    let seal = bytes_of(Path::new(&seal))?;
    let bytes = intact(path, String::from_utf8_lossy(&seal).trim())?;
    serde_json::from_slice(&bytes).at(Stage::Load, path.display()).map(Some)
}

/// What a manifest says of where its artifact came from.
#[derive(Debug)]
pub struct Origin {
    pub key: String,
    pub model_type: Option<String>,
}

/// The origin of the artifact in `folder`; `None` when there is none. It stands at the beginning of the manifest, and the
/// rest is not read: whether hundreds of artifacts are due is asked before every test.
pub fn origin(folder: &Path) -> Result<Option<Origin>, Failure> {
    let path = folder.join("manifest.json");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at(Stage::Load, path.display()),
    };
    let mut head = Head::default();
    let ended = serde_json::Deserializer::from_reader(BufReader::new(file)).deserialize_map(&mut head);
    match (head.key, head.model_type) {
        (Some(key), Some(model_type)) => Ok(Some(Origin { key, model_type })),
        _ => {
            ended.at(Stage::Load, path.display())?;
            Err(Failure::new(Stage::Load, format!("{}: no key", path.display())))
        }
    }
}

/// What was read of a manifest's beginning.
#[derive(Default)]
struct Head {
    key: Option<String>,
    model_type: Option<Option<String>>,
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while self.key.is_none() || self.model_type.is_none() {
            match fields.next_key::<String>()?.as_deref() {
                Some("key") => self.key = Some(fields.next_value()?),
                Some("model_type") => self.model_type = Some(fields.next_value()?),
                Some(_) => drop(fields.next_value::<IgnoredAny>()?),
                None => break,
            }
        }
        Ok(())
    }
}

/// What is said where there is none.
pub(crate) fn no_artifact(folder: &Path) -> Failure {
    Failure::new(Stage::Export, format!("no artifact at {}", folder.display()))
}

/// Whether every file has its sha256.
fn whole(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), Failure> {
    files.iter().try_for_each(|(file, expected)| match Path::new(file).file_name() {
        Some(name) if name == file.as_str() => intact(&folder.join(file), expected).map(drop),
        _ => Err(Failure::new(Stage::Load, format!("{} lists '{file}', no file of it", folder.display()))),
    })
}

/// What is in a file whose sha256 is `expected`.
fn intact(path: &Path, expected: &str) -> Result<Vec<u8>, Failure> {
    let bytes = bytes_of(path)?;
    match format!("{:x}", Sha256::digest(&bytes)) == expected {
        true => Ok(bytes),
        false => {
            let size = bytes.len();
            let damaged = format!("{} is damaged: its sha256 is another ({size} bytes)", path.display());
            Err(Failure::new(Stage::Load, damaged))
        }
    }
}

/// What is in a file of an artifact. A link leads elsewhere, and reading a pipe may never end.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let kind = path.symlink_metadata().at(Stage::Load, path.display())?.file_type();
    match kind.is_file() {
        true => std::fs::read(path).at(Stage::Load, path.display()),
        false => Err(Failure::new(Stage::Load, format!("{} is no ordinary file", path.display()))),
    }
}

/// Writes named tensors as safetensors.
///
/// # Errors
/// Stage `load`: the file cannot be written.
pub fn save_tensors<'a>(
    named: impl IntoIterator<Item = (String, &'a Tensor)>,
    path: &Path,
) -> Result<(), Failure> {
    let bytes = safetensors::serialize(named, None).at(Stage::Load, path.display())?;
    std::fs::write(path, bytes).at(Stage::Load, path.display())
}

/// The tensors of a safetensors file, by name.
///
/// # Errors
/// Stage `load`: the file cannot be read, or holds elements of an unknown type.
pub fn tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, Failure> {
    let bytes = std::fs::read(path).at(Stage::Load, path.display())?;
    let stored = SafeTensors::deserialize(&bytes).at(Stage::Load, path.display())?;
    let named = stored.tensors().into_iter().map(|(name, view)| Ok((name, Tensor::try_from(view)?)));
    named.collect::<Result<_, TensorError>>().at(Stage::Load, path.display())
}

#[cfg(test)]
mod tests;
