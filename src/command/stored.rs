//! Result files as commands read them.

use anyhow::{Context, Result};
use hf_conformance::report::{self, Record, merged};
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// The records of `files`, or of the results store where none are named, merged; unreadable lines are told on stderr.
pub fn read(files: &[PathBuf]) -> Result<Vec<Record>> {
    let own = [report::path()];
    let files = if files.is_empty() { own.as_slice() } else { files };
    Ok(merged(read_all(files)?))
}

/// What lies beside each of `files`, or beside the results store where none are named, under the name that `of` has there.
pub fn beside<T: DeserializeOwned>(files: &[PathBuf], of: impl Fn() -> PathBuf) -> Result<Vec<T>> {
    let name = of().file_name().map(ToOwned::to_owned).unwrap_or_default();
    let others: Vec<PathBuf> = match files.is_empty() {
        true => vec![of()],
        false => files.iter().map(|file| file.with_file_name(&name)).collect(),
    };
    read_all(&others)
}

/// Every line of `files`; what could not be read is told on stderr.
fn read_all<T: DeserializeOwned>(files: &[PathBuf]) -> Result<Vec<T>> {
    let mut read = Vec::new();
    for file in files {
        let lines = report::lines::<T>(file).with_context(|| file.display().to_string())?;
        if let Some(complaint) = lines.complaint() {
            eprintln!("{}: {complaint}", file.display());
        }
        read.extend(lines.read);
    }
    Ok(read)
}
