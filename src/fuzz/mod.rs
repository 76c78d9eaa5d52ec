//! Readers of what strangers may have written, put to whatever bytes there are: none may panic, hang or ask for memory
//! without end.
//!
//! In: bytes. Out: nothing; a reader's error is as good as its answer. `just fuzz` has libFuzzer make the bytes (`main.rs`
//! here), beginning with the files below `corpus/`; these are also read by an ordinary test. What made a reader fail once
//! stays among them.

use crate::spec::Date;
use crate::{author, codegen, report, roster, spec};
use std::path::Path;
use std::sync::LazyLock;

/// A reader of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the folder below `corpus/`.
    pub name: &'static str,
    pub read: fn(&[u8]),
}

/// Every reader.
pub const TARGETS: &[Target] = &[
    Target { name: "batch", read: batch },
    Target { name: "results", read: results },
    Target { name: "spec", read: family },
    #[cfg(feature = "libtorch")]
    Target { name: "archive", read: pt2::archive },
    #[cfg(feature = "libtorch")]
    Target { name: "graph", read: pt2::graph },
];

/// The pins that families are read beside.
const VERSIONS: &[u8] =
    b"python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}\n";
/// The day on which waivers are judged.
const TODAY: Date = Date::constant(2026, 1, 1);

/// A batch, as YAML and as JSON.
fn batch(bytes: &[u8]) {
    static ROWS: LazyLock<Vec<roster::Row>> =
        LazyLock::new(|| roster::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_default());
    for name in ["batch.yaml", "batch.json"] {
        let _ = author::batch::parse(Path::new(name), bytes, &ROWS);
    }
}

/// Lines of results.
fn results(bytes: &[u8]) {
    let lines = report::lines_in::<report::Record>(bytes);
    let _ = lines.complaint();
    let _ = report::merged(lines.read);
}

/// A family's file, the modules that come of it, and a file of pins.
fn family(bytes: &[u8]) {
    let files = |versions: &[u8], family: &[u8]| {
        [("spec/fuzz.yaml".into(), family.to_vec()), ("spec/versions.yaml".into(), versions.to_vec())]
    };
    if let Ok(spec) = spec::parse(&files(VERSIONS, bytes), TODAY) {
        let _ = codegen::plan(&spec);
    }
    let _ = spec::parse(&files(bytes, b"family: fuzz\nmodels: []\n"), TODAY);
}

#[cfg(feature = "libtorch")]
mod pt2 {
    use crate::device::Device;
    use crate::engine::{Pt2, pack};
    use std::io::Cursor;

    /// The archive around a graph without weights.
    const AROUND: [(&str, &[u8]); 5] = [
        ("archive_format", b"pt2"),
        ("archive_version", b"0"),
        ("byteorder", b"little"),
        ("data/weights/model_weights_config.json", b"{\"config\": {}}"),
        ("data/constants/model_constants_config.json", b"{\"config\": {}}"),
    ];

    /// A program, up to where it could be run.
    pub(super) fn archive(bytes: &[u8]) {
        let _ = Pt2::read(Cursor::new(bytes), Device::Cpu, "fuzz.pt2");
    }

    /// A program's graph.
    pub(super) fn graph(bytes: &[u8]) {
        let mut file = Cursor::new(Vec::new());
        let files = AROUND.into_iter().chain([("models/model.json", bytes)]);
        if pack(&mut file, files).is_ok() {
            archive(file.get_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_corpus_is_read_or_refused_without_a_panic() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fuzz/corpus");
        for target in TARGETS {
            let files = std::fs::read_dir(corpus.join(target.name)).unwrap();
            let paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            assert!(!paths.is_empty(), "{}", target.name);
            for path in paths {
                (target.read)(&std::fs::read(path).unwrap());
            }
        }
    }
}
