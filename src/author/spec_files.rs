//! The spec's files edited in memory, checked as a whole, written one by one.

use crate::spec::{self, Base, Date, EditError, File, Problem, Spec};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The spec's files as they stand and as they shall be.
#[derive(Clone, Debug)]
pub struct SpecFiles {
    root: PathBuf,
    files: Vec<File>,
    today: Date,
}

/// Why an edit was not made. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SpecFilesError {
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("no family is called '{0}'; there are: {1}")]
    Family(String, String),
    #[error("spec/versions.yaml has a source '{0}' of something else; rename the package")]
    Source(String),
    #[error("spec/versions.yaml: `sources:` must be its last key for one to be added")]
    Versions,
    #[error("{}", lines(.0))]
    Spec(Vec<Problem>),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

fn lines(problems: &[Problem]) -> String {
    Vec::from_iter(problems.iter().map(ToString::to_string)).join("\n")
}

impl SpecFiles {
    /// The files below the project's root.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn open(root: &Path) -> Result<Self, SpecFilesError> {
        let files = spec::read(root).map_err(SpecFilesError::Spec)?;
        Ok(Self { root: root.to_owned(), files, today: spec::today() })
    }

    /// The files, as edited.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The checked spec, as edited.
    ///
    /// # Errors
    /// Every problem of the spec.
    pub fn spec(&self) -> Result<Spec, SpecFilesError> {
        spec::parse(&self.files, self.today).map_err(SpecFilesError::Spec)
    }

    /// What a new entry of each family would inherit.
    pub fn bases(&self) -> BTreeMap<String, Base> {
        spec::bases(&self.files, self.today)
    }

    /// Puts an entry's lines at their sorted place; the spec is checked with them, or left as it was.
    ///
    /// # Errors
    /// No such family; a file that cannot be edited; an entry that the spec refuses.
    pub fn insert(&mut self, family: &str, name: &str, entry: &[String]) -> Result<Spec, SpecFilesError> {
        self.edit(family, |path, bytes| spec::insert(path, bytes, name, entry))
    }

    /// Puts a source at the end of `versions.yaml`, unless it is there; the spec is checked with it, or left as it was.
    ///
    /// # Errors
    /// Another source has its name; a file that does not end with its sources; a source that the spec refuses.
    pub fn add_source(&mut self, name: &str, line: &str) -> Result<(), SpecFilesError> {
        let is_versions = |path: &Path| path == Path::new("spec/versions.yaml");
        let Some(index) = self.files.iter().position(|(path, _)| is_versions(path)) else {
            return Err(SpecFilesError::Versions);
        };
        let text = String::from_utf8_lossy(&self.files[index].1).into_owned();
        let added = format!("  {name}: {line}");
        if text.lines().any(|known| known == added) {
            return Ok(());
        }
        let key = format!("  {name}:");
        let is_known = |line: &str| line == key || line.starts_with(&format!("{key} "));
        if text.lines().any(is_known) {
            return Err(SpecFilesError::Source(name.to_owned()));
        }
        let is_key = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphabetic());
        if text.lines().rfind(is_key) != Some("sources:") {
            return Err(SpecFilesError::Versions);
        }
        let edited = format!("{}\n{added}\n", text.trim_end());
        let before = std::mem::replace(&mut self.files[index].1, edited.into_bytes());
        self.spec().map(drop).inspect_err(|_| self.files[index].1 = before)
    }

    /// Takes an entry out; the spec is checked without it, or left as it was.
    ///
    /// # Errors
    /// As [`SpecFiles::insert`]; also when another entry is like the one taken out.
    pub fn remove(&mut self, family: &str, name: &str) -> Result<Spec, SpecFilesError> {
        self.edit(family, |path, bytes| spec::remove(path, bytes, name))
    }

    /// Takes several entries out at once, each given by its family and its name; the spec is checked without all of them, or left as
    /// it was.
    ///
    /// # Errors
    /// As [`SpecFiles::remove`].
    pub fn remove_all(&mut self, entries: &[(&str, &str)]) -> Result<Spec, SpecFilesError> {
        let before = self.files.clone();
        let removed = entries.iter().try_for_each(|(family, name)| {
            let index = self.index(family)?;
            let (path, bytes) = &self.files[index];
            self.files[index].1 = spec::remove(path, bytes, name)?.into_bytes();
            Ok(())
        });
        removed.and_then(|()| self.spec()).inspect_err(|_| self.files = before)
    }

    /// What the files themselves say of each entry, before anything is inherited.
    ///
    /// # Errors
    /// A file that is no YAML.
    pub fn said(&self) -> Result<BTreeMap<String, Value>, SpecFilesError> {
        let mut said = BTreeMap::new();
        for (path, bytes) in &self.files {
            let file = spec::value(path, bytes).map_err(SpecFilesError::Spec)?;
            let items = file.get("models").and_then(Value::as_array).into_iter().flatten();
            said.extend(
                items.filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.clone()))),
            );
        }
        Ok(said)
    }

    /// Where a family's file is among the files.
    fn index(&self, family: &str) -> Result<usize, SpecFilesError> {
        let path = Path::new("spec").join(family).with_extension("yaml");
        self.files.iter().position(|(known, _)| *known == path).ok_or_else(|| {
            let families = Vec::from_iter(self.bases().into_keys()).join(", ");
            SpecFilesError::Family(family.to_owned(), families)
        })
    }

    fn edit(
        &mut self,
        family: &str,
        change: impl FnOnce(&Path, &[u8]) -> Result<String, EditError>,
    ) -> Result<Spec, SpecFilesError> {
        let index = self.index(family)?;
        let text = change(&self.files[index].0, &self.files[index].1)?;
        let before = std::mem::replace(&mut self.files[index].1, text.into_bytes());
        self.spec().inspect_err(|_| self.files[index].1 = before)
    }

    /// Writes the files that were edited, each whole or not at all.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub fn write(&self) -> Result<(), SpecFilesError> {
        self.write_below(&self.root)
    }

    /// Writes all files below another root.
    ///
    /// # Errors
    /// As [`SpecFiles::write`].
    pub fn write_below(&self, root: &Path) -> Result<(), SpecFilesError> {
        for (path, bytes) in &self.files {
            let path = root.join(path);
            if fs::read(&path).is_ok_and(|old| old == *bytes) {
                continue;
            }
            let io = |error| SpecFilesError::Io { path: path.clone(), error };
            let folder = path.parent().expect("a spec file is in a folder");
            fs::create_dir_all(folder).map_err(io)?;
            let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
            file.write_all(bytes).map_err(io)?;
            if let Ok(old) = fs::metadata(&path) {
                file.as_file().set_permissions(old.permissions()).map_err(io)?;
            }
            file.persist(&path).map_err(|error| io(error.error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSIONS: &str = "python: {t: 1.0.0}\nsources: {transformers: {package: t, version: 1.0.0}}\n";
    const TEXT: &str = "family: text\ndefaults: {task: fill-mask, axes: {batch: [2, 3], sequence: [5, 7]}}\nmodels:\n  \
                        - {name: b, class: B}\n";

    fn files() -> (tempfile::TempDir, SpecFiles) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("spec")).unwrap();
        fs::write(root.path().join("spec/versions.yaml"), VERSIONS).unwrap();
        fs::write(root.path().join("spec/text.yaml"), TEXT).unwrap();
        let files = SpecFiles::open(root.path()).unwrap();
        (root, files)
    }

    fn entry(line: &str) -> Vec<String> {
        vec![line.to_owned()]
    }

    #[test]
    fn an_entry_that_was_added_is_in_the_spec_and_in_the_file() {
        let (root, mut files) = files();
        let spec = files.insert("text", "a", &entry("- {name: a, class: A}")).unwrap();
        assert_eq!(spec.entries[0].name.as_str(), "a");
        files.write().unwrap();
        assert!(fs::read_to_string(root.path().join("spec/text.yaml")).unwrap().contains("name: a,"));
        files.remove("text", "a").unwrap();
        files.write().unwrap();
        assert_eq!(fs::read_to_string(root.path().join("spec/text.yaml")).unwrap(), TEXT);
    }

    #[test]
    fn an_entry_that_the_spec_refuses_leaves_no_trace() {
        let (_root, mut files) = files();
        let error = files.insert("text", "a", &entry("- {name: a, class: A, sed: 1}")).unwrap_err();
        assert_eq!(error.to_string(), "spec/text.yaml:4:25: unknown key 'sed', did you mean 'seed'?");
        assert_eq!(files.files()[0].1, TEXT.as_bytes());
    }

    #[test]
    fn an_entry_that_others_are_like_stays() {
        let (_root, mut files) = files();
        files.insert("text", "a", &entry("- {name: a, like: b}")).unwrap();
        assert!(files.remove("text", "b").unwrap_err().to_string().contains("`like` names no model: 'b'"));
        assert!(files.spec().is_ok());
    }

    #[test]
    fn a_source_is_added_once_and_never_in_the_place_of_another() {
        let (_root, mut files) = files();
        let own = "{package: acme, path: acme}";
        assert_eq!(
            files.add_source("acme", own).unwrap_err().to_string(),
            SpecFilesError::Versions.to_string()
        );
        files.files[1].1 = VERSIONS.replace("sources: {", "sources:\n  ").replace("}}", "}").into_bytes();
        for _ in 0..2 {
            files.add_source("acme", own).unwrap();
        }
        let text = String::from_utf8(files.files[1].1.clone()).unwrap();
        assert!(
            text.ends_with("\n  acme: {package: acme, path: acme}\n") && text.matches("acme:").count() == 1,
            "{text}"
        );
        assert_eq!(files.spec().unwrap().versions.sources["acme"].version, "0+gone");
        let error = files.add_source("acme", "{package: acme, path: other}").unwrap_err().to_string();
        assert_eq!(error, "spec/versions.yaml has a source 'acme' of something else; rename the package");
    }

    #[test]
    fn an_unknown_family_names_those_there_are() {
        let (_root, mut files) = files();
        let error = files.insert("txt", "a", &entry("- {name: a}")).unwrap_err();
        assert_eq!(error.to_string(), "no family is called 'txt'; there are: text");
    }
}
