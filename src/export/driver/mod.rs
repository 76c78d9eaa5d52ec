//! Runs the exporter: one Python process per source package, which forks one process per model.

use super::environment::Environment;
use super::python::Python;
use crate::artifact::{self, Beside, Format, Lane, key};
use crate::failure::{At, Failure, Stage};
use crate::process::interrupted;
use crate::spec::{Case, Check, Entry, Spec, Versions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Seconds of a processor's time that one model may take to be traced; a machine that does much else takes longer.
pub(super) const TIMEOUT_SECONDS: u32 = 120;
/// The same to be exported as graphs, or compiled.
const GRAPH_TIMEOUT_SECONDS: u32 = 600;

/// What to export, and how.
pub struct ExportPlan<'a> {
    pub spec: &'a Spec,
    pub orders: Vec<Order<'a>>,
    /// How the programs are to be run.
    pub lane: Lane,
    /// Export even what is up to date; where programs of another format are wanted, only those.
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
    /// What more is wanted where the checkpoint is to be certified.
    pub certified: Option<Certified>,
}

/// What the export of a checkpoint holds that is to be certified.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Runs beside those of the entry's own axes.
    pub cases: Vec<Case>,
    /// What becomes of hidden states, where that is a part of the program.
    pub embedding: Option<Embedding>,
    /// Seconds of a processor's time that it may take: real weights may be of any size.
    pub timeout_seconds: u32,
}

/// How an embedding is made of hidden states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// `mean`, `cls` or `max`.
    pub pooling: String,
    /// Whether it has length 1.
    pub normalised: bool,
    /// The most tokens that texts are cut to; none where nothing says so.
    pub max_length: Option<usize>,
}

impl<'a> Order<'a> {
    /// The healthy entry with random weights.
    pub fn plain(entry: &'a Entry) -> Self {
        Self { entry, fault: None, weights: None }
    }

    /// What more is wanted of it, where it is a checkpoint that is to be certified.
    fn certified(&self) -> Option<&Certified> {
        self.weights.as_ref()?.certified.as_ref()
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
    /// The entry's name.
    pub model: String,
    /// The fault that the order asked for.
    pub fault: Option<String>,
    /// Seconds it took; `None` when the artifact was up to date.
    pub outcome: Result<Option<f64>, Failure>,
    /// Whose failure it is, where it is one.
    pub fault_of: FaultOf,
}

/// Whose a failure is: only the model's own says anything of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOf {
    /// The exporter tried it.
    Model,
    /// The packages of its source cannot be had here.
    Environment,
    /// The exporter ended before it came to it.
    Exporter,
    /// Somebody interrupted this program before that.
    Interrupt,
}

impl Exported {
    fn new(order: &Order, outcome: Result<Option<f64>, Failure>, fault_of: FaultOf) -> Self {
        Self { model: order.entry.name.to_string(), fault: order.fault.clone(), outcome, fault_of }
    }

    fn is_of(&self, order: &Order) -> bool {
        self.model == order.entry.name.as_str() && self.fault == order.fault
    }
}

/// Hears how an export goes on.
pub trait Progress {
    /// So many artifacts will be made.
    fn begin(&self, count: usize);
    /// This model was just begun.
    fn started(&self, model: &str);
    /// This order is done, well or not.
    fn finished(&self, exported: &Exported);
    /// All artifacts, or what was to be put beside them, were made in that time.
    fn over(&self, _made: Option<Beside>, _exported: &[Exported], _took: Duration) {}
}

/// Carries out the orders of `plan`: artifacts that are missing or stale, then what is to be put beside them. An artifact's
/// failure is that of all that belongs to it.
///
/// # Errors
/// Only for what stops all of them: no Python environment, a folder that cannot be written. What goes wrong with one
/// order, with the packages of its source or with the exporter on the way is in its own outcome.
pub fn export(plan: &ExportPlan, progress: &dyn Progress) -> Result<Vec<Exported>, Failure> {
    let mut exported: Vec<Exported> = Vec::new();
    let steps = std::iter::once(None).chain(plan.lane.needed().into_iter().map(Some));
    for made in steps {
        let failed = |order: &Order| exported.iter().any(|one| one.is_of(order) && one.outcome.is_err());
        let orders = plan.orders.iter().filter(|order| wants(order.entry, made) && !failed(order)).collect();
        let started = Instant::now();
        let now = step(plan, made, orders, progress)?;
        progress.over(made, &now, started.elapsed());
        exported
            .retain(|one| !now.iter().any(|later| (&later.model, &later.fault) == (&one.model, &one.fault)));
        exported.extend(now);
    }
    Ok(exported)
}

/// Whether the checks of an entry need that.
fn wants(entry: &Entry, made: Option<Beside>) -> bool {
    !matches!(made, Some(Beside::Half(..))) || entry.due().any(|check| check == Check::Half)
}

