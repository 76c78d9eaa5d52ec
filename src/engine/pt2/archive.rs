//! The file: a zip archive of stored files, as `torch.export.save` writes it.
//!
//! In: a path. Out: an [`Archive`]: the graph's JSON, and the numbers of every weight. Only data is read: what is pickled
//! (custom objects, the inputs of the export) is never opened, and a weight that is pickled is an error.

use super::schema::{ExportedProgram, Payload, Payloads, element_type};
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An archive that was read.
pub struct Archive {
    /// `models/model.json`.
    pub program: ExportedProgram,
    /// Parameters, buffers and constants, by the names that the graph's signature has for them.
    pub tensors: BTreeMap<String, Stored>,
    /// Every file by its name below the archive's root.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Where a tensor's numbers are, and how it lies in them. Tensors that share memory name one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub file: String,
    /// ATen's number of its element type.
    pub kind: i64,
    /// Elements along each dimension.
    pub sizes: Vec<i64>,
    /// Elements from one to the next along each dimension.
    pub strides: Vec<i64>,
    /// Elements before the first.
    pub offset: i64,
}

/// Why a file is no archive that can be run.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("not a zip archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("{0} cannot be read: {1}")]
    Read(String, std::io::Error),
    #[error("{name:?} in the archive {why}")]
    Entry { name: String, why: &'static str },
    #[error("the files in the archive are longer than it is: {listed} bytes in {size}")]
    Size { listed: u64, size: u64 },
    #[error("no {0} in the archive")]
    Missing(&'static str),
    #[error("{file} is '{found}', this build reads '{known}'")]
    Version { file: &'static str, found: String, known: &'static str },
    #[error("{0} models in one archive; this build runs one")]
    Models(usize),
    #[error("{0}: {1}")]
    Json(String, serde_json::Error),
    #[error("{0} is pickled: only plain numbers are read")]
    Pickled(String),
    #[error("{0} has elements of type {1}, which is not known here")]
    ElementType(String, u32),
}

/// What every archive says of itself, and what of it is known here.
const VERSIONS: [(&str, &str); 3] =
    [("archive_format", "pt2"), ("archive_version", "0"), ("byteorder", "little")];

impl Archive {
    /// Reads an archive. What is read is never longer than the archive is, and is kept in memory alone.
    ///
    /// # Errors
    /// It is no archive, is of another version, or holds what is not data.
    pub fn read(file: impl Read + Seek) -> Result<Self, ArchiveError> {
        let files = files(file)?;
        for (file, known) in VERSIONS {
            let found = files.get(file).ok_or(ArchiveError::Missing(file))?;
            let found = String::from_utf8_lossy(found).trim().to_owned();
            if found != known {
                return Err(ArchiveError::Version { file, found, known });
            }
        }
        let model = model(&files)?;
        let program = json(&files, &format!("models/{model}.json"), "model")?;
        let mut tensors = BTreeMap::new();
        for part in ["weights", "constants"] {
            let config = format!("data/{part}/{model}_{part}_config.json");
            let payloads: Payloads = json(&files, &config, "list of weights or constants")?;
            for (name, payload) in payloads.config {
                let stored = stored(part, &name, payload)?;
                tensors.insert(name, stored);
            }
        }
        Ok(Self { program, tensors, files })
    }
}

/// The files of an archive, by their names below its root.
fn files(mut file: impl Read + Seek) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let length =
        file.seek(SeekFrom::End(0)).map_err(|error| ArchiveError::Read("its end".to_owned(), error))?;
    let mut archive = ZipArchive::new(file)?;
    let mut files = BTreeMap::new();
    let mut listed = 0_u64;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let wrong = |why| Err(ArchiveError::Entry { name: entry.name().to_owned(), why });
        // Nothing is written below these names, but who unpacks such a file by other means might.
        if entry.enclosed_name().is_none() || entry.name().starts_with('/') {
            return wrong("lies outside of it");
        }
        if entry.is_dir() || entry.is_symlink() {
            return wrong("is no ordinary file");
        }
        if entry.compression() != CompressionMethod::Stored {
            return wrong("is compressed: torch.export stores");
        }
        // Stored files lie side by side; those that share bytes unpack to more than there is.
        listed = listed.saturating_add(entry.size());
        if listed > length {
            return Err(ArchiveError::Size { listed, size: length });
        }
        // The root is the name that the file was saved under.
        let name = entry.name().split_once('/').map_or(entry.name(), |(_, name)| name).to_owned();
        if files.contains_key(&name) {
            return wrong("is there twice");
        }
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or(0));
        entry.read_to_end(&mut bytes).map_err(|error| ArchiveError::Read(name.clone(), error))?;
        files.insert(name, bytes);
    }
    Ok(files)
}

