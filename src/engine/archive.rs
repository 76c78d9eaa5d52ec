//! Device literals in a TorchScript archive.
//!
//! Tracing writes `torch.device("cpu")` into the program wherever a model makes a tensor on its own
//! device. Those literals do not move with the module, so they are rewritten before it is loaded.
//! An archive is a zip of stored files; its code is plain text under `<name>/code/`.

use super::Device;
use crate::failure::{At, Failure, Stage};
use std::borrow::Cow;
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The archive at `path` with every device literal naming `device`.
///
/// # Errors
/// Stage `load` when the file is not a readable archive.
pub fn for_device(path: &Path, device: Device) -> Result<Vec<u8>, Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path).at(Stage::Load, &shown)?;
    rewrite(Cursor::new(bytes), device).at(Stage::Load, shown)
}

fn rewrite(archive: impl Read + Seek, device: Device) -> zip::result::ZipResult<Vec<u8>> {
    let mut archive = ZipArchive::new(archive)?;
    let mut rewritten = ZipWriter::new(Cursor::new(Vec::new()));
    // libtorch maps tensors straight from the file and wants them stored, at 64-byte boundaries.
    let stored =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = file.name().to_owned();
        let mut content = Vec::with_capacity(usize::try_from(file.size()).unwrap_or(0));
        file.read_to_end(&mut content)?;
        if Path::new(&name).extension().is_some_and(|extension| extension == "py") {
            content = literals(&String::from_utf8_lossy(&content), device).into_owned().into_bytes();
        }
        rewritten.start_file(name, stored)?;
        rewritten.write_all(&content)?;
    }
    Ok(rewritten.finish()?.into_inner())
}

/// `code` with `torch.device("…")` naming `device` throughout.
fn literals(code: &str, device: Device) -> Cow<'_, str> {
    const OPEN: &str = "torch.device(\"";
    if !code.contains(OPEN) {
        return Cow::Borrowed(code);
    }
    let mut parts = code.split(OPEN);
    let mut rewritten = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find('"').map_or(part, |end| &part[end..]);
        rewritten.push_str(OPEN);
        rewritten.push_str(&device.to_string());
        rewritten.push_str(rest);
    }
    Cow::Owned(rewritten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(code: &str) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, content) in [("program/code/model.py", code), ("program/data/0", "torch.device(\"cpu\")")]
        {
            writer.start_file(name, stored).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn content(archive: &[u8], name: &str) -> String {
        let mut text = String::new();
        let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
        archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn every_literal_in_code_names_the_device_and_data_stays() {
        let code =
            "a = torch.zeros([2], device=torch.device(\"cpu\"))\nb = torch.to(a, torch.device(\"cpu\"), 6)";
        let moved = rewrite(Cursor::new(archive(code)), Device::Cuda(1)).unwrap();
        assert_eq!(content(&moved, "program/code/model.py"), code.replace("cpu", "cuda:1"));
        assert_eq!(content(&moved, "program/data/0"), "torch.device(\"cpu\")");
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let mut cut = archive("pass");
        cut.truncate(cut.len() / 2);
        assert!(rewrite(Cursor::new(cut), Device::Mps).is_err());
    }
}
