//! What of the exporter's code decides what an artifact holds.
//!
//! In: the embedded files. Out: a digest of the code for each model type. `exporter/outline.py` finds them with Python's
//! own parser, once after every change of a file; from then on they are read from `target/conformance/exporter.json`.

use super::sources::SOURCES;
use crate::interpreter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Where the digests are kept.
const KEPT: &str = "target/conformance/exporter.json";
/// The program that finds them.
const OUTLINE: &str = include_str!("../../export/exporter/outline.py");

/// Model type → digest of the code that makes its artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Of the types without adapters of their own.
    #[serde(rename = "")]
    common: String,
    #[serde(flatten)]
    own: BTreeMap<String, String>,
}

impl Digests {
    /// The digest for a model type; some classes of other packages have none.
    pub fn of(&self, model_type: Option<&str>) -> &str {
        model_type.and_then(|model_type| self.own.get(model_type)).unwrap_or(&self.common)
    }
}

/// Digests, and the text that they were found in.
#[derive(Serialize, Deserialize)]
struct Kept {
    text: String,
    digests: Digests,
}

/// The digests of this program's exporter.
pub fn digests() -> &'static Digests {
    static DIGESTS: LazyLock<Digests> = LazyLock::new(|| kept_or_found(Path::new(KEPT)));
    &DIGESTS
}

/// The digests that are kept at `path`, or else those that Python finds, which are kept from then on. Without a Python
/// nothing tells code from comments: then the text itself is the digest, so that no change stays unseen.
fn kept_or_found(path: &Path) -> Digests {
    let text = text();
    let kept = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    if let Some(kept) = kept.filter(|kept| kept.text == text) {
        return kept.digests;
    }
    let Some(digests) = found() else { return Digests { common: text, own: BTreeMap::new() } };
    let kept = Kept { text, digests };
    // Where nothing can be written, the next process asks Python again.
    let _ = keep(&kept, path);
    kept.digests
}

/// A sha256 over every file's name and text.
fn text() -> String {
    let mut hash = Sha256::new();
    for (name, text) in SOURCES {
        for part in [name, text] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    format!("{:x}", hash.finalize())
}

/// What `outline.py` says; nothing where there is no Python that runs it.
fn found() -> Option<Digests> {
    let mut command = Command::new(interpreter::plain().ok()?);
    // By itself, without the environment's packages.
    command.args(["-I", "-S", "-c", OUTLINE]);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let texts: BTreeMap<&str, &str> = SOURCES.iter().copied().collect();
    let request = serde_json::to_vec(&texts).ok()?;
    // It reads all before it writes; a process that dies early is told by its status.
    let written = process.stdin.take()?.write_all(&request);
    let output = process.wait_with_output().ok()?;
    let said = (written.is_ok() && output.status.success()).then_some(output.stdout)?;
    serde_json::from_slice(&said).ok()
}

/// Writes at once, so that no other process reads a half.
fn keep(kept: &Kept, path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, kept)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(common: &str) -> Digests {
        Digests {
            common: common.to_owned(),
            own: BTreeMap::from([("gpt2".to_owned(), "of gpt2".to_owned())]),
        }
    }

    #[test]
    fn a_type_without_adapters_has_the_common_digest() {
        let read: Digests = serde_json::from_str(r#"{"": "common", "gpt2": "of gpt2"}"#).unwrap();
        assert_eq!(read, digests("common"));
        let of = [Some("gpt2"), Some("bert"), None].map(|model_type| read.of(model_type));
        assert_eq!(of, ["of gpt2", "common", "common"]);
    }

    #[test]
    fn what_is_kept_counts_for_the_same_text_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conformance/exporter.json");
        keep(&Kept { text: text(), digests: digests("kept") }, &path).unwrap();
        assert_eq!(kept_or_found(&path), digests("kept"));
        keep(&Kept { text: "another".to_owned(), digests: digests("kept") }, &path).unwrap();
        assert_ne!(kept_or_found(&path), digests("kept"));
        std::fs::write(&path, "{").unwrap();
        assert_ne!(kept_or_found(&path), digests("kept"));
    }
}