/// Writes files as an archive that can be read again, here and by `torch.export.load`.
///
/// # Errors
/// The file cannot be written.
pub fn write<'a>(
    file: impl Write + Seek,
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> zip::result::ZipResult<()> {
    let mut archive = ZipWriter::new(file);
    // torch maps weights straight from the file, at 64-byte boundaries.
    let stored =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    for (name, bytes) in files {
        archive.start_file(format!("program/{name}"), stored)?;
        archive.write_all(bytes)?;
    }
    archive.finish().map(drop)
}

/// The name of the only model.
fn model(files: &BTreeMap<String, Vec<u8>>) -> Result<String, ArchiveError> {
    let of = |name: &String| Some(name.strip_prefix("models/")?.strip_suffix(".json")?.to_owned());
    let names: Vec<String> = files.keys().filter_map(of).collect();
    <[String; 1]>::try_from(names).map(|[name]| name).map_err(|names| ArchiveError::Models(names.len()))
}

fn json<T: serde::de::DeserializeOwned>(
    files: &BTreeMap<String, Vec<u8>>,
    name: &str,
    what: &'static str,
) -> Result<T, ArchiveError> {
    let bytes = files.get(name).ok_or(ArchiveError::Missing(what))?;
    serde_json::from_slice(bytes).map_err(|error| ArchiveError::Json(name.to_owned(), error))
}

