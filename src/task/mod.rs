//! HuggingFace tasks, one file each: what goes in, what comes out.
//!
//! In: nothing. Out: [`CONTRACTS`] for the spec and the exporter, one marker type per task for generated
//! modules. Nothing here depends on an engine, so that the build script can read it too.

mod automatic_speech_recognition;
mod contract;
mod fill_mask;
mod image_classification;
mod image_text_to_text;
mod text2text_generation;
mod text_generation;
mod zero_shot_image_classification;

pub use automatic_speech_recognition::AutomaticSpeechRecognition;
pub use contract::*;
pub use fill_mask::FillMask;
pub use image_classification::ImageClassification;
pub use image_text_to_text::ImageTextToText;
pub use text_generation::TextGeneration;
pub use text2text_generation::Text2textGeneration;
pub use zero_shot_image_classification::ZeroShotImageClassification;

/// Every task, sorted by name.
pub static CONTRACTS: &[Contract] = &[
    AutomaticSpeechRecognition::CONTRACT,
    FillMask::CONTRACT,
    ImageClassification::CONTRACT,
    ImageTextToText::CONTRACT,
    TextGeneration::CONTRACT,
    Text2textGeneration::CONTRACT,
    ZeroShotImageClassification::CONTRACT,
];

/// The task of that pipeline name.
pub fn find(name: &str) -> Option<&'static Contract> {
    CONTRACTS.iter().find(|contract| contract.name == name)
}
