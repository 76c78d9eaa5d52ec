//! `robotics`: the actions of a robot that sees images and reads an instruction.

use super::contract::*;

/// Steps that are planned.
const HORIZON: Dim = named("horizon");
/// Numbers that describe one step.
const ACTION: Dim = named("action");

/// Vision-language-action models.
pub struct Robotics;

impl Task for Robotics {
    const CONTRACT: Contract = Contract {
        name: "robotics",
        inputs: &[
            tokens("input_ids", &[BATCH, SEQUENCE]),
            mask("attention_mask", &[BATCH, SEQUENCE]),
            features("pixel_values", &[BATCH, CHANNELS, IMAGE, IMAGE]),
        ],
        outputs: &[float("actions", &[BATCH, HORIZON, ACTION])],
        causal: None,
        generation: None,
    };
}
