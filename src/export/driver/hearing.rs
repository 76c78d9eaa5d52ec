//! What became of orders.
//!
//! In: the exporter's lines, and how it ended. Out: an [`Exported`] for every order, whatever happened.

use super::order::Order;
use crate::artifact::Beside;
use crate::failure::{At, Failure, Stage};
use crate::process::interrupted;
use serde::Deserialize;
use std::time::Duration;

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
    pub(super) fn new(order: &Order, outcome: Result<Option<f64>, Failure>, fault_of: FaultOf) -> Self {
        Self { model: order.entry.name.to_string(), fault: order.fault.clone(), outcome, fault_of }
    }

    pub(super) fn is_of(&self, order: &Order) -> bool {
        self.model == order.entry.name.as_str() && self.fault == order.fault
    }
}

/// Hears how an export goes on.
pub trait Progress {
    /// So many artifacts were made elsewhere, and will be made anew.
    fn foreign(&self, _count: usize) {}
    /// Another process exports into the same folder, by these words of its; this one goes on when that has ended.
    fn waits(&self, _holder: &str) {}
    /// So many artifacts will be made.
    fn begin(&self, count: usize);
    /// This model was just begun.
    fn started(&self, model: &str);
    /// This order is done, well or not.
    fn finished(&self, exported: &Exported);
    /// All artifacts, or what was to be put beside them, were made in that time.
    fn over(&self, _made: Option<Beside>, _exported: &[Exported], _took: Duration) {}
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
pub(super) fn untried(
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

/// What is heard from the exporter on the way.
pub(super) struct Hearing<'a> {
    pub orders: &'a [&'a Order<'a>],
    pub exported: Vec<Exported>,
    pub progress: &'a dyn Progress,
    /// Signs what an order made.
    pub sign: &'a dyn Fn(&Order) -> Result<(), Failure>,
}

impl Hearing<'_> {
    /// Takes in a line of the exporter's standard output.
    ///
    /// # Errors
    /// The line is no event.
    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        let event = serde_json::from_str(line).at(Stage::Export, format!("exporter said '{line}'"))?;
        let exported = match event {
            Event::Ready {} => return Ok(()),
            Event::Started { model } => {
                self.progress.started(&model);
                return Ok(());
            }
            Event::Done { model, fault, seconds } => {
                let done = Exported { model, fault, outcome: Ok(Some(seconds)), fault_of: FaultOf::Model };
                self.signed(done)
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

    /// What was made, once it is signed.
    fn signed(&self, done: Exported) -> Exported {
        let own = self.orders.iter().find(|order| done.is_of(order));
        match own.map_or(Ok(()), |order| (self.sign)(order)) {
            Ok(()) => done,
            Err(failure) => Exported { outcome: Err(failure), fault_of: FaultOf::Environment, ..done },
        }
    }

    /// What became of every order, however the exporter ended: those that it said nothing of were not tried.
    pub fn end(mut self, ended: Result<(), Failure>) -> Vec<Exported> {
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
