//! How large models are when they are measured.
//!
//! In: an entry, tiny as the spec has it. Out: the same, or an entry that no file holds, as large as what people serve: 768
//! wide and 4 layers deep, at 128 tokens, images of 224 × 224 and 30 seconds of sound. Its vocabulary stays the entry's:
//! the product with it is one kernel, alike on every side.

use crate::spec::{Axis, Check, Entry};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A size that models are measured at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// The spec's own.
    Tiny,
    /// That of a small model in service.
    Realistic,
}

/// Config keys, by the words that classes have for them, and what they are in a model of realistic width.
const CONFIG: [(&[&str], usize); 6] = [
    (&["hidden_size", "d_model", "n_embd"], 768),
    (&["num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"], 4),
    (
        &[
            "num_attention_heads",
            "num_key_value_heads",
            "num_heads",
            "encoder_attention_heads",
            "decoder_attention_heads",
        ],
        12,
    ),
    (&["head_dim", "d_kv"], 64),
    (&["intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"], 3072),
    (&["max_position_embeddings"], 512),
];

/// Of pictures.
const PICTURES: [(&str, usize); 2] = [("image_size", 224), ("patch_size", 16)];

/// Config keys that are the class's own default again: how convolutions are stacked, how far positions reach.
const DEFAULTS: [&str; 14] = [
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "depths",
    "embedding_size",
    "hidden_sizes",
    "max_source_positions",
    "max_target_positions",
    "num_conv_pos_embedding_groups",
    "num_conv_pos_embeddings",
    "num_mel_bins",
    "projection_dim",
    "relative_attention_max_distance",
    "relative_attention_num_buckets",
];

/// Axes of a call, and their sizes: the one that is measured, and a smaller one that a program must hold at too.
const AXES: [(&str, usize, usize); 6] = [
    ("batch", 2, 1),
    ("sequence", 128, 64),
    ("target", 128, 64),
    ("image", 224, 192),
    // 30 seconds: of sound at 16 kHz, of spectra at 100 a second.
    ("samples", 480_000, 160_000),
    ("frames", 3000, 1500),
];

/// Seconds of a processor's time for an export: 30 seconds of sound are run in float64, too.
const PATIENCE: u64 = 1200;

/// Config keys that say how many positions there are, and as many as a long prompt and what is written after it need.
const POSITIONS: [&str; 3] = ["max_position_embeddings", "n_positions", "n_ctx"];
const LONG_ROWS: u64 = 1024;

/// Checks that a program passes before it is measured; its artifact has what these need, and nothing else.
const PROVED: [Check; 4] = [Check::Loads, Check::OutputContract, Check::MatchesReference, Check::Generalises];
/// The same of a model whose decoding is measured.
const DECODED: [Check; 3] = [Check::Loads, Check::Generates, Check::Decodes];

impl Width {
    pub const ALL: [Self; 2] = [Self::Tiny, Self::Realistic];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Realistic => "realistic",
        }
    }

    /// Where artifacts of that width are.
    pub fn root(self) -> PathBuf {
        match self {
            Self::Tiny => crate::artifact::root(),
            Self::Realistic => PathBuf::from("target/conformance/realistic"),
        }
    }

    /// The entry at that width.
    ///
    /// # Errors
    /// Nothing in its config says how large it is, by any word that is known here.
    pub fn of(self, entry: &Entry) -> Result<Entry, String> {
        match self {
            Self::Tiny => Ok(entry.clone()),
            Self::Realistic => realistic(entry),
        }
    }

    /// The entry at that width, with room for long rows, and with step programs that are tested before they are measured.
    ///
    /// # Errors
    /// As [`Width::of`]; the entry decodes nothing.
    pub fn decoding(self, entry: &Entry) -> Result<Entry, String> {
        if let Some(why) = Check::Decodes.omitted(entry) {
            return Err(format!("no decoding with a cache: {why}"));
        }
        let mut long = self.of(entry)?;
        for name in POSITIONS {
            if let Some(room) =
                long.config.get_mut(name).filter(|room| room.as_u64().is_some_and(|room| room < LONG_ROWS))
            {
                *room = Value::from(LONG_ROWS);
            }
        }
        long.omit = entry.omit.clone();
        leave_out_all_but(&DECODED, &mut long);
        Ok(long)
    }

    /// Where artifacts of such entries are.
    pub fn decoding_root(self) -> PathBuf {
        PathBuf::from("target/conformance/decoding").join(self.name())
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Width {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|width| width.name() == name);
        found.ok_or_else(|| format!("no width is called '{name}'; there are: tiny, realistic"))
    }
}

fn realistic(entry: &Entry) -> Result<Entry, String> {
    let mut wide = entry.clone();
    if !widen(&mut wide.config) {
        return Err(format!("no key of its config is known to say how wide {} is", entry.class));
    }
    for (name, axis) in &mut wide.axes {
        *axis = long(name, *axis);
    }
    wide.time_limit = Some(PATIENCE);
    leave_out_all_but(&PROVED, &mut wide);
    Ok(wide)
}

/// Leaves out what is not needed of a model that is measured; what the entry itself leaves out keeps its reason.
fn leave_out_all_but(needed: &[Check], entry: &mut Entry) {
    for check in Check::ALL.into_iter().filter(|check| !needed.contains(check)) {
        entry.omit.entry(check).or_insert_with(|| "it is measured, not tested".to_owned());
    }
}

