//! Runs the exporter: one Python process per source package, which forks one process per model.

mod freshness;
mod hearing;
mod order;

pub use freshness::{Freshness, state};
pub use hearing::{Exported, FaultOf, Progress};
pub(super) use order::job;
pub use order::{Anew, Certified, Embedding, ExportPlan, Order, Reference, Weights};

use super::environment::Environment;
use super::python::Python;
use super::turn::Turn;
use crate::artifact::{self, Beside, Format};
use crate::failure::{At, Failure, Stage};
use crate::process::interrupted;
use crate::spec::{Check, Entry};
use freshness::{due, foreign, key_beside};
use hearing::{Hearing, untried};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Seconds of a processor's time that one model may take to be traced; a machine that does much else takes longer.
pub(super) const TIMEOUT_SECONDS: u32 = 120;
/// The same to be exported as graphs, or compiled.
const GRAPH_TIMEOUT_SECONDS: u32 = 600;

/// The file of a folder of artifacts by which one process at a time exports into it.
const EXPORTING: &str = ".exporting";

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
    if plan.anew == Anew::Trusting {
        let mut taken = foreign(plan, made, orders.iter().copied());
        taken.try_for_each(|order| artifact::sign(&order.list(&plan.root, made)))?;
    }
    let up_to_date = |order: &Order| Exported::new(order, Ok(None), FaultOf::Model);
    if due(plan, made, orders.clone()).0.is_empty() {
        return Ok(orders.into_iter().map(up_to_date).collect());
    }
    Environment::ready(&plan.spec.versions).at(Stage::Export, "the Python environment")?;
    let turn = plan.root.join(EXPORTING);
    let _turn = Turn::next(&turn, &|holder| progress.waits(holder)).at(Stage::Export, turn.display())?;
    // Whoever had the turn before may have made them.
    let (due, fresh) = due(plan, made, orders);
    let mut exported: Vec<Exported> = fresh.into_iter().map(up_to_date).collect();
    // Of those alone that are due: hundreds that are not are looked at once.
    if made.is_none() && plan.anew == Anew::Due {
        let count = foreign(plan, made, due.iter().copied()).count();
        (count > 0).then(|| progress.foreign(count));
    }
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

/// Orders by the source of their classes: each has packages, and so a process, of its own.
fn by_source<'a>(orders: Vec<&'a Order<'a>>) -> BTreeMap<&'a str, Vec<&'a Order<'a>>> {
    let mut sources: BTreeMap<&str, Vec<&Order>> = BTreeMap::new();
    for order in orders {
        sources.entry(&order.entry.source).or_default().push(order);
    }
    sources
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
    let sign = |order: &Order| artifact::sign(&order.list(&plan.root, made));
    let mut hearing = Hearing { orders, exported: Vec::new(), progress, sign: &sign };
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

/// What the exporter is asked to do, on all processors.
pub(super) fn request(jobs: Vec<Value>, timeout_seconds: u32) -> Value {
    json!({
        "workers": std::thread::available_parallelism().map_or(1, usize::from),
        "timeout_seconds": timeout_seconds,
        "jobs": jobs,
    })
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
