//! `audio-text-to-text`: a language model that continues a text holding placeholders for sounds.

use super::TextGeneration;
use super::contract::*;

/// Frequency bands of the log-mel spectrogram.
const MELS: Dim = named("mels");
/// Spectrogram frames.
const FRAMES: Dim = named("frames");

/// Audio language models (Qwen2-Audio, Voxtral and their kin).
pub struct AudioTextToText;

impl Task for AudioTextToText {
    const CONTRACT: Contract = Contract {
        name: "audio-text-to-text",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            positions("position_ids", &[BATCH, SEQUENCE]),
            features("input_features", &[BATCH, MELS, FRAMES]),
        ],
        ..TextGeneration::CONTRACT
    };
}

impl Causal for AudioTextToText {}

impl Generates for AudioTextToText {}
