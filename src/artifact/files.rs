//! Files of artifacts, held to their digests.
//!
//! In: a folder that strangers may have written into. Out: what its files hold, if that is what was written.

use crate::failure::{At, Failure, Stage};
use crate::numerics::{Tensor, TensorError};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// What a list of digests says; its own digest stands in a file beside it.
pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
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

/// Whether every file has its sha256.
pub(super) fn whole(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), Failure> {
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
