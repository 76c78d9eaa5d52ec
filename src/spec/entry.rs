//! The checked model of the spec: what an entry says once every default and every `like:` is resolved.
//!
//! In: nothing. Out: [`Spec`] and [`Entry`], the data that code generation, the exporter and the reports
//! read. Whoever holds an [`Entry`] may rely on it: names are unique, tasks exist, ports have sizes.

use super::checks::Check;
use super::name::Name;
use super::problem::Problem;
use crate::task::{Contract, Dim, Input, Output, Text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything under `spec/`, checked.
#[derive(Debug)]
pub struct Spec {
    /// All entries, sorted by family, then by name.
    pub entries: Vec<Entry>,
    /// Models that cannot be tested yet, in the order of their files.
    pub missing: Vec<Missing>,
    /// `versions.yaml`.
    pub versions: Versions,
    /// What time alone made wrong, sorted by place: the build goes on, so that old commits can be built;
    /// `just validate` and `just check` do not.
    pub warnings: Vec<Problem>,
}

/// `versions.yaml`: every pin, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Versions {
    /// Python packages of the base environment, `name → version`.
    pub python: BTreeMap<String, String>,
    /// Where classes come from, by the name that entries give as `source`.
    pub sources: BTreeMap<String, Source>,
    /// The crate tch that is made for a torch, by the torch's version.
    pub tch: BTreeMap<String, String>,
    /// Packages that some checkpoints ask for, by what asks for them.
    pub extras: BTreeMap<String, BTreeMap<String, String>>,
}

/// A package that defines model classes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Package name on PyPI.
    pub package: String,
    pub version: String,
    /// Module that the classes are imported from; the package itself by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Path of the package's own config class, which its classes are made from; keyword arguments by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Folder or wheel of a package that is in no registry, relative to the project's root. Its version tells its files.
    #[serde(skip_serializing, default)]
    pub path: Option<PathBuf>,
    /// Packages laid over the base environment, `name → version`; empty for the base environment itself.
    pub overlay: BTreeMap<String, String>,
    /// Packages that compile those of the overlay which are published as source alone, against the base environment.
    #[serde(skip_serializing, default)]
    pub build: BTreeMap<String, String>,
    /// The folder of an overlay that is only tried, and that no lock has.
    #[serde(skip)]
    pub tried: Option<String>,
}

impl Versions {
    /// The tch that is made for a torch, whatever that was built for (`2.13.0+cpu`); none where none is known.
    pub fn tch_of(&self, torch: &str) -> Option<&str> {
        let release = torch.split('+').next().unwrap_or(torch);
        self.tch.get(release).map(String::as_str)
    }
}

/// A place in a spec file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Relative to the project's root, with forward slashes: `spec/vision.yaml`.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

/// One model: an architecture, a class, a task.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Name,
    /// The family file's name: `encoder-only`.
    pub family: Name,
    /// Class name inside the source package.
    pub class: String,
    pub task: &'static Contract,
    /// Hub id, `org/name`; none where no public checkpoint is known.
    pub checkpoint: Option<String>,
    pub priority: Priority,
    /// Key of [`Versions::sources`].
    pub source: String,
    /// Overrides on the class's default config.
    pub config: Map<String, Value>,
    /// Seed of weights and inputs.
    pub seed: u64,
    pub padding: Padding,
    /// The one attention that references and program have, where the class's others do not agree with it.
    pub attention: Option<OneAttention>,
    /// Sizes of the symbols that belong to a call, sorted by name.
    pub axes: BTreeMap<String, Axis>,
    /// Sizes of the symbols that belong to the config, sorted by name.
    pub dims: BTreeMap<String, DimSource>,
    /// Config attribute that holds a token id → copies of it in every row of the token input.
    pub placeholders: BTreeMap<String, usize>,
    /// The task's inputs, as this entry changes them.
    pub inputs: Vec<Input>,
    /// The task's outputs, as this entry changes them.
    pub outputs: Vec<Output>,
    /// Checks left out, with the reason.
    pub omit: BTreeMap<Check, String>,
    /// Parameters that move no output, each pattern with its reason.
    pub idle: Vec<Idle>,
    /// Seconds that each check may take, where the default does not do.
    pub time_limit: Option<u64>,
    /// GiB of memory that a process may hold while it runs the model, where the default does not do.
    pub memory_limit: Option<u64>,
    /// Looser tolerances, each with its reason and its end.
    pub tolerance: Vec<Waiver>,
    /// Where the entry begins.
    pub place: Place,
}

/// An attention that a model has alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneAttention {
    /// `eager` or `sdpa`.
    pub name: String,
    /// What is wrong with the others.
    pub reason: String,
}

