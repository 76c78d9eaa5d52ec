//! The exporter's Python files, embedded.

use crate::artifact::{Beside, Format};
use std::io;
use std::path::Path;

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../export/exporter/", $name)))),*]
    };
}

/// File name below `exporter/` → text.
pub const SOURCES: &[(&str, &str)] = sources!(
    "__init__.py",
    "__main__.py",
    "adapters/__init__.py",
    "adapters/blocks.py",
    "adapters/buckets.py",
    "adapters/common.py",
    "adapters/decoder_only.py",
    "adapters/encoder_decoder.py",
    "adapters/encoder_only.py",
    "adapters/multimodal/__init__.py",
    "adapters/multimodal/documents.py",
    "adapters/multimodal/heirs.py",
    "adapters/multimodal/one_shape.py",
    "adapters/multimodal/pictures.py",
    "adapters/multimodal/qwen.py",
    "adapters/multimodal/rows_of_patches.py",
    "adapters/multimodal/sounds.py",
    "adapters/patches.py",
    "adapters/speech.py",
    "adapters/vision/__init__.py",
    "adapters/vision/backbones.py",
    "adapters/vision/depth.py",
    "adapters/vision/detection.py",
    "adapters/vision/matching.py",
    "adapters/vision_text.py",
    "artifact.py",
    "attention.py",
    "cache.py",
    "cache_faults.py",
    "calls/__init__.py",
    "calls/kinds.py",
    "calls/pictures.py",
    "calls/series.py",
    "calls/sounds.py",
    "choices.py",
    "contract.py",
    "decoding.py",
    "differences.py",
    "errors.py",
    "export.py",
    "faults.py",
    "foreign.py",
    "generation.py",
    "grids.py",
    "inputs.py",
    "job.py",
    "model.py",
    "once.py",
    "portable.py",
    "prepared.py",
    "program.py",
    "recurrence.py",
    "reference.py",
    "rounding.py",
    "rule.py",
    "runner.py",
    "situations.py",
    "tuples.py",
    "weights.py",
    // What makes programs of other formats beside an artifact, uses artifacts, or draws up entries: nothing that makes an artifact
    // imports it.
    "answers.py",
    "aot.py",
    "bench.py",
    "certify.py",
    "checkpoint.py",
    "deprecated.py",
    "documented.py",
    "draft.py",
    "find.py",
    "graphed.py",
    "half.py",
    "hub.py",
    "invariance.py",
    "inventory.py",
    "kin.py",
    "layers.py",
    "lent.py",
    "limits.py",
    "outline.py",
    "overrides.py",
    "package.py",
    "ports.py",
    "processed.py",
    "pt2.py",
    "replay.py",
    "returns.py",
    "sentence.py",
    "shrink.py",
    "start.py",
    "stored.py",
    "streamed.py",
    "suggest.py",
    "trials.py",
    "unneeded.py",
    "unpacked.py",
    "upstream.py",
    "validate.py",
);

/// The texts of what makes files beside an artifact, and nothing else.
pub fn of(what: Beside) -> &'static [&'static str] {
    const GRAPHED: &str = include_str!("../../export/exporter/graphed.py");
    const GRAPHS: &str = include_str!("../../export/exporter/pt2.py");
    const PACKAGES: &str = include_str!("../../export/exporter/aot.py");
    const HALF: &str = include_str!("../../export/exporter/half.py");
    match what {
        Beside::Programs(Format::TorchScript) => &[],
        Beside::Programs(Format::Pt2) => &[GRAPHED, GRAPHS],
        Beside::Programs(Format::Aot(_)) => &[GRAPHED, GRAPHS, PACKAGES],
        Beside::Half(..) => &[HALF],
    }
}

/// Writes the package `exporter` into `folder`.
pub fn unpack(folder: &Path) -> io::Result<()> {
    SOURCES.iter().try_for_each(|(name, text)| {
        let path = folder.join("exporter").join(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of the Python files below `folder`, relative to `root`.
    fn python_files(root: &Path, folder: &Path) -> Vec<String> {
        let items = std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
        items
            .flat_map(|path| match path.extension().and_then(|extension| extension.to_str()) {
                Some("py") => vec![path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/")],
                None if path.is_dir() && !path.ends_with("__pycache__") => python_files(root, &path),
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn every_python_file_of_the_exporter_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/export/exporter");
        let mut files = python_files(&folder, &folder);
        files.sort();
        let mut embedded: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        embedded.sort_unstable();
        assert_eq!(files, embedded);
    }
}
