//! `automatic-speech-recognition`: an encoder hears log-mel frames, a decoder scores the next token.

use super::Text2textGeneration;
use super::contract::*;

/// Frequency bands of the log-mel spectrogram.
const MELS: Dim = named("mels");
/// Spectrogram frames, 10 ms each.
const FRAMES: Dim = named("frames");

/// Speech to text with a token decoder (Whisper, Speech2Text and their kin).
pub struct AutomaticSpeechRecognition;

impl Task for AutomaticSpeechRecognition {
    const CONTRACT: Contract = Contract {
        name: "automatic-speech-recognition",
        inputs: &[
            features("input_features", &[BATCH, MELS, FRAMES]),
            tokens("decoder_input_ids", &[BATCH, TARGET]),
        ],
        ..Text2textGeneration::CONTRACT
    };
}

impl Causal for AutomaticSpeechRecognition {}

impl Generates for AutomaticSpeechRecognition {}