/// A model that is wanted and cannot be tested yet. It counts as missing, and says why.
#[derive(Clone, Debug)]
pub struct Missing {
    pub name: Name,
    pub family: Name,
    /// How far it came: `export`, `load`, `run` or `compare`.
    pub stage: &'static str,
    /// The exact error, and what was tried.
    pub reason: String,
    /// Where it is listed.
    pub place: Place,
}

/// How much a model matters; the roster's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Critical,
    High,
    Medium,
    #[default]
    Low,
}

impl Priority {
    /// The word of the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Where the exporter puts padding in a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    Left,
    Right,
    /// Every position is real.
    None,
}

impl Padding {
    /// The word of the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::None => "none",
        }
    }
}

/// The size of one axis of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// `[traced, second]`: traced at the first size, must hold at the second.
    Dynamic { traced: usize, second: usize },
    /// `{size, fixed: reason}`: the eager model itself allows one size only.
    Fixed { size: usize, reason: Text },
    /// `{per: axis, count: n}`: `n` for each step along another axis.
    Per { axis: Text, count: usize },
}

/// Where the size of a config symbol comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DimSource {
    /// A number.
    Size(usize),
    /// Attribute paths of the config; the first that exists counts.
    Paths(Vec<String>),
}

/// A looser tolerance: a waiver, with its reason and its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Waiver {
    pub check: Check,
    /// The output it applies to; all of them when absent.
    pub output: Option<Text>,
    /// Replaces the rule's factor k.
    pub k: f64,
    pub reason: Text,
    /// Where the cause is tracked; this or `until` is given.
    pub issue: Option<Text>,
    /// Last day of the waiver, `YYYY-MM-DD`; later it is a warning of the build and an error of `just validate`.
    pub until: Option<Text>,
}

/// Parameters that move no output, and why they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Idle {
    /// Names in the eager model; `*` stands for any text.
    pub parameters: Text,
    pub reason: Text,
    /// The model itself says so: then there must be parameters of such names. What is inherited may name none.
    pub own: bool,
}

/// Sizes of one run of a model: what the exporter makes inputs for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// `traced`, or the axis that has its second size.
    pub name: String,
    /// Axis → size.
    pub sizes: BTreeMap<String, usize>,
}

/// The traced case first, then one case for every dynamic axis at its second size.
///
/// An axis given per another follows it: two images a row make six where the batch is three.
pub fn cases<'a>(axes: impl Iterator<Item = (&'a str, &'a Axis)> + Clone) -> Vec<Case> {
    let dynamic = axes.clone().filter(|(_, axis)| matches!(axis, Axis::Dynamic { .. }));
    std::iter::once(None)
        .chain(dynamic.map(|(name, _)| Some(name)))
        .map(|grown| Case { name: grown.unwrap_or("traced").to_owned(), sizes: sizes(axes.clone(), grown) })
        .collect()
}

/// How many slices each axis has for one step along `axis`: itself, and those given per it.
pub fn followers<'a>(
    axes: impl Iterator<Item = (&'a str, &'a Axis)>,
    axis: &str,
) -> BTreeMap<&'a str, usize> {
    let steps = |name: &str, size: &Axis| match size {
        Axis::Per { axis: other, count } if *other == *axis => Some(*count),
        _ => (name == axis).then_some(1),
    };
    axes.filter_map(|(name, size)| Some((name, steps(name, size)?))).collect()
}

/// Every axis's size when `grown` has its second size.
fn sizes<'a>(
    axes: impl Iterator<Item = (&'a str, &'a Axis)> + Clone,
    grown: Option<&str>,
) -> BTreeMap<String, usize> {
    let own = |name: &str, axis: &Axis| match axis {
        Axis::Dynamic { second, .. } if grown == Some(name) => Some(*second),
        Axis::Dynamic { traced, .. } => Some(*traced),
        Axis::Fixed { size, .. } => Some(*size),
        Axis::Per { .. } => None,
    };
    axes.clone()
        .filter_map(|(name, axis)| {
            let size = match axis {
                Axis::Per { axis: other, count } => {
                    let (base, found) = axes.clone().find(|(name, _)| other == name)?;
                    own(base, found)? * count
                }
                axis => own(name, axis)?,
            };
            Some((name.to_owned(), size))
        })
        .collect()
}

impl Entry {
    /// The runs this entry is exported and checked at.
    pub fn cases(&self) -> Vec<Case> {
        cases(self.axes.iter().map(|(name, axis)| (name.as_str(), axis)))
    }

    /// Symbols of the inputs' shapes that neither an axis nor a dimension of the config gives a size.
    pub fn unsized_symbols(&self) -> Vec<&str> {
        let known = |name: &str| self.axes.contains_key(name) || self.dims.contains_key(name);
        self.inputs
            .iter()
            .flat_map(|input| input.shape.iter())
            .filter_map(|dim| match dim {
                Dim::Named(name) if !known(name) => Some(name.as_ref()),
                _ => None,
            })
            .collect()
    }
}
