//! `zero-shot-audio-classification`: how well each of several texts describes each of several sounds.

use super::contract::*;

/// Texts that sounds are compared with in one call.
const TEXTS: Dim = named("texts");
/// Views of one sound.
const SOUNDS: Dim = named("sounds");
/// Spectrogram frames.
const FRAMES: Dim = named("frames");
/// Frequency bands of the log-mel spectrogram.
const MELS: Dim = named("mels");
/// Width of the space that texts and sounds share.
const PROJECTION: Dim = named("projection");

/// Dual encoders of sounds and texts (CLAP).
pub struct ZeroShotAudioClassification;

impl Task for ZeroShotAudioClassification {
    const CONTRACT: Contract = Contract {
        name: "zero-shot-audio-classification",
        inputs: &[
            tokens("input_ids", &[TEXTS, SEQUENCE]),
            mask("attention_mask", &[TEXTS, SEQUENCE]),
            features("input_features", &[BATCH, SOUNDS, FRAMES, MELS]),
        ],
        outputs: &[
            float("logits_per_audio", &[BATCH, TEXTS]),
            output("text_embeds", Dtype::Float32, &[TEXTS, PROJECTION], Range::Normalised),
            output("audio_embeds", Dtype::Float32, &[BATCH, PROJECTION], Range::Normalised),
        ],
        causal: None,
        generation: None,
    };
}