fn stored(part: &str, name: &str, payload: Payload) -> Result<Stored, ArchiveError> {
    let plain = payload.tensor_meta.filter(|_| !payload.use_pickle);
    let meta = plain.ok_or_else(|| ArchiveError::Pickled(name.to_owned()))?;
    let known = |sizes: Vec<super::schema::Known>| sizes.into_iter().map(|size| size.as_int).collect();
    Ok(Stored {
        file: format!("data/{part}/{}", payload.path_name),
        kind: element_type(meta.dtype)
            .ok_or_else(|| ArchiveError::ElementType(name.to_owned(), meta.dtype))?,
        sizes: known(meta.sizes),
        strides: known(meta.strides),
        offset: meta.storage_offset.as_int,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const MODEL: &str = r#"{"graph_module": {"graph": {"inputs": [], "outputs": [], "nodes": []},
        "signature": {"input_specs": [], "output_specs": []}}, "schema_version": {"major": 8, "minor": 17}}"#;
    const WEIGHT: &str = r#"{"config": {"model.w": {"path_name": "weight_0", "is_param": true, "use_pickle": false,
        "tensor_meta": {"dtype": 7, "sizes": [{"as_int": 2}], "requires_grad": false, "device": {"type": "cpu"},
        "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7}}}}"#;

    /// An archive of one weight, with some files in other words.
    fn archive(changed: &[(&str, &str)]) -> Result<Archive, ArchiveError> {
        Archive::read(Cursor::new(packed(changed)))
    }

    /// The same, as bytes.
    fn packed(changed: &[(&str, &str)]) -> Vec<u8> {
        let mut files = BTreeMap::from([
            ("archive_format", "pt2"),
            ("archive_version", "0"),
            ("byteorder", "little"),
            ("models/model.json", MODEL),
            ("data/weights/model_weights_config.json", WEIGHT),
            ("data/weights/weight_0", "12345678"),
            ("data/constants/model_constants_config.json", r#"{"config": {}}"#),
        ]);
        files.extend(changed.iter().copied());
        let mut written = Cursor::new(Vec::new());
        write(&mut written, files.iter().map(|(name, text)| (*name, text.as_bytes()))).unwrap();
        written.into_inner()
    }

    /// What is said of an archive with one file more, written like this.
    fn beside(add: impl Fn(&mut ZipWriter<Cursor<Vec<u8>>>) -> zip::result::ZipResult<()>) -> String {
        let mut archive = ZipWriter::new_append(Cursor::new(packed(&[]))).unwrap();
        add(&mut archive).unwrap();
        Archive::read(archive.finish().unwrap()).err().expect("an error").to_string()
    }

    fn error(changed: &[(&str, &str)]) -> String {
        archive(changed).err().expect("an error").to_string()
    }

    #[test]
    fn a_weight_is_found_by_the_name_that_the_model_has_for_it() {
        let archive = archive(&[]).unwrap();
        let weight = &archive.tensors["model.w"];
        assert_eq!(
            (weight.kind, &*weight.sizes, &*weight.strides, weight.offset),
            (6, &[2][..], &[1][..], 0)
        );
        assert_eq!(archive.files[&weight.file], b"12345678");
    }

    #[test]
    fn another_format_or_version_is_an_error_that_names_it() {
        assert_eq!(error(&[("archive_format", "zip")]), "archive_format is 'zip', this build reads 'pt2'");
        assert_eq!(error(&[("archive_version", "1")]), "archive_version is '1', this build reads '0'");
        assert_eq!(error(&[("byteorder", "big")]), "byteorder is 'big', this build reads 'little'");
        assert_eq!(error(&[("models/other.json", MODEL)]), "2 models in one archive; this build runs one");
    }

    #[test]
    fn only_ordinary_files_below_the_root_are_read() {
        let whole = packed(&[]);
        // Writers of archives refuse or mend such names.
        for outside in ["../../etc/passwd1", "program/../../abc", "/etc/passwd/12345"] {
            let mut bytes = whole.clone();
            let named = b"program/byteorder";
            for place in 0..bytes.len() - named.len() {
                if bytes[place..].starts_with(named) {
                    bytes[place..place + named.len()].copy_from_slice(outside.as_bytes());
                }
            }
            let said = Archive::read(Cursor::new(bytes)).err().expect("an error").to_string();
            assert_eq!(said, format!("{outside:?} in the archive lies outside of it"));
        }
        let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let link = beside(|archive| archive.add_symlink("program/data/weights/x", "/etc/passwd", plain));
        assert_eq!(link, "\"program/data/weights/x\" in the archive is no ordinary file");
        let twice = beside(|archive| archive.start_file("other/byteorder", plain));
        assert_eq!(twice, "\"other/byteorder\" in the archive is there twice");
    }

    /// Where each record of the central directory begins.
    fn records(bytes: &[u8]) -> Vec<usize> {
        (0..bytes.len() - 4).filter(|place| bytes[*place..].starts_with(b"PK\x01\x02")).collect()
    }

    #[test]
    fn no_more_is_read_than_there_is() {
        let whole = packed(&[]);
        // A size of 4 GB, as the directory states it: nothing is set aside for it.
        let mut long = whole.clone();
        let first = records(&whole)[0];
        long[first + 20..first + 28].copy_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]);
        let said = Archive::read(Cursor::new(long)).err().expect("an error").to_string();
        assert!(
            said.starts_with("the files in the archive are longer than it is: 4294967294 bytes"),
            "{said}"
        );
        // One that says it is compressed.
        let mut packed = whole;
        packed[first + 10] = 8;
        let said = Archive::read(Cursor::new(packed)).err().expect("an error").to_string();
        assert!(said.contains("ompress"), "{said}");
    }

    #[test]
    fn what_is_pickled_is_never_opened() {
        let pickled = WEIGHT.replace("\"use_pickle\": false", "\"use_pickle\": true");
        let changed = [("data/weights/model_weights_config.json", pickled.as_str())];
        assert_eq!(error(&changed), "model.w is pickled: only plain numbers are read");
    }

    #[test]
    fn a_cut_file_and_a_broken_graph_are_errors() {
        assert!(error(&[("models/model.json", "{")]).starts_with("models/model.json: EOF"));
        assert!(Archive::read(Cursor::new(b"no archive")).is_err());
    }
}
