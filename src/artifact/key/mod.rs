//! What an artifact was made from: of another key, it is stale.
//!
//! In: an entry's digest, the numerical rule, the exporter's code. Out: a key. The exporter's sources are part of this
//! program, so that what runs is what keys were computed from.

mod code;
mod sources;

pub use code::{Digests, digests};
pub use sources::unpack;

use super::Beside;
use crate::numerics::rule;
use sha2::{Digest, Sha256};

/// What the exporter is told of the numerical rule: it looks for parameters that move no output by more than it allows.
pub fn rule() -> serde_json::Value {
    serde_json::json!({"k": rule::K, "floor": rule::FLOOR, "mark": rule::MARK})
}

/// What an artifact of a model type was made from: `asked` of the entry, and the digest of the exporter's code for
/// that type. Only who has built the model knows its type: the exporter puts the two together in the same way.
pub fn of(entry_digest: &str, model_type: Option<&str>) -> String {
    format!("{}-{}", asked(entry_digest), code::digests().of(model_type))
}

/// What the exporter is asked for: a sha256 over the entry (with its pins) and the numerical rule.
pub(crate) fn asked(entry_digest: &str) -> String {
    format!("{:x}", Sha256::new().chain_update(entry_digest).chain_update(rule().to_string()).finalize())
}

/// What the files beside an artifact were made from: what the artifact was, by its key, and the code for those files alone.
pub fn beside(what: Beside, artifact: &str) -> String {
    let code = sources::of(what).iter();
    format!("{:x}", code.fold(Sha256::new().chain_update(artifact), Sha256::chain_update).finalize())
}
