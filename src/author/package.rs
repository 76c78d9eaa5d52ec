//! Someone else's package as a source of the spec.
//!
//! In: a folder, a wheel, or a package of a registry, perhaps with its version. Out: the name of its source, which
//! `versions.yaml` has from then on.

use super::spec_files::{SpecFiles, SpecFilesError};
use crate::export::environment::{Environment, EnvironmentError};
use crate::export::local::{Local, LocalError};
use crate::export::lock;
use std::path::{Path, PathBuf};

/// Why a package is no source.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    #[error("--package")]
    Local(#[from] LocalError),
    #[error("--package: {0} is the name of a package of the environment itself: rename the folder")]
    Taken(String),
    #[error("--package: {0} is in the environment already; name it as a source in spec/versions.yaml")]
    Installed(String),
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Spec(#[from] SpecFilesError),
}

/// Makes a package a source of the spec in memory; the source's name.
///
/// # Errors
/// No such package; one that the spec or the environment has under the same name.
pub fn enter(files: &mut SpecFiles, asked: &str) -> Result<String, PackageError> {
    let is_path = asked.contains(['/', '\\']) || asked.starts_with('.') || Path::new(asked).exists();
    let (name, line) = if is_path { local(files, Path::new(asked))? } else { registered(files, asked)? };
    files.add_source(&name, &line)?;
    Ok(name)
}

/// Name and line of a package that is in no registry.
fn local(files: &SpecFiles, path: &Path) -> Result<(String, String), PackageError> {
    let Local { name, path } = Local::find(path)?;
    let versions = files.spec()?.versions;
    if versions.python.contains_key(&name)
        || versions.sources.values().any(|source| source.package == name && source.path.is_none())
    {
        return Err(PackageError::Taken(name));
    }
    let line = format!(
        "{{package: {name}, path: {}}}",
        super::draft::flow(&below_here(&path).display().to_string().into())
    );
    Ok((name, line))
}

/// The path as the spec has it: relative where it lies below the project, which others may have elsewhere.
fn below_here(path: &Path) -> PathBuf {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = whole(path);
    path.strip_prefix(whole(Path::new("."))).map_or(path.clone(), Path::to_owned)
}

/// Name and line of a package of a registry, with what it needs in another version than the environment has; all of it is
/// locked from here on.
fn registered(files: &SpecFiles, asked: &str) -> Result<(String, String), PackageError> {
    let versions = files.spec()?.versions;
    let environment = Environment::ready(&versions)?;
    let (package, version) =
        asked.split_once("==").map_or((asked, None), |(name, version)| (name, Some(version)));
    let package = package.to_lowercase();
    let overlay = environment.resolve(&package, version, &versions)?;
    let Some(found) = overlay.get(&package) else { return Err(PackageError::Installed(package)) };
    let module = package.replace(['-', '.'], "_");
    lock::write_one(&lock::overlay(&module, &overlay))?;
    let pins: Vec<String> = overlay.iter().map(|(name, version)| format!("{name}: {version:?}")).collect();
    let line = format!(
        "{{package: {package}, version: {found:?}, module: {module}, overlay: {{{}}}}}",
        pins.join(", ")
    );
    Ok((module, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const VERSIONS: &str = "python: {t: 1.0.0}\nsources:\n  transformers: {package: t, version: 1.0.0}\n";

    fn project() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("spec/versions.yaml", VERSIONS),
            ("spec/text.yaml", "family: text\ndefaults: {task: fill-mask}\nmodels: []\n"),
            ("acme/modeling_acme.py", ""),
            ("t/__init__.py", ""),
        ] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        root
    }

    #[test]
    fn a_folder_becomes_a_source_whose_version_is_its_files() {
        let root = project();
        let mut files = SpecFiles::open(root.path()).unwrap();
        let path = root.path().join("acme");
        assert_eq!(enter(&mut files, &path.display().to_string()).unwrap(), "acme");
        let source = files.spec().unwrap().versions.sources["acme"].clone();
        assert_eq!((source.package.as_str(), source.path.as_deref()), ("acme", Some(path.as_path())));
        assert_eq!(source.version, crate::spec::package::version(&path));
        assert_eq!(fs::read_to_string(root.path().join("spec/versions.yaml")).unwrap(), VERSIONS);
    }

    #[test]
    fn a_package_that_hides_one_of_the_environment_is_refused() {
        let root = project();
        let mut files = SpecFiles::open(root.path()).unwrap();
        let told = |error: PackageError| format!("{:#}", anyhow::Error::from(error));
        let error = enter(&mut files, &root.path().join("t").display().to_string()).unwrap_err();
        assert_eq!(
            told(error),
            "--package: t is the name of a package of the environment itself: rename the folder"
        );
        let error = enter(&mut files, "./nowhere").unwrap_err();
        assert_eq!(told(error), "--package: there is no folder or wheel at ./nowhere");
    }
}
