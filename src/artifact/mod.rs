//! What the exporter wrote for one model, read back and checked against the entry it was made from.
//!
//! In: `artifacts/<model>/` (`manifest.json`, `program*.pt`, `cases.safetensors`, and the programs of other formats, each with
//! its list, where they were asked for). Out: an [`Artifact`] whose files are whole and whose key is the entry's own; anything else is a
//! failure that names the command that renews it.

mod beside;
mod decoding;
mod files;
mod format;
pub mod key;
mod lane;
mod manifest;
mod origin;
mod signature;

pub use beside::Beside;
pub use decoding::{CacheAxis, CacheTensor, Decoding, Refusal, StepProgram};
pub use files::{save_tensors, tensors};
pub use format::{Format, Target};
pub use lane::{Lane, half};
pub use manifest::{
    Change, FileList, GenerationSettings, Manifest, Note, Parameters, Situation, listed, manifest,
};
pub use origin::{Origin, origin};
pub(crate) use signature::{is_ours, sign};

use crate::failure::{Failure, Stage};
use crate::model::ModelSpec;
use crate::numerics::Tensor;
use crate::spec::Case;
use crate::task::Dtype;
use crate::typed::Typed;
use files::whole;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
/// The file that lists all others of an artifact.
pub(crate) const MANIFEST: &str = "manifest.json";

/// `HF_CONFORMANCE_ARTIFACTS`, or `artifacts` below the working directory.
pub fn root() -> PathBuf {
    std::env::var_os("HF_CONFORMANCE_ARTIFACTS").map_or_else(|| "artifacts".into(), PathBuf::from)
}

impl Artifact {
    /// The artifact in `folder`, if it and its programs of that format are whole and made from this very entry. Its half
    /// precision references are those of the device on which the programs are to run.
    ///
    /// # Errors
    /// Stage `export` when there is none or it is stale, stage `load` when it was made elsewhere or a file is damaged.
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
        made_here(folder, MANIFEST, &Typed::export([model.name]))?;
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
        let Some(what) = self.lane.half_beside().filter(|_| dtype == self.lane.half) else { return Ok(None) };
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

/// The file of a program with another attention than the one to ship.
pub(crate) fn program_with(attention: &str) -> String {
    format!("program.{attention}.pt")
}

fn named(tensors: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor, Failure> {
    let tensor = tensors.get(name).cloned();
    tensor.ok_or_else(|| Failure::new(Stage::Load, format!("the artifact holds no '{name}'")))
}

/// What is put beside the artifact in `folder`, if it was made beside this very artifact and all that it lists is whole.
fn beside(folder: &Path, manifest: &Manifest, what: Beside) -> Result<FileList, Failure> {
    let renew = format!("renew it: {}", what.made_by(Typed::export([&*manifest.model])));
    let forced = |failure: Failure| failure.with(format!("{renew} --force"));
    let key = key::beside(what, &manifest.key);
    let Some(list) = listed(folder, what).map_err(forced)?.filter(|list| list.key == key) else {
        let none = format!("{} has no {what} of the entry as it stands", folder.display());
        return Err(Failure::new(Stage::Export, none).with(renew));
    };
    made_here(folder, &what.list(), &what.made_by(Typed::export([&*manifest.model])))?;
    whole(folder, &list.files).map_err(forced)?;
    Ok(list)
}

/// Whether what a list names was made by this checkout, or taken by somebody who said so; `export` makes it.
fn made_here(folder: &Path, list: &str, export: &Typed) -> Result<(), Failure> {
    if is_ours(&folder.join(list))? {
        return Ok(());
    }
    let list = folder.join(list);
    let elsewhere = format!("{} is not of this checkout's making, and programs are code", list.display());
    let failure = Failure::new(Stage::Load, elsewhere).with(format!("make it here: {export}"));
    Err(failure.with(format!("or take it as it is, where you trust who made it: {export} --trust")))
}

/// The program that decodes and, where the manifest says that there is one, that which comes before it: where they are, of
/// the artifact in `folder`, in a format.
///
/// # Errors
/// Stage `export`: the class has no such program, none was made of that format, or it could not be, with the reason; stage
/// `load`: a file of another format than TorchScript is damaged.
pub(crate) fn decoding_programs(
    folder: &Path,
    manifest: &Manifest,
    format: Format,
) -> Result<(StepProgram, PathBuf, Option<PathBuf>), Failure> {
    let none =
        |why: &str| Failure::new(Stage::Export, format!("{} has no step program: {why}", manifest.class));
    let about = match &manifest.decoding {
        Some(Decoding::Program(about)) => about.clone(),
        Some(Decoding::Refused { why, .. }) => return Err(none(why)),
        None => return Err(none("the entry leaves `decodes` out")),
    };
    let refused = match format {
        Format::TorchScript => BTreeMap::new(),
        _ => beside(folder, manifest, Beside::Programs(format))?.refused,
    };
    let made = |file: String| match refused.get(&file) {
        Some(why) => Err(Failure::new(Stage::Export, format!("{file}: {why}"))),
        None => Ok(folder.join(file)),
    };
    let prefill = about.prefill.map(|_| made(format.prefill())).transpose()?;
    Ok((about, made(format.step())?, prefill))
}

/// What is said where there is none.
pub(crate) fn no_artifact(folder: &Path) -> Failure {
    Failure::new(Stage::Export, format!("no artifact at {}", folder.display()))
}

#[cfg(test)]
mod tests;