/// Makes artifacts, or what is put beside them.
fn step(
    plan: &ExportPlan,
    made: Option<Beside>,
    orders: Vec<&Order>,
    progress: &dyn Progress,
) -> Result<Vec<Exported>, Failure> {
    let (due, fresh) = due(plan, made, orders);
    let mut exported: Vec<Exported> =
        fresh.into_iter().map(|order| Exported::new(order, Ok(None), FaultOf::Model)).collect();
    if due.is_empty() {
        return Ok(exported);
    }
    Environment::ready(&plan.spec.versions).at(Stage::Export, "the Python environment")?;
    progress.begin(due.len());
    for (source, orders) in by_source(due) {
        match Python::ready(&plan.spec.versions, source) {
            Ok(python) => exported.extend(export_from(plan, made, &python, &orders, progress)?),
            Err(failure) => {
                let fault_of = interrupted().map_or(FaultOf::Environment, |_| FaultOf::Interrupt);
                exported.extend(untried(&orders, &failure, fault_of, progress));
            }
        }
    }
    Ok(exported)
}

/// The orders that must be carried out, and those whose files are as they want them.
fn due<'a, 'b>(
    plan: &ExportPlan,
    made: Option<Beside>,
    orders: Vec<&'b Order<'a>>,
) -> (Vec<&'b Order<'a>>, Vec<&'b Order<'a>>) {
    let force = plan.force && (made.is_some() || plan.lane.format == Format::TorchScript);
    orders.into_iter().partition(|order| force || !up_to_date(plan, made, order))
}

/// Orders by the source of their classes: each has packages, and so a process, of its own.
fn by_source<'a>(orders: Vec<&'a Order<'a>>) -> BTreeMap<&'a str, Vec<&'a Order<'a>>> {
    let mut sources: BTreeMap<&str, Vec<&Order>> = BTreeMap::new();
    for order in orders {
        sources.entry(&order.entry.source).or_default().push(order);
    }
    sources
}

/// Whether the artifact of an order, or what is beside it, is made from the entry as it stands. What is in a checkpoint's
/// folder is not known: those are always exported again.
fn up_to_date(plan: &ExportPlan, made: Option<Beside>, order: &Order) -> bool {
    let folder = order.folder(&plan.root);
    order.weights.is_none()
        && match made {
            None => state_of(&folder, order.entry, &plan.spec.versions) == Freshness::Fresh,
            Some(what) => {
                let (found, key) = (artifact::listed(&folder, what), key_beside(what, &folder));
                matches!((found, key), (Ok(Some(found)), Ok(key)) if found.key == key)
            }
        }
}

/// How an artifact stands to the entry it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// Made from the entry, the pins and the exporter as they are now.
    Fresh,
    /// Made from others: the next test exports it again.
    Stale,
    Missing,
}

impl Freshness {
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
pub fn state(entry: &Entry, versions: &Versions, root: &Path) -> Freshness {
    state_of(&Order::plain(entry).folder(root), entry, versions)
}

fn state_of(folder: &Path, entry: &Entry, versions: &Versions) -> Freshness {
    match artifact::origin(folder) {
        Ok(Some(found)) if found.key == key::of(&entry.digest(versions), found.model_type.as_deref()) => {
            Freshness::Fresh
        }
        Ok(None) => Freshness::Missing,
        _ => Freshness::Stale,
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
        job.cases.extend(weights.certified.iter().flat_map(|certified| certified.cases.clone()));
    }
    let mut job = serde_json::to_value(job).at(Stage::Export, &entry.name)?;
    // The exporter asks where the classes are; only the spec knows sources by name.
    job["source"] = json!(spec.versions.sources.get(&entry.source));
    job["key"] = json!(key::asked(&entry.digest(&spec.versions)));
    job["code"] = json!(key::digests());
    job["directory"] = json!(in_words(&std::path::absolute(&folder).at(Stage::Export, folder.display())?)?);
    job["rule"] = key::rule();
    job["fault"] = json!(order.fault);
    if let Some(certified) = order.certified() {
        job["embedding"] = json!(certified.embedding);
    }
    Ok(job)
}

/// A path as the exporter is told it, which is in JSON.
fn in_words(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        let failure = Failure::new(Stage::Export, format!("{} is no UTF-8", path.display()));
        failure.with("name another folder in HF_CONFORMANCE_ARTIFACTS")
    })
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

/// Orders that the exporter did not come to try, and why.
fn untried(
    orders: &[&Order],
    failure: &Failure,
    fault_of: FaultOf,
    progress: &dyn Progress,
) -> Vec<Exported> {
    let exported: Vec<Exported> =
        orders.iter().map(|order| Exported::new(order, Err(failure.clone()), fault_of)).collect();
    exported.iter().for_each(|one| progress.finished(one));
    exported
}

