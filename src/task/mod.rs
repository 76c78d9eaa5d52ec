//! HuggingFace tasks, one file each: what goes in, what comes out.
//!
//! In: nothing. Out: [`CONTRACTS`] for the spec and the exporter, one marker type per task for generated
//! modules. Nothing here depends on an engine, so that the build script can read it too.

mod any_to_any;
mod audio_classification;
mod audio_text_to_text;
mod audio_to_audio;
mod automatic_speech_recognition;
mod contract;
mod depth_estimation;
mod document_question_answering;
mod feature_extraction;
mod fill_mask;
mod graph_ml;
mod image_classification;
mod image_feature_extraction;
mod image_segmentation;
mod image_text_to_text;
mod image_to_image;
mod image_to_text;
mod keypoint_detection;
mod keypoint_matching;
mod mask_generation;
mod object_detection;
mod question_answering;
mod reinforcement_learning;
mod robotics;
mod summarization;
mod table_question_answering;
mod text2text_generation;
mod text_classification;
mod text_generation;
mod text_to_audio;
mod text_to_image;
mod time_series_forecasting;
mod token_classification;
mod translation;
mod video_classification;
mod visual_document_retrieval;
mod visual_question_answering;
mod zero_shot_audio_classification;
mod zero_shot_image_classification;
mod zero_shot_object_detection;

pub use any_to_any::AnyToAny;
pub use audio_classification::AudioClassification;
pub use audio_text_to_text::AudioTextToText;
pub use audio_to_audio::AudioToAudio;
pub use automatic_speech_recognition::AutomaticSpeechRecognition;
pub use contract::*;
pub use depth_estimation::DepthEstimation;
pub use document_question_answering::DocumentQuestionAnswering;
pub use feature_extraction::FeatureExtraction;
pub use fill_mask::FillMask;
pub use graph_ml::GraphMl;
pub use image_classification::ImageClassification;
pub use image_feature_extraction::ImageFeatureExtraction;
pub use image_segmentation::ImageSegmentation;
pub use image_text_to_text::ImageTextToText;
pub use image_to_image::ImageToImage;
pub use image_to_text::ImageToText;
pub use keypoint_detection::KeypointDetection;
pub use keypoint_matching::KeypointMatching;
pub use mask_generation::MaskGeneration;
pub use object_detection::ObjectDetection;
pub use question_answering::QuestionAnswering;
pub use reinforcement_learning::ReinforcementLearning;
pub use robotics::Robotics;
pub use summarization::Summarization;
pub use table_question_answering::TableQuestionAnswering;
pub use text_classification::TextClassification;
pub use text_generation::TextGeneration;
pub use text_to_audio::TextToAudio;
pub use text_to_image::TextToImage;
pub use text2text_generation::Text2textGeneration;
pub use time_series_forecasting::TimeSeriesForecasting;
pub use token_classification::TokenClassification;
pub use translation::Translation;
pub use video_classification::VideoClassification;
pub use visual_document_retrieval::VisualDocumentRetrieval;
pub use visual_question_answering::VisualQuestionAnswering;
pub use zero_shot_audio_classification::ZeroShotAudioClassification;
pub use zero_shot_image_classification::ZeroShotImageClassification;
pub use zero_shot_object_detection::ZeroShotObjectDetection;

/// Every task, sorted by name.
pub static CONTRACTS: &[Contract] = &[
    AnyToAny::CONTRACT,
    AudioClassification::CONTRACT,
    AudioTextToText::CONTRACT,
    AudioToAudio::CONTRACT,
    AutomaticSpeechRecognition::CONTRACT,
    DepthEstimation::CONTRACT,
    DocumentQuestionAnswering::CONTRACT,
    FeatureExtraction::CONTRACT,
    FillMask::CONTRACT,
    GraphMl::CONTRACT,
    ImageClassification::CONTRACT,
    ImageFeatureExtraction::CONTRACT,
    ImageSegmentation::CONTRACT,
    ImageTextToText::CONTRACT,
    ImageToImage::CONTRACT,
    ImageToText::CONTRACT,
    KeypointDetection::CONTRACT,
    KeypointMatching::CONTRACT,
    MaskGeneration::CONTRACT,
    ObjectDetection::CONTRACT,
    QuestionAnswering::CONTRACT,
    ReinforcementLearning::CONTRACT,
    Robotics::CONTRACT,
    Summarization::CONTRACT,
    TableQuestionAnswering::CONTRACT,
    TextClassification::CONTRACT,
    TextGeneration::CONTRACT,
    TextToAudio::CONTRACT,
    TextToImage::CONTRACT,
    Text2textGeneration::CONTRACT,
    TimeSeriesForecasting::CONTRACT,
    TokenClassification::CONTRACT,
    Translation::CONTRACT,
    VideoClassification::CONTRACT,
    VisualDocumentRetrieval::CONTRACT,
    VisualQuestionAnswering::CONTRACT,
    ZeroShotAudioClassification::CONTRACT,
    ZeroShotImageClassification::CONTRACT,
    ZeroShotObjectDetection::CONTRACT,
];

/// The task of that pipeline name.
pub fn find(name: &str) -> Option<&'static Contract> {
    CONTRACTS.iter().find(|contract| contract.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::marker::PhantomData;

    /// A task of which the compiler is asked for its traits: an item with the trait's bound goes before the item of
    /// [`Lacking`] of the same name, wherever the bound holds.
    struct Of<T>(PhantomData<T>);

    trait Lacking {
        const CAUSAL: bool = false;
        const GENERATES: bool = false;
    }

    impl<T> Lacking for Of<T> {}

    impl<T: Causal> Of<T> {
        const CAUSAL: bool = true;
    }

    impl<T: Generates> Of<T> {
        const GENERATES: bool = true;
    }

    /// Contracts and traits of tasks.
    macro_rules! typed {
        ($($task:ident)*) => {
            [$(($task::CONTRACT, Of::<$task>::CAUSAL, Of::<$task>::GENERATES)),*]
        };
    }

    #[test]
    fn traits_say_what_contracts_say() {
        let typed = typed!(
            AnyToAny AudioClassification AudioTextToText AudioToAudio AutomaticSpeechRecognition
            DepthEstimation DocumentQuestionAnswering FeatureExtraction FillMask GraphMl
            ImageClassification ImageFeatureExtraction ImageSegmentation ImageTextToText
            ImageToImage ImageToText KeypointDetection KeypointMatching MaskGeneration
            ObjectDetection QuestionAnswering ReinforcementLearning Robotics Summarization
            TableQuestionAnswering TextClassification TextGeneration TextToAudio TextToImage
            Text2textGeneration TimeSeriesForecasting TokenClassification Translation
            VideoClassification VisualDocumentRetrieval VisualQuestionAnswering
            ZeroShotAudioClassification ZeroShotImageClassification ZeroShotObjectDetection
        );
        assert_eq!(
            typed.map(|(contract, ..)| contract.name).to_vec(),
            CONTRACTS.iter().map(|c| c.name).collect::<Vec<_>>()
        );
        for (contract, causal, generates) in typed {
            assert_eq!(causal, contract.causal.is_some(), "{}: Causal", contract.name);
            assert_eq!(generates, contract.generation.is_some(), "{}: Generates", contract.name);
        }
    }
}
