//! A model as the harness sees it: the data of one generated module.
//!
//! In: literals in `generated/`, or a spec entry at run time. Out: [`ModelSpec`], which every check reads, and
//! [`Model`], which ties one to its task's type.

use crate::spec::{Axis, Entry, Idle, Versions, Waiver};
use crate::task::{Input, Output, Task, Text};
use std::marker::PhantomData;

/// What a generated module knows of its model.
#[derive(Clone, Copy, Debug)]
pub struct ModelSpec<'a> {
    /// HuggingFace spelling; also the name of the artifact's folder.
    pub name: &'a str,
    pub family: &'a str,
    /// The class that must have been exported.
    pub class: &'a str,
    /// Hub id, where a public checkpoint is known.
    pub checkpoint: Option<&'a str>,
    /// Digest of the resolved entry: an artifact made from another one is stale.
    pub digest: &'a str,
    pub inputs: &'a [Input],
    pub outputs: &'a [Output],
    /// Sizes of a call, by axis.
    pub axes: &'a [(Text, Axis)],
    pub tolerance: &'a [Waiver],
    /// Parameters that may move no output.
    pub idle: &'a [Idle],
}

/// A [`ModelSpec`] whose task is known to the compiler.
#[derive(Debug)]
pub struct Model<T> {
    pub spec: ModelSpec<'static>,
    task: PhantomData<fn() -> T>,
}

impl<T: Task> Model<T> {
    /// A model of that task.
    pub const fn new(spec: ModelSpec<'static>) -> Self {
        Self { spec, task: PhantomData }
    }
}

/// A borrowed name in a static.
pub const fn text(text: &'static str) -> Text {
    Text(text)
}

/// Parameters that may move no output; `own` where the model itself says so.
pub const fn idle(parameters: &'static str, reason: &'static str, own: bool) -> Idle {
    Idle { parameters: Text(parameters), reason: Text(reason), own }
}

/// An axis that programs must hold along: traced at one size, checked at a second.
pub const fn dynamic(name: &'static str, traced: usize, second: usize) -> (Text, Axis) {
    (Text(name), Axis::Dynamic { traced, second })
}

/// An axis of which the eager model allows one size only.
pub const fn fixed(name: &'static str, size: usize, reason: &'static str) -> (Text, Axis) {
    (Text(name), Axis::Fixed { size, reason: Text(reason) })
}

/// An axis with `count` steps for each step along another.
pub const fn per(name: &'static str, axis: &'static str, count: usize) -> (Text, Axis) {
    (Text(name), Axis::Per { axis: Text(axis), count })
}

/// A spec entry at run time, in the shape that checks read.
#[derive(Debug)]
pub struct RuntimeSpec<'a> {
    entry: &'a Entry,
    digest: String,
    axes: Vec<(Text, Axis)>,
}

impl<'a> RuntimeSpec<'a> {
    /// The entry under the spec's pins.
    pub fn new(entry: &'a Entry, versions: &Versions) -> Self {
        let axes = entry.axes.iter().map(|(name, axis)| (name.clone().into(), *axis)).collect();
        Self { entry, digest: entry.digest(versions), axes }
    }

    /// What a generated module would hold.
    pub fn model(&self) -> ModelSpec<'_> {
        let entry = self.entry;
        ModelSpec {
            name: entry.name.as_str(),
            family: entry.family.as_str(),
            class: &entry.class,
            checkpoint: entry.checkpoint.as_deref(),
            digest: &self.digest,
            inputs: &entry.inputs,
            outputs: &entry.outputs,
            axes: &self.axes,
            tolerance: &entry.tolerance,
            idle: &entry.idle,
        }
    }

    /// The entry itself.
    pub fn entry(&self) -> &'a Entry {
        self.entry
    }
}
