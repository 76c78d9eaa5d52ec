//! Writes a bundle: the programs to ship, what describes them, and the certificate.
//!
//! In: an artifact whose checks passed, the checkpoint's folder, a certificate. Out: a folder that is there as a whole or
//! not at all.

use super::certificate::{Certificate, FILE, SEAL};
use super::found::Found;
use super::page;
use crate::artifact::{Lane, Manifest, program_with};
use crate::failure::{At, Failure, Stage};
use crate::task::Dtype;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Endings of files that hold weights: programs have their own copy.
const WEIGHTS: [&str; 3] = [".safetensors", ".bin", ".gguf"];
/// Where cargo puts what it makes of a bundle's example: no part of the bundle.
const BUILT: &str = "example/target";

/// Where bundles go that nobody gave a place.
pub const CERTIFIED: &str = "certified";

/// Where a bundle of this name goes that nobody gave a place.
pub fn place(name: &str) -> PathBuf {
    Path::new(CERTIFIED).join(name)
}

/// Whether a bundle may be written to a folder: there is none, it is empty, or it holds an older bundle.
///
/// # Errors
/// Stage `export`: it holds something else.
pub fn may_replace(folder: &Path) -> Result<(), Failure> {
    let is_empty = || fs::read_dir(folder).is_ok_and(|mut items| items.next().is_none());
    match !folder.exists() || folder.join(FILE).exists() || is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Stage::Export,
            format!("{} is there and holds no bundle: it is left as it is", folder.display()),
        )
        .with("name another folder: --out DIR")),
    }
}

/// A bundle that is not yet in its place.
pub struct Draft {
    folder: TempDir,
}

impl Draft {
    /// Copies programs and descriptions to a folder beside the bundle's place.
    ///
    /// # Errors
    /// Stage `export`: a file cannot be read or written.
    pub fn new(
        place: &Path,
        artifact: &Path,
        programs: &BTreeMap<String, String>,
        found: &Found,
    ) -> Result<Self, Failure> {
        let at = |error: io::Error| Failure::new(Stage::Export, format!("{}: {error}", place.display()));
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(at)?;
        // Beside its place, so that it can be renamed.
        let folder = tempfile::Builder::new().prefix(".bundle-").tempdir_in(parent).map_err(at)?;
        for (program, name) in programs {
            fs::copy(artifact.join(program), folder.path().join(name)).map_err(at)?;
        }
        for name in descriptions(found) {
            let target = folder.path().join(name);
            target.parent().map_or(Ok(()), fs::create_dir_all).map_err(at)?;
            fs::copy(found.root.join(name), target).map_err(at)?;
        }
        Ok(Self { folder })
    }

    /// Where it is until it is finished.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the certificate, for people and for programs, which gets the digests of the files, and puts the bundle into its place, in that of an
    /// older one.
    ///
    /// # Errors
    /// Stage `export`: a file cannot be read or written.
    pub fn finish(self, place: &Path, certificate: &mut Certificate) -> Result<(), Failure> {
        let at = |error: io::Error| Failure::new(Stage::Export, format!("{}: {error}", place.display()));
        fs::write(self.path().join(page::FILE), page::html(certificate)).map_err(at)?;
        let files = contents(self.path()).map_err(at)?;
        certificate.files = files.into_iter().filter_map(|(name, digest)| Some((name, digest?))).collect();
        let text = serde_json::to_string_pretty(certificate).at(Stage::Export, "the certificate")? + "\n";
        fs::write(self.path().join(FILE), &text).map_err(at)?;
        fs::write(self.path().join(SEAL), format!("{:x}\n", Sha256::digest(&text))).map_err(at)?;
        // A temporary folder is readable for nobody else.
        readable(self.path()).map_err(at)?;
        if place.exists() {
            fs::remove_dir_all(place).map_err(at)?;
        }
        fs::rename(self.folder.keep(), place).map_err(at)
    }
}

#[cfg(unix)]
fn readable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The programs to ship, and what a bundle calls them: all of an artifact but those that have another attention than
/// `from_pretrained` chooses, or are in another half precision than the lane's, which no check has run; and that in the
/// lane's, where it lies beside them.
pub fn programs(manifest: &Manifest, lane: Lane) -> BTreeMap<String, String> {
    let own = shipped(manifest.files.keys(), &manifest.attention);
    let of = |half: Dtype| format!("program.{}.pt", half.name());
    let is_beside = lane.half == Dtype::Float16;
    let own = own.into_iter().filter(|file| !is_beside || *file != of(Dtype::Bfloat16));
    let own = own.map(|file| (file.clone(), file));
    let beside = is_beside.then(|| (lane.beside(lane.half).program(), of(lane.half)));
    own.chain(beside).collect()
}

/// Attentions begin with the one to ship.
fn shipped<'a>(files: impl Iterator<Item = &'a String>, attentions: &[String]) -> Vec<String> {
    let others: Vec<String> = attentions.iter().skip(1).map(|name| program_with(name)).collect();
    files.filter(|file| file.starts_with("program.") && !others.contains(*file)).cloned().collect()
}

/// The files beside the weights.
fn descriptions(found: &Found) -> impl Iterator<Item = &String> {
    found.files.keys().filter(|name| !WEIGHTS.iter().any(|ending| name.ends_with(ending)))
}

/// What is below a folder, by its path there with forward slashes: the sha256 of every ordinary file, and nothing of a link,
/// which may lead elsewhere tomorrow, or a pipe.
///
/// # Errors
/// A file cannot be read.
pub fn contents(folder: &Path) -> io::Result<BTreeMap<String, Option<String>>> {
    let mut found = BTreeMap::new();
    collect(folder, "", &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, below: &str, found: &mut BTreeMap<String, Option<String>>) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        let (name, kind) = (format!("{below}{}", item.file_name().to_string_lossy()), item.file_type()?);
        match kind.is_dir() {
            true if name == BUILT => {}
            true => collect(&item.path(), &format!("{name}/"), found)?,
            false => {
                let digest = kind.is_file().then(|| digest(&item.path())).transpose()?;
                found.insert(name, digest);
            }
        }
    }
    Ok(())
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_shipped_but_those_with_another_attention() {
        let files = [
            "cases.safetensors",
            "program.bfloat16.pt",
            "program.decode.pt",
            "program.eager.pt",
            "program.pt",
        ];
        let [sdpa, eager] = ["sdpa", "eager"].map(str::to_owned);
        let files = files.map(str::to_owned);
        let both = shipped(files.iter(), &[sdpa, eager.clone()]);
        assert_eq!(both, ["program.bfloat16.pt", "program.decode.pt", "program.pt"]);
        assert_eq!(shipped(files[4..].iter(), &[eager]), ["program.pt"]);
    }
}
