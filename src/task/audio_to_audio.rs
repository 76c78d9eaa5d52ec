//! `audio-to-audio`: a sound becomes another sound.

use super::contract::*;

/// Sound channels: 1 for mono.
const SOUNDS: Dim = named("sounds");
/// Samples of a sound.
const SAMPLES: Dim = named("samples");

/// Codecs and converters of sound (EnCodec and its kin).
pub struct AudioToAudio;

impl Task for AudioToAudio {
    const CONTRACT: Contract = Contract {
        name: "audio-to-audio",
        inputs: &[features("input_values", &[BATCH, SOUNDS, SAMPLES])],
        outputs: &[float("audio_values", &[BATCH, SOUNDS, SAMPLES])],
        causal: None,
        generation: None,
    };
}