fn export_from(
    plan: &ExportPlan,
    made: Option<Beside>,
    python: &Python,
    orders: &[&Order],
    progress: &dyn Progress,
) -> Result<Vec<Exported>, Failure> {
    std::fs::create_dir_all(&plan.root).at(Stage::Export, plan.root.display())?;
    let jobs = orders.iter().map(|order| {
        let mut job = job(plan.spec, &plan.root, order)?;
        if let Some(what) = made {
            job["key"] = json!(key_beside(what, &order.folder(&plan.root))?);
        }
        if let Some(target) = made.and_then(Beside::target) {
            job["device"] = json!(target.name());
        }
        if let Some(Beside::Half(_, dtype)) = made {
            job["half"] = json!([dtype.name()]);
        }
        Ok(job)
    });
    let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    let certified = orders.iter().find_map(|order| order.certified());
    let timeout = certified.map_or_else(|| patience(orders), |certified| certified.timeout_seconds);
    let (module, timeout) = match made {
        None if certified.is_some() => ("exporter.certify", timeout),
        None | Some(Beside::Programs(Format::TorchScript)) => ("exporter", timeout),
        Some(Beside::Programs(Format::Pt2)) => ("exporter.pt2", GRAPH_TIMEOUT_SECONDS),
        Some(Beside::Programs(Format::Aot(_))) => ("exporter.aot", GRAPH_TIMEOUT_SECONDS),
        Some(Beside::Half(..)) => ("exporter.half", timeout),
    };
    let request = request(jobs, timeout);
    let mut hearing = Hearing { orders, exported: Vec::new(), progress };
    let ended = python.converse(module, &request, |line| hearing.line(line));
    let exported = hearing.end(ended);
    for order in orders.iter().filter(|order| is_silent(order, &exported)) {
        remove_partial(&order.folder(&plan.root)).at(Stage::Export, plan.root.display())?;
    }
    Ok(exported)
}

/// Seconds of a processor's time that each of these models may take to be traced.
fn patience(orders: &[&Order]) -> u32 {
    let own = orders.iter().filter_map(|order| order.entry.time_limit).max().unwrap_or(0);
    TIMEOUT_SECONDS.max(u32::try_from(own).unwrap_or(u32::MAX))
}

/// The key that the files beside the artifact in a folder have.
fn key_beside(what: Beside, folder: &Path) -> Result<String, Failure> {
    let found = artifact::origin(folder)?.ok_or_else(|| artifact::no_artifact(folder))?;
    Ok(key::beside(what, &found.key))
}

/// What the exporter is asked to do, on all processors.
pub(super) fn request(jobs: Vec<Value>, timeout_seconds: u32) -> Value {
    json!({
        "workers": std::thread::available_parallelism().map_or(1, usize::from),
        "timeout_seconds": timeout_seconds,
        "jobs": jobs,
    })
}

/// What is heard from the exporter on the way.
struct Hearing<'a> {
    orders: &'a [&'a Order<'a>],
    exported: Vec<Exported>,
    progress: &'a dyn Progress,
}

impl Hearing<'_> {
    /// Takes in a line of the exporter's standard output.
    ///
    /// # Errors
    /// The line is no event.
    fn line(&mut self, line: &str) -> Result<(), Failure> {
        let event = serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))?;
        let exported = match event {
            Event::Ready {} => return Ok(()),
            Event::Started { model } => {
                self.progress.started(&model);
                return Ok(());
            }
            Event::Done { model, fault, seconds } => {
                Exported { model, fault, outcome: Ok(Some(seconds)), fault_of: FaultOf::Model }
            }
            Event::Failed { model, fault, reason, detail } => {
                let failure = Failure::new(Stage::Export, reason).with_end_of(&detail);
                Exported { model, fault, outcome: Err(failure), fault_of: FaultOf::Model }
            }
        };
        self.progress.finished(&exported);
        self.exported.push(exported);
        Ok(())
    }

    /// What became of every order, however the exporter ended: those that it said nothing of were not tried.
    fn end(mut self, ended: Result<(), Failure>) -> Vec<Exported> {
        let is_heard = |order: &Order| self.exported.iter().any(|one| one.is_of(order));
        let silent: Vec<&Order> = self.orders.iter().copied().filter(|order| !is_heard(order)).collect();
        let new = |message| Failure::new(Stage::Export, message);
        let (failure, fault_of) = match interrupted() {
            Some(_) => (new("interrupted"), FaultOf::Interrupt),
            None => {
                let early = || new("the exporter ended before this model was tried");
                (ended.err().unwrap_or_else(early), FaultOf::Exporter)
            }
        };
        self.exported.extend(untried(&silent, &failure, fault_of, self.progress));
        self.exported
    }
}

/// Whether the exporter ended before it was done with an order.
fn is_silent(order: &Order, exported: &[Exported]) -> bool {
    let ended = |one: &Exported| matches!(one.fault_of, FaultOf::Exporter | FaultOf::Interrupt);
    exported.iter().find(|one| one.is_of(order)).is_some_and(ended)
}

/// Removes what an exporter that was ended left beside an artifact: it writes to `NAME.partial-PROCESS`.
fn remove_partial(folder: &Path) -> std::io::Result<()> {
    let (Some(root), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
    let begin = format!("{}.partial-", name.to_string_lossy());
    for item in std::fs::read_dir(root)? {
        let item = item?;
        if item.file_name().to_string_lossy().starts_with(&begin) {
            std::fs::remove_dir_all(item.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
