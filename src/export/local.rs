//! Packages that are in no registry, as Python finds them.
//!
//! In: a folder or a wheel. Out: what of it is the package ([`Local`]); and a folder for `PYTHONPATH` that has the package
//! beside metadata of ours: Python then knows it as installed, in the version that tells its files.

use super::environment::EnvironmentError;
use crate::spec::package::GONE;
use crate::spec::{Source, package};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The name that Python imports it by.
    pub name: String,
    /// The folder with its modules, or the wheel.
    pub path: PathBuf,
}

/// Why a path is no package. Each says what helps.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    #[error("there is no folder or wheel at {}", .0.display())]
    Gone(PathBuf),
    #[error("{} is neither a folder nor a wheel (.whl)", .0.display())]
    Neither(PathBuf),
    #[error("{} holds no package: neither an __init__.py nor a modeling_*.py, in itself or in a folder of it", .0.display())]
    Empty(PathBuf),
    #[error("{} holds several packages; name one of: {}", path.display(), shown(packages))]
    Several { path: PathBuf, packages: Vec<PathBuf> },
    #[error("{0:?} is no name that Python can import: rename the folder")]
    Name(String),
}

fn shown(packages: &[PathBuf]) -> String {
    Vec::from_iter(packages.iter().map(|path| path.display().to_string())).join(", ")
}

impl Local {
    /// The package that a path means: a folder with its modules, one around it, such as a project's, or a wheel.
    ///
    /// # Errors
    /// No package there, or more than one.
    pub fn find(path: &Path) -> Result<Self, LocalError> {
        if path.is_file() {
            let wheel = path.extension().is_some_and(|extension| extension == "whl");
            let stem = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // `acme_models-0.1-py3-none-any.whl`
            let name = stem.split('-').next().unwrap_or_default();
            return if wheel { named(name, path) } else { Err(LocalError::Neither(path.to_owned())) };
        }
        if !path.is_dir() {
            return Err(LocalError::Gone(path.to_owned()));
        }
        if is_package(path) {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            return named(&whole.file_name().unwrap_or_default().to_string_lossy(), path);
        }
        let mut packages =
            [path.to_owned(), path.join("src")].iter().flat_map(|around| inner(around)).collect::<Vec<_>>();
        packages.sort();
        match &packages[..] {
            [] => Err(LocalError::Empty(path.to_owned())),
            [one] => Self::find(one),
            _ => Err(LocalError::Several { path: path.to_owned(), packages }),
        }
    }
}

fn named(name: &str, path: &Path) -> Result<Local, LocalError> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(Local { name: name.to_owned(), path: path.to_owned() }),
        false => Err(LocalError::Name(name.to_owned())),
    }
}

/// Whether a folder has a package's modules.
fn is_package(folder: &Path) -> bool {
    let ours = |name: &str| {
        let is_module = Path::new(name).extension().is_some_and(|extension| extension == "py");
        name == "__init__.py" || (is_module && name.starts_with("modeling_"))
    };
    names(folder).iter().any(|name| ours(name))
}

/// The packages right below a folder.
fn inner(folder: &Path) -> Vec<PathBuf> {
    let hidden = |name: &String| name.starts_with('.') || name == "tests";
    let below = names(folder).into_iter().filter(|name| !hidden(name)).map(|name| folder.join(name));
    below.filter(|path| path.is_dir() && is_package(path)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let items = std::fs::read_dir(folder).into_iter().flatten().flatten();
    items.map(|item| item.file_name().to_string_lossy().into_owned()).collect()
}

/// Lays a source's package into `folder`, a wheel unpacked, a folder linked, unless it is there as it stands.
///
/// # Errors
/// The package is gone; a wheel that cannot be unpacked; a folder that cannot be written.
pub(super) fn lay(
    python: &Path,
    folder: &Path,
    source: &Source,
    path: &Path,
) -> Result<(), EnvironmentError> {
    let found = package::version(path);
    if found == GONE {
        return Err(EnvironmentError::Gone { package: source.package.clone(), path: path.to_owned() });
    }
    let io = |error| EnvironmentError::Io { path: folder.to_owned(), error };
    let whole = std::path::absolute(path).map_err(io)?;
    let stamp = folder.join("package.txt");
    let made_of = format!("{}\n{}\n{found}", source.package, whole.display());
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        return Ok(());
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(io)?;
    }
    std::fs::create_dir_all(folder).map_err(io)?;
    let own = folder.join(&source.package);
    match whole.is_dir() {
        true => link(&whole, &own).map_err(io)?,
        false => unpack(python, &whole, folder, &own)?,
    }
    let about = folder.join(format!("{}-{found}.dist-info", source.package));
    std::fs::create_dir_all(&about).map_err(io)?;
    let metadata = format!("Metadata-Version: 2.1\nName: {}\nVersion: {found}\n", source.package);
    std::fs::write(about.join("METADATA"), metadata).map_err(io)?;
    std::fs::write(stamp, made_of).map_err(io)
}

/// Makes `to` a link to a file or folder.
#[cfg(unix)]
pub(super) fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

/// Makes `to` a link to a file or folder.
#[cfg(windows)]
pub(super) fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    match from.is_dir() {
        true => std::os::windows::fs::symlink_dir(from, to),
        false => std::os::windows::fs::symlink_file(from, to),
    }
}

/// Unpacks a wheel, which is a zip file, without its own metadata.
fn unpack(python: &Path, wheel: &Path, folder: &Path, own: &Path) -> Result<(), EnvironmentError> {
    let mut command = Command::new(python);
    command.args(["-m", "zipfile", "-e"]).arg(wheel).arg(folder);
    super::pip::finish(&format!("unpacking {}", wheel.display()), &mut command)?;
    for name in names(folder).iter().filter(|name| name.ends_with(".dist-info")) {
        let path = folder.join(name);
        std::fs::remove_dir_all(&path).map_err(|error| EnvironmentError::Io { path, error })?;
    }
    match own.exists() {
        true => Ok(()),
        false => Err(EnvironmentError::Wheel { path: wheel.to_owned(), holds: names(folder).join(", ") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn a_package_is_found_as_itself_in_a_project_and_as_a_wheel() {
        let own = folder(&[
            "acme/modeling_acme.py",
            "src_layout/src/acme/__init__.py",
            "w/acme-0.1-py3-none-any.whl",
        ]);
        let find = |path: &str| Local::find(&own.path().join(path)).unwrap();
        let local = |path: &str| Local { name: "acme".to_owned(), path: own.path().join(path) };
        assert_eq!(find("acme"), local("acme"));
        assert_eq!(find("src_layout"), local("src_layout/src/acme"));
        assert_eq!(find("w/acme-0.1-py3-none-any.whl"), local("w/acme-0.1-py3-none-any.whl"));
    }

    #[test]
    fn a_path_that_is_no_package_says_why() {
        let own = folder(&["a/__init__.py", "b/__init__.py", "none/x.txt", "my-models/__init__.py", "x.zip"]);
        let told = |path: &str| {
            let error = Local::find(&own.path().join(path)).unwrap_err().to_string();
            error.replace(&own.path().display().to_string(), "")
        };
        assert_eq!(told("c"), "there is no folder or wheel at /c");
        assert_eq!(told("x.zip"), "/x.zip is neither a folder nor a wheel (.whl)");
        assert!(told("none").starts_with("/none holds no package: neither an __init__.py"));
        assert_eq!(told("my-models"), "\"my-models\" is no name that Python can import: rename the folder");
        fs::remove_dir_all(own.path().join("my-models")).unwrap();
        assert_eq!(told(""), "/ holds several packages; name one of: /a, /b");
    }
}
