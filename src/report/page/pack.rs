//! Text in a form that is small and fits into HTML.
//!
//! In: texts by name. Out: their JSON object, gzipped, in base64: what `DecompressionStream` of every browser unpacks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};
use std::collections::BTreeMap;
use std::io;

/// Packs texts.
pub fn pack(texts: &BTreeMap<&str, String>) -> io::Result<String> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    serde_json::to_writer(&mut packer, texts)?;
    Ok(STANDARD.encode(packer.finish()?))
}

/// The texts again, as a browser finds them.
#[cfg(test)]
pub fn unpack(packed: &str) -> BTreeMap<String, String> {
    let bytes = STANDARD.decode(packed).unwrap();
    serde_json::from_reader(flate2::read::GzDecoder::new(bytes.as_slice())).unwrap()
}
