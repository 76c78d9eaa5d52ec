//! Packages that are in no registry: a folder with a package's modules, or a wheel.
//!
//! In: its path, relative to the project's root. Out: a version that changes whenever a file of it does.

use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The version of a package that is not where the spec says.
pub const GONE: &str = "0+gone";
/// Hexadecimal digits of the digest in a version.
const DIGITS: usize = 12;

/// `0+` and the first digits of a sha256 over the package's files, by name and content; [`GONE`] where it cannot be read.
pub fn version(path: &Path) -> String {
    match digest(path) {
        Ok(digest) => format!("0+{}", &digest[..DIGITS]),
        Err(_) => GONE.to_owned(),
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    match path.is_dir() {
        true => collect(path, &mut files)?,
        false => files.push(path.to_owned()),
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().into_owned();
        for part in [name.as_bytes(), &fs::read(&file)?] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// The files of a folder, without hidden ones and what Python compiled.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        match item.file_type()?.is_dir() {
            true => collect(&item.path(), files)?,
            false => files.push(item.path()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_changes_with_the_packages_files_and_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("modeling.py", "a = 1");
        let before = version(folder.path());
        write("__pycache__/modeling.pyc", "x");
        write(".git/HEAD", "x");
        assert_eq!(version(folder.path()), before);
        write("modeling.py", "a = 2");
        assert_ne!(version(folder.path()), before);
        write("modeling.py", "a = 1");
        assert_eq!(version(folder.path()), before);
        write("parts/layers.py", "");
        assert_ne!(version(folder.path()), before);
    }

    #[test]
    fn a_package_that_is_gone_has_no_digest() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(version(&folder.path().join("acme")), GONE);
    }
}
