//! `text-to-audio`: a text becomes a sound.

use super::contract::*;

/// Samples of the sound; the model decides how many.
const SAMPLES: Dim = named("samples");

/// Speech and music generators (VITS, MusicGen and their kin).
pub struct TextToAudio;

impl Task for TextToAudio {
    const CONTRACT: Contract = Contract {
        name: "text-to-audio",
        inputs: &[tokens("input_ids", &[BATCH, SEQUENCE]), mask("attention_mask", &[BATCH, SEQUENCE])],
        outputs: &[float("waveform", &[BATCH, SAMPLES])],
        causal: None,
        generation: None,
    };
}
