//! Runs the exporter: one Python process per source package, which forks one process per model.

use super::environment::Environment;
use super::python::{Python, last_lines};
use crate::artifact;
use crate::failure::{At, Failure, Stage};
use crate::spec::{Entry, Spec, Versions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Time one model may take.
const TIMEOUT_SECONDS: u32 = 120;

/// What to export, and how.
pub struct Plan<'a> {
    pub spec: &'a Spec,
    pub orders: Vec<Order<'a>>,
    /// Export even what is up to date.
    pub force: bool,
    /// The folder of artifacts.
    pub root: PathBuf,
}

/// One artifact to make.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub entry: &'a Entry,
    /// A fault to plant in the program; none but when the checks themselves are on trial.
    pub fault: Option<String>,
    /// Published weights instead of random ones.
    pub weights: Option<Weights>,
}

/// Weights that someone trained.
#[derive(Clone, Debug)]
pub struct Weights {
    /// A hub id or a folder, as `from_pretrained` takes it.
    pub checkpoint: String,
    /// Sizes of axes that the checkpoint's own config asks for, in place of the entry's.
    pub sizes: BTreeMap<String, usize>,
}

impl<'a> Order<'a> {
    /// The healthy entry with random weights.
    pub fn plain(entry: &'a Entry) -> Self {
        Self { entry, fault: None, weights: None }
    }

    /// Where its artifact goes below `root`; only a plain order's folder has the model's own name.
    pub fn folder(&self, root: &Path) -> PathBuf {
        let model = self.entry.name.as_str();
        match (&self.fault, &self.weights) {
            (Some(fault), _) => root.join(".faults").join(model).join(fault.replace(':', "-")),
            (None, Some(_)) => root.join(".checkpoints").join(model),
            (None, None) => root.join(model),
        }
    }
}

/// What became of one order.
#[derive(Debug)]
pub struct Exported {
    pub model: String,
    pub fault: Option<String>,
    /// Seconds it took; `None` when the artifact was up to date.
    pub outcome: Result<Option<f64>, Failure>,
}

/// Hears how an export goes on.
pub trait Progress {
    /// So many artifacts will be made.
    fn begin(&self, count: usize);
    /// This model was just begun.
    fn started(&self, model: &str);
    /// This order is done, well or not.
    fn finished(&self, exported: &Exported);
}

/// Carries out the orders of `plan` whose artifact is missing or stale.
///
/// # Errors
/// Only for what stops all of them: no Python environment, an exporter that does not start. What goes wrong with
/// one order, or with the packages of its source, is in its own outcome.
pub fn export(plan: &Plan, progress: &dyn Progress) -> Result<Vec<Exported>, Failure> {
    let (due, fresh): (Vec<&Order>, Vec<&Order>) =
        plan.orders.iter().partition(|order| plan.force || !up_to_date(plan, order));
    let mut exported: Vec<Exported> = fresh
        .iter()
        .map(|order| {
            let model = order.entry.name.to_string();
            Exported { model, fault: order.fault.clone(), outcome: Ok(None) }
        })
        .collect();
    if due.is_empty() {
        return Ok(exported);
    }
    Environment::ready(&plan.spec.versions).at(Stage::Export, "the Python environment")?;
    progress.begin(due.len());
    let mut sources: BTreeMap<&str, Vec<&Order>> = BTreeMap::new();
    for order in due {
        sources.entry(&order.entry.source).or_default().push(order);
    }
    for (source, orders) in sources {
        match Python::ready(&plan.spec.versions, source) {
            Ok(python) => exported.extend(export_from(plan, &python, &orders, progress)?),
            Err(failure) => exported.extend(orders.iter().map(|order| refused(order, &failure, progress))),
        }
    }
    Ok(exported)
}

/// Whether the artifact of an order is made from the entry as it stands. What is in a checkpoint's folder is not
/// known: those are always exported again.
fn up_to_date(plan: &Plan, order: &Order) -> bool {
    let folder = order.folder(&plan.root);
    order.weights.is_none() && state_of(&folder, order.entry, &plan.spec.versions) == State::Fresh
}

