//! What a new entry would inherit.
//!
//! In: a family's defaults, or an entry to be like. Out: a [`Base`], in the words that the exporter suggests
//! entries in.

use super::entry::{Axis, DimSource, Entry, Padding};
use super::layer::{Keyed, Layer};
use super::problem::Problems;
use crate::task::{Input, Output};
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What an entry has before it says anything itself.
#[derive(Clone, Debug, Serialize)]
pub struct Base {
    pub task: Option<String>,
    pub class: Option<String>,
    pub config: Map<String, Value>,
    /// Axis → `{dynamic: [traced, second]}`, `{size}` or `{per, count}`.
    pub axes: Map<String, Value>,
    pub padding: Padding,
    pub placeholders: BTreeMap<String, usize>,
    pub dims: BTreeMap<String, DimSource>,
    /// The inputs as a liked model changes them; a family leaves them to the task.
    pub inputs: Option<Vec<Input>>,
    pub outputs: Option<Vec<Output>>,
}

/// The base that every family file offers, by the family's name.
pub fn bases(files: &[super::File], today: Date) -> BTreeMap<String, Base> {
    let mut problems = Problems::default();
    files
        .iter()
        .filter(|(path, _)| !super::is_versions(path))
        .filter_map(|file| super::read_family(file, today, &mut problems))
        .map(|family| (family.name.to_string(), Base::of_defaults(&family.defaults)))
        .collect()
}

impl Base {
    /// What `like: entry` would bring.
    pub fn of(entry: &Entry) -> Self {
        Self {
            task: Some(entry.task.name.to_owned()),
            class: Some(entry.class.clone()),
            config: entry.config.clone(),
            axes: entry.axes.iter().map(|(name, axis)| (name.clone(), axis_json(axis))).collect(),
            padding: entry.padding,
            placeholders: entry.placeholders.clone(),
            dims: entry.dims.clone(),
            inputs: Some(entry.inputs.clone()),
            outputs: Some(entry.outputs.clone()),
        }
    }

    fn of_defaults(layer: &Layer) -> Self {
        let said = |said: &Option<super::decode::At<Option<String>>>| said.clone().and_then(|at| at.value);
        Self {
            task: layer.task.as_ref().and_then(|at| at.value).map(|task| task.name.to_owned()),
            class: said(&layer.class),
            config: layer.config.clone(),
            axes: kept(&layer.axes).map(|(name, axis)| (name.to_owned(), axis_json(axis))).collect(),
            padding: layer.padding.as_ref().and_then(|at| at.value).unwrap_or(Padding::Right),
            placeholders: kept(&layer.placeholders).map(|(name, count)| (name.to_owned(), *count)).collect(),
            dims: kept(&layer.dims).map(|(name, source)| (name.to_owned(), source.clone())).collect(),
            inputs: None,
            outputs: None,
        }
    }
}

fn kept<T>(items: &Keyed<T>) -> impl Iterator<Item = (&str, &T)> {
    items.iter().filter_map(|item| Some((item.key.as_str(), item.value.as_ref()?)))
}

fn axis_json(axis: &Axis) -> Value {
    match axis {
        Axis::Dynamic { traced, second } => json!({"dynamic": [traced, second]}),
        Axis::Fixed { size, .. } => json!({"size": size}),
        Axis::Per { axis, count } => json!({"per": axis, "count": count}),
    }
}
