//! The ports of an entry: its task's, as its layers change them.
//!
//! In: a task and layers. Out: inputs and outputs, the task's own first, added ones in the order of the spec.

use super::decode::unknown;
use super::layer::{Keyed, Layer};
use super::layers::{Layers, nothing_to_remove};
use super::problem::Problems;
use crate::task::{Contract, Input, Output};

/// The inputs: the task's and those that layers add, replace or drop, less `without`.
pub(super) fn inputs(task: &Contract, layers: &Layers, problems: &mut Problems) -> Vec<Input> {
    let mut inputs = changed(task.inputs, layers, |layer| &layer.inputs, |input| &input.name, problems);
    let Some(without) = layers.said(|layer| &layer.without) else { return inputs };
    for name in without.value {
        let before = inputs.len();
        inputs.retain(|input| input.name != name.value);
        if inputs.len() == before && without.own {
            let names = inputs.iter().map(|input| input.name.as_ref());
            unknown("`without`: there is no input", &name.value, names, &name.place, problems);
        }
    }
    inputs
}

/// The outputs: the task's and those that layers add, replace or drop.
pub(super) fn outputs(task: &Contract, layers: &Layers, problems: &mut Problems) -> Vec<Output> {
    changed(task.outputs, layers, |layer| &layer.outputs, |output| &output.name, problems)
}

fn changed<T: Clone>(
    ports: &[T],
    layers: &Layers,
    get: fn(&Layer) -> &Keyed<T>,
    name: fn(&T) -> &str,
    problems: &mut Problems,
) -> Vec<T> {
    let mut ports = ports.to_vec();
    for layer in layers.all() {
        for item in get(layer) {
            let index = ports.iter().position(|port| name(port) == item.key);
            match (index, &item.value) {
                (Some(index), Some(port)) => ports[index] = port.clone(),
                (Some(index), None) => {
                    ports.remove(index);
                }
                (None, Some(port)) => ports.push(port.clone()),
                (None, None) if layers.is_own(layer) => nothing_to_remove(&item.key, &item.place, problems),
                (None, None) => {}
            }
        }
    }
    ports
}
