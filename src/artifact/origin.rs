//! What an artifact was made from, without all else that its manifest says.

use crate::failure::{At, Failure, Stage};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

/// What a manifest says of where its artifact came from.
#[derive(Debug)]
pub struct Origin {
    pub key: String,
    pub model_type: Option<String>,
}

/// The origin of the artifact in `folder`; `None` when there is none. It stands at the beginning of the manifest, and the
/// rest is not read: whether hundreds of artifacts are due is asked before every test.
pub fn origin(folder: &Path) -> Result<Option<Origin>, Failure> {
    let path = folder.join(super::MANIFEST);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at(Stage::Load, path.display()),
    };
    let mut head = Head::default();
    let ended = serde_json::Deserializer::from_reader(BufReader::new(file)).deserialize_map(&mut head);
    match (head.key, head.model_type) {
        (Some(key), Some(model_type)) => Ok(Some(Origin { key, model_type })),
        _ => {
            ended.at(Stage::Load, path.display())?;
            Err(Failure::new(Stage::Load, format!("{}: no key", path.display())))
        }
    }
}

/// What was read of a manifest's beginning.
#[derive(Default)]
struct Head {
    key: Option<String>,
    model_type: Option<Option<String>>,
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while self.key.is_none() || self.model_type.is_none() {
            match fields.next_key::<String>()?.as_deref() {
                Some("key") => self.key = Some(fields.next_value()?),
                Some("model_type") => self.model_type = Some(fields.next_value()?),
                Some(_) => drop(fields.next_value::<IgnoredAny>()?),
                None => break,
            }
        }
        Ok(())
    }
}
