//! Looks at a bundle, on whatever machine it is now.
//!
//! In: a folder, and the versions that are here. Out: its certificate, and every [`Problem`] with it. Any byte that is not
//! as it was certified is one.

use super::bundle;
use super::certificate::{Certificate, FILE, FORMAT, SEAL};
use crate::failure::{At, Failure, Stage};
use crate::verdict::Status;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

/// What is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Missing(String),
    Changed(String),
    /// It is a link, or nothing that can be read to its end.
    NoFile(String),
    /// It is no part of the bundle, and may be read in place of what is.
    Strange(String),
    /// This check did not pass.
    Unproved(String, Status),
    /// It was proved with this torch, and this one is here.
    Torch {
        proved: String,
        here: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(file) => write!(f, "{file} is missing"),
            Self::Changed(file) => write!(f, "{file} is not the file that was certified: its sha256 differs"),
            Self::NoFile(file) => write!(f, "{file} is no ordinary file"),
            Self::Strange(file) => write!(f, "{file} is no part of the bundle"),
            Self::Unproved(check, status) => write!(f, "{check} {status}"),
            Self::Torch { proved, here } => write!(f, "proved with torch {proved}, and {here} is here"),
        }
    }
}

/// Looks at the bundle in a folder; `torch` is the version that programs run on here, where there is one.
///
/// # Errors
/// Stage `load`: there is no bundle, or one of another format.
pub fn verify(folder: &Path, torch: Option<&str>) -> Result<(Certificate, Vec<Problem>), Failure> {
    let certificate = read(folder)?;
    let mut found = bundle::contents(folder).at(Stage::Load, folder.display())?;
    let sealed = unsealed(folder, &mut found);
    let files = certificate.files.iter().filter_map(|(name, digest)| match found.get(name) {
        None => Some(Problem::Missing(name.clone())),
        Some(None) => Some(Problem::NoFile(name.clone())),
        Some(Some(other)) if other != digest => Some(Problem::Changed(name.clone())),
        Some(Some(_)) => None,
    });
    let strange = found.keys().filter(|name| !certificate.files.contains_key(*name));
    let strange = strange.map(|name| Problem::Strange(name.clone()));
    let unproved = certificate.checks.iter().filter(|checked| checked.status != Status::Passed);
    let unproved = unproved.map(|checked| Problem::Unproved(checked.check.clone(), checked.status));
    let problems = sealed.into_iter().chain(files).chain(strange).chain(unproved);
    let problems = problems.chain(other_torch(&certificate, torch)).collect();
    Ok((certificate, problems))
}

/// Whether the certificate is another than the one that was sealed; takes both out of what was found.
fn unsealed(folder: &Path, found: &mut BTreeMap<String, Option<String>>) -> Option<Problem> {
    let certificate = found.remove(FILE).flatten();
    match found.remove(SEAL) {
        None => Some(Problem::Missing(SEAL.to_owned())),
        Some(None) => Some(Problem::NoFile(SEAL.to_owned())),
        Some(Some(_)) => {
            let seal = fs::read(folder.join(SEAL)).unwrap_or_default();
            let is_own = certificate.as_deref() == Some(String::from_utf8_lossy(&seal).trim());
            (!is_own).then(|| Problem::Changed(FILE.to_owned()))
        }
    }
}

/// A bundle's certificate.
///
/// # Errors
/// As [`verify`].
pub fn read(folder: &Path) -> Result<Certificate, Failure> {
    let path = folder.join(FILE);
    let none =
        |error| Failure::new(Stage::Load, format!("{} is no bundle: {FILE}: {error}", folder.display()));
    // A link leads elsewhere, and reading a pipe may never end.
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(none("it is no ordinary file".to_owned()));
    }
    let bytes = fs::read(&path).map_err(|error| none(error.to_string()))?;
    let format: Format = serde_json::from_slice(&bytes).map_err(|error| none(error.to_string()))?;
    match format.format {
        FORMAT => serde_json::from_slice(&bytes).map_err(|error| none(error.to_string())),
        other => Err(none(format!("it has format {other}, this program reads {FORMAT}"))),
    }
}

/// What every certificate says, of whatever format.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Builds of one release compute alike: `2.11.0+cpu` is 2.11.0.
fn other_torch(certificate: &Certificate, here: Option<&str>) -> Option<Problem> {
    let release = |version: &str| version.split('+').next().unwrap_or_default().to_owned();
    let proved = certificate.versions.get("torch")?;
    let here = here.filter(|here| release(here) != release(proved))?;
    Some(Problem::Torch { proved: proved.clone(), here: here.to_owned() })
}

#[cfg(test)]
pub(crate) mod tests;
