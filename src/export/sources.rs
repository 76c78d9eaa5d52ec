//! The exporter's Python files, embedded.

use std::io;
use std::path::Path;

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        /// File name below `exporter/` → text.
        pub const SOURCES: &[(&str, &str)] = &[$(($name, include_str!(concat!("exporter/", $name)))),*];
    };
}

sources!(
    "__init__.py",
    "__main__.py",
    "adapters.py",
    "artifact.py",
    "contract.py",
    "errors.py",
    "export.py",
    "faults.py",
    "generation.py",
    "grids.py",
    "inputs.py",
    "job.py",
    "model.py",
    "program.py",
    "reference.py",
    "replay.py",
    "runner.py",
);

/// Writes the package `exporter` into `folder`.
pub fn unpack(folder: &Path) -> io::Result<()> {
    let package = folder.join("exporter");
    std::fs::create_dir_all(&package)?;
    SOURCES.iter().try_for_each(|(name, text)| std::fs::write(package.join(name), text))
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
        let embedded: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, embedded);
    }
}