/// How an artifact stands to the entry it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Made from the entry, the pins and the exporter as they are now.
    Fresh,
    /// Made from others: the next test exports it again.
    Stale,
    Missing,
}

impl State {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fresh => "up to date",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// The state of an entry's artifact below `root`.
pub fn state(entry: &Entry, versions: &Versions, root: &Path) -> State {
    state_of(&Order::plain(entry).folder(root), entry, versions)
}

fn state_of(folder: &Path, entry: &Entry, versions: &Versions) -> State {
    match artifact::manifest(folder) {
        Ok(Some(found)) if found.key == super::key(&entry.digest(versions)) => State::Fresh,
        Ok(None) => State::Missing,
        _ => State::Stale,
    }
}

/// The exporter's words for an order: the entry's job, and where its artifact goes.
pub(super) fn job(spec: &Spec, root: &Path, order: &Order) -> Result<Value, Failure> {
    let entry = order.entry;
    let folder = order.folder(root);
    let mut job = entry.job();
    if let Some(weights) = &order.weights {
        job.weights = "checkpoint";
        job.checkpoint = Some(&weights.checkpoint);
        for case in &mut job.cases {
            case.sizes.extend(weights.sizes.clone());
        }
    }
    let mut job = serde_json::to_value(job).at(Stage::Export, &entry.name)?;
    // The exporter asks where the classes are; only the spec knows sources by name.
    job["source"] = json!(spec.versions.sources.get(&entry.source));
    job["key"] = json!(super::key(&entry.digest(&spec.versions)));
    job["directory"] = json!(std::path::absolute(&folder).at(Stage::Export, folder.display())?);
    job["fault"] = json!(order.fault);
    Ok(job)
}

/// A line of the exporter's standard output.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Ready {},
    Started { model: String },
    Done { model: String, fault: Option<String>, seconds: f64 },
    Failed { model: String, fault: Option<String>, reason: String, detail: String },
}

/// An order whose source cannot be installed.
fn refused(order: &Order, failure: &Failure, progress: &dyn Progress) -> Exported {
    let model = order.entry.name.to_string();
    let exported = Exported { model, fault: order.fault.clone(), outcome: Err(failure.clone()) };
    progress.finished(&exported);
    exported
}

fn export_from(
    plan: &Plan,
    python: &Python,
    orders: &[&Order],
    progress: &dyn Progress,
) -> Result<Vec<Exported>, Failure> {
    std::fs::create_dir_all(&plan.root).at(Stage::Export, plan.root.display())?;
    let jobs = orders.iter().map(|order| job(plan.spec, &plan.root, order)).collect::<Result<Vec<_>, _>>()?;
    let request = request(jobs);
    let mut exported = Vec::new();
    python.converse("exporter", &request, |line| {
        let event = serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))?;
        exported.extend(heard(event, progress));
        Ok(())
    })?;
    if exported.len() < orders.len() {
        return Err(Failure::new(Stage::Export, "the exporter ended before all models were tried"));
    }
    Ok(exported)
}

/// What the exporter is asked to do, on all processors.
pub(super) fn request(jobs: Vec<Value>) -> Value {
    json!({
        "workers": std::thread::available_parallelism().map_or(1, usize::from),
        "timeout_seconds": TIMEOUT_SECONDS,
        "jobs": jobs,
    })
}

/// Passes an event on; an order that is done is returned.
fn heard(event: Event, progress: &dyn Progress) -> Option<Exported> {
    let exported = match event {
        Event::Ready {} => return None,
        Event::Started { model } => {
            progress.started(&model);
            return None;
        }
        Event::Done { model, fault, seconds } => Exported { model, fault, outcome: Ok(Some(seconds)) },
        Event::Failed { model, fault, reason, detail } => {
            let failure = last_lines(Failure::new(Stage::Export, reason), &detail);
            Exported { model, fault, outcome: Err(failure) }
        }
    };
    progress.finished(&exported);
    Some(exported)
}