/// Gives every config, also those inside it, realistic sizes; whether it had any.
fn widen(config: &mut Map<String, Value>) -> bool {
    let sizes: BTreeMap<&str, usize> = CONFIG
        .iter()
        .flat_map(|(names, size)| names.iter().map(|name| (*name, *size)))
        .chain(PICTURES)
        .collect();
    let before = config.len();
    config.retain(|name, _| !DEFAULTS.contains(&name.as_str()));
    let mut found = config.len() < before;
    for (name, value) in config {
        match (value, sizes.get(name.as_str())) {
            (Value::Object(inner), _) => found |= widen(inner),
            (value @ Value::Number(_), Some(size)) => {
                *value = Value::from(*size);
                found = true;
            }
            _ => {}
        }
    }
    found
}

/// An axis at the length that people use; one that follows another, or counts something else, stays as it is.
fn long(name: &str, axis: Axis) -> Axis {
    let Some((_, traced, second)) = AXES.into_iter().find(|(known, ..)| *known == name) else { return axis };
    match axis {
        Axis::Dynamic { .. } => Axis::Dynamic { traced, second },
        Axis::Fixed { reason, .. } => Axis::Fixed { size: traced, reason },
        Axis::Per { .. } => axis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{self, Spec};
    use serde_json::json;
    use std::path::Path;

    fn spec() -> Spec {
        spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn wide(spec: &Spec, name: &str) -> Entry {
        let entry = spec.entries.iter().find(|entry| entry.name.as_str() == name).unwrap();
        Width::Realistic.of(entry).unwrap()
    }

    #[test]
    fn a_model_of_realistic_width_has_the_sizes_of_one_in_service_in_all_its_parts() {
        let spec = spec();
        let clip = wide(&spec, "clip");
        let [text, vision] = ["text_config", "vision_config"].map(|part| &clip.config[part]);
        let sizes = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"];
        for part in [text, vision] {
            assert_eq!(sizes.map(|key| part[key].as_u64().unwrap()), [768, 4, 12, 3072]);
        }
        assert_eq!((&vision["image_size"], &text["vocab_size"]), (&json!(224), &json!(128)));
        assert!(!clip.config.contains_key("projection_dim"), "the class's own default");
        assert!(matches!(clip.axes["image"], Axis::Fixed { size: 224, .. }));
        assert_eq!(clip.axes["sequence"], Axis::Dynamic { traced: 128, second: 64 });
    }

    #[test]
    fn sound_lasts_thirty_seconds_and_convolutions_are_the_classs_own() {
        let spec = spec();
        assert_eq!(
            wide(&spec, "wav2vec2").axes["samples"],
            Axis::Dynamic { traced: 480_000, second: 160_000 }
        );
        assert!(!wide(&spec, "wav2vec2").config.contains_key("conv_dim"));
        assert!(matches!(wide(&spec, "whisper").axes["frames"], Axis::Fixed { size: 3000, .. }));
        assert!(!wide(&spec, "resnet").config.contains_key("depths"));
    }

    #[test]
    fn an_artifact_of_another_width_is_another_artifact_in_another_folder() {
        let spec = spec();
        let bert = wide(&spec, "bert");
        let tiny = spec.entries.iter().find(|entry| entry.name == bert.name).unwrap();
        assert_ne!(bert.digest(&spec.versions), tiny.digest(&spec.versions));
        assert_eq!(Width::Tiny.of(tiny).unwrap().digest(&spec.versions), tiny.digest(&spec.versions));
        assert_ne!(Width::Realistic.root(), Width::Tiny.root());
        assert_eq!(bert.due().collect::<Vec<_>>(), PROVED);
    }

    #[test]
    fn a_model_whose_size_is_written_in_other_words_is_refused_by_name() {
        let spec = spec();
        let mut bert = wide(&spec, "bert");
        bert.config = json!({"vocab_size": 128, "girth": 3}).as_object().unwrap().clone();
        let why = Width::Realistic.of(&bert).unwrap_err();
        assert_eq!(why, "no key of its config is known to say how wide BertForMaskedLM is");
    }

    #[test]
    fn a_model_that_writes_has_room_for_long_rows_and_its_step_programs_are_tested() {
        let spec = spec();
        let named = |name: &str| spec.entries.iter().find(|entry| entry.name.as_str() == name).unwrap();
        for width in Width::ALL {
            let long = width.decoding(named("gpt2")).unwrap();
            assert!(
                POSITIONS
                    .iter()
                    .filter_map(|key| long.config.get(*key))
                    .all(|room| room.as_u64() >= Some(1024))
            );
            assert_eq!(long.due().collect::<Vec<_>>(), DECODED);
        }
        let why = Width::Tiny.decoding(named("bert")).unwrap_err();
        assert_eq!(why, "no decoding with a cache: the task does not generate text");
        let why = Width::Tiny.decoding(named("rwkv")).unwrap_err();
        assert!(why.starts_with("no decoding with a cache: ") && why.len() > 40, "{why}");
    }

    #[test]
    fn a_width_that_is_none_is_told_with_those_that_are() {
        assert_eq!("tiny".parse(), Ok(Width::Tiny));
        let why = "wide".parse::<Width>().unwrap_err();
        assert_eq!(why, "no width is called 'wide'; there are: tiny, realistic");
    }
}
