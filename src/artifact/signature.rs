//! Who made an artifact: programs are code, and a digest does not tell whose.
//!
//! In: a list of an artifact's files, whose sha256 stands beside it. Out: whether the signature beside that is by this
//! checkout's own key, a file that never travels with artifacts. The key signs what was exported here, and what somebody
//! said is to be taken as it is.

use crate::failure::{At, Failure, Stage};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file of the checkout's key.
const KEY: &str = ".signing-key";
/// Bytes of a key: as many as of the digest, which RFC 2104 recommends.
const BYTES: usize = 32;

/// Signs a list as made here, or as taken.
///
/// # Errors
/// Stage `export`: the list has no digest beside it, the key cannot be made, or the signature cannot be written.
pub(crate) fn sign(list: &Path) -> Result<(), Failure> {
    let key = key().at(Stage::Export, KEY)?;
    let signature = mac(&key, list).at(Stage::Export, list.display())?.finalize().into_bytes();
    fs::write(beside(list, "signature"), signature).at(Stage::Export, list.display())
}

/// Whether this checkout signed the list as it is.
///
/// # Errors
/// Stage `load`: a file is there and cannot be read.
pub(crate) fn is_ours(list: &Path) -> Result<bool, Failure> {
    let ours = || -> std::io::Result<bool> {
        let (Some(key), Some(signature)) = (read(Path::new(KEY))?, read(&beside(list, "signature"))?) else {
            return Ok(false);
        };
        Ok(mac(&key, list)?.verify_slice(&signature).is_ok())
    };
    ours().at(Stage::Load, list.display())
}

/// The code of a list's name and sha256 under a key.
fn mac(key: &[u8], list: &Path) -> std::io::Result<Hmac<Sha256>> {
    let mac = Hmac::new_from_slice(key).map_err(std::io::Error::other)?;
    let name = list.file_name().unwrap_or_default().as_encoded_bytes();
    Ok(mac.chain_update(name).chain_update(fs::read(beside(list, "sha256"))?))
}

/// The file beside a list.
fn beside(list: &Path, ending: &str) -> PathBuf {
    let mut path = list.as_os_str().to_owned();
    path.push(".");
    path.push(ending);
    path.into()
}

/// The checkout's key, made now where there is none.
fn key() -> std::io::Result<Vec<u8>> {
    if let Some(key) = read(Path::new(KEY))? {
        return Ok(key);
    }
    let mut made = [0; BYTES];
    getrandom::fill(&mut made).map_err(std::io::Error::other)?;
    // Readable by its owner alone, and whole as soon as it is there.
    let mut file = tempfile::NamedTempFile::new_in(".")?;
    file.write_all(&made)?;
    match file.persist_noclobber(KEY) {
        Ok(_) => Ok(made.to_vec()),
        Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => fs::read(KEY),
        Err(failed) => Err(failed.error),
    }
}

/// What is in a file; `None` where there is none.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
