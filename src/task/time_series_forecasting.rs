//! `time-series-forecasting`: how series of numbers go on.

use super::contract::*;

/// Steps that are known.
const CONTEXT: Dim = named("context");
/// Steps that are foretold.
const HORIZON: Dim = named("horizon");
/// Numbers at each step.
const SERIES: Dim = named("series");

/// Forecasters (PatchTST, TimesFM and their kin).
pub struct TimeSeriesForecasting;

impl Task for TimeSeriesForecasting {
    const CONTRACT: Contract = Contract {
        name: "time-series-forecasting",
        inputs: &[features("past_values", &[BATCH, CONTEXT, SERIES])],
        outputs: &[float("prediction_outputs", &[BATCH, HORIZON, SERIES])],
        causal: None,
        generation: None,
    };
}
