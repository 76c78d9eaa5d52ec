//! `reinforcement-learning`: the next action of an agent, from what it saw, did and gained.

use super::contract::*;

/// Numbers that describe what the agent sees.
const STATE: Dim = named("state");
/// Numbers that describe what it does.
const ACTION: Dim = named("action");

/// Models of trajectories (Decision Transformer).
pub struct ReinforcementLearning;

impl Task for ReinforcementLearning {
    const CONTRACT: Contract = Contract {
        name: "reinforcement-learning",
        inputs: &[
            features("states", &[BATCH, SEQUENCE, STATE]),
            features("actions", &[BATCH, SEQUENCE, ACTION]),
            features("returns_to_go", &[BATCH, SEQUENCE, Dim::Size(1)]),
            input("timesteps", Dtype::Int64, &[BATCH, SEQUENCE], Fill::Integers { low: 0, high: 16 }),
            mask("attention_mask", &[BATCH, SEQUENCE]),
        ],
        outputs: &[float("action_preds", &[BATCH, SEQUENCE, ACTION])],
        causal: None,
        generation: None,
    };
}
