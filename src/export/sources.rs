//! The exporter's Python files, embedded.

use std::io;
use std::path::Path;

macro_rules! sources {
    ($constant:ident: $($name:literal),* $(,)?) => {
        /// File name below `exporter/` → text.
        pub const $constant: &[(&str, &str)] = &[$(($name, include_str!(concat!("exporter/", $name)))),*];
    };
}

// What artifacts are made with: a change here makes all of them stale.
sources!(
    SOURCES:
    "__init__.py",
    "__main__.py",
    "adapters.py",
    "artifact.py",
    "contract.py",
    "errors.py",
    "export.py",
    "faults.py",
    "generation.py",
    "inputs.py",
    "job.py",
    "model.py",
    "program.py",
    "reference.py",
    "replay.py",
    "runner.py",
);

// What helps to write the spec.
sources!(TOOLS: "find.py", "shrink.py", "suggest.py", "validate.py");

/// Writes the package `exporter` into `folder`.
pub fn unpack(folder: &Path) -> io::Result<()> {
    let package = folder.join("exporter");
    std::fs::create_dir_all(&package)?;
    let mut files = SOURCES.iter().chain(TOOLS);
    files.try_for_each(|(name, text)| std::fs::write(package.join(name), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_python_file_of_the_exporter_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/exporter");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".py"))
            .collect();
        files.sort();
        let mut embedded: Vec<&str> = SOURCES.iter().chain(TOOLS).map(|(name, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(files, embedded);
    }
}
