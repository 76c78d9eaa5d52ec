//! The last word on everything, kept apart by where it was spoken.
//!
//! In: records, oldest first. Out: the newest record of each model, check, device and engine: what passed on one device
//! says nothing about another.

use super::Record;
use crate::artifact::Format;
use crate::spec::{Check, Entry, Spec};
use crate::task::Dtype;
use crate::verdict::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What ran a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend<'a> {
    /// `cpu`, `cuda:0`, `mps`.
    pub device: &'a str,
    /// `torchscript`, `pt2`, `aot`.
    pub engine: &'a str,
    /// Another half precision than bfloat16, of the check `half` alone.
    pub half: Option<&'a str>,
}

impl<'a> Backend<'a> {
    /// Where a record is from.
    pub fn of(record: &'a Record) -> Self {
        Self {
            device: record.device.as_deref().unwrap_or_default(),
            engine: &record.engine,
            half: Some(record.dtype.as_str()).filter(|dtype| *dtype == Dtype::Float16.name()),
        }
    }
}

impl Backend<'_> {
    /// The checks that are due on an entry here: those that suit programs of the engine's format.
    pub fn due(self, entry: &Entry) -> impl Iterator<Item = Check> {
        let format = Format::named(self.engine);
        let suits = move |check: Check| format.is_none_or(|format| format.unsuited(check).is_none());
        entry.due().filter(move |check| suits(*check) && (self.half.is_none() || *check == Check::Half))
    }
}

impl fmt::Display for Backend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.device, self.engine)?;
        self.half.map_or(Ok(()), |half| write!(f, ", {half}"))
    }
}

/// What a record is the last word on: model, check, backend.
pub type Key<'a> = (&'a str, &'a str, Backend<'a>);

/// The last word on everything.
pub type Latest<'a> = BTreeMap<Key<'a>, &'a Record>;

/// The last word on each model, check, device and engine, of the newest entry of each model; what has no
/// device (the mock engine, a device that was not there) is left out. `records` are oldest first.
#[must_use]
pub fn latest(records: &[Record]) -> Latest<'_> {
    let real = || records.iter().filter(|record| record.is_real() && record.device.is_some());
    let newest: BTreeMap<&str, &str> =
        real().map(|record| (record.model.as_str(), record.entry.as_str())).collect();
    let current = real().filter(|record| newest.get(record.model.as_str()) == Some(&record.entry.as_str()));
    current.map(|record| (key(record), record)).collect()
}

fn key(record: &Record) -> Key<'_> {
    (&record.model, &record.check, Backend::of(record))
}

/// The records of entries as they stand: an outcome of an older entry proves nothing about this one.
#[must_use]
pub fn current(records: Vec<Record>, spec: &Spec) -> Vec<Record> {
    let digest = |entry: &Entry| (entry.name.to_string(), entry.digest(&spec.versions));
    let digests: BTreeMap<String, String> = spec.entries.iter().map(digest).collect();
    records.into_iter().filter(|record| digests.get(&record.model) == Some(&record.entry)).collect()
}

/// Every backend that has a result.
#[must_use]
pub fn backends<'a>(latest: &Latest<'a>) -> BTreeSet<Backend<'a>> {
    latest.keys().map(|(_, _, backend)| *backend).collect()
}

/// What the checks that are due on an entry come to, over all backends: the worst word where any of them speaks against the
/// model anywhere, passed where all of them passed on some backend, else not run.
#[must_use]
pub fn standing(entry: &Entry, latest: &Latest) -> Status {
    let status = |check: Check, backend: Backend| {
        latest.get(&(entry.name.as_str(), check.name(), backend)).map(|record| record.status)
    };
    let backends = backends(latest);
    let any = |red: &Status| {
        backends.iter().any(|backend| backend.due(entry).any(|check| status(check, *backend) == Some(*red)))
    };
    let is_whole =
        |backend: Backend| backend.due(entry).all(|check| status(check, backend) == Some(Status::Passed));
    let passed = || match backends.iter().any(|backend| backend.half.is_none() && is_whole(*backend)) {
        true => Status::Passed,
        false => Status::NotRun,
    };
    Status::RED.into_iter().find(any).unwrap_or_else(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    /// All checks of the sample entry on a device, with one status.
    fn all(entry: &Entry, device: &str, status: Status) -> Vec<Record> {
        let record = |check: Check| Record {
            device: Some(device.to_owned()),
            status,
            ..Record::sample(entry.name.as_str(), check.name())
        };
        entry.due().map(record).collect()
    }

    #[test]
    fn a_pass_on_one_device_hides_no_failure_on_another() {
        let spec = samples::spec();
        let entry = &spec.entries[0];
        let standing = |records: &[Record]| standing(entry, &latest(records));
        let [cpu, gpu] = ["cpu", "cuda:0"].map(|device| all(entry, device, Status::Passed));
        let mut broken = all(entry, "cpu", Status::Passed);
        broken[0].status = Status::Failed;
        assert_eq!(standing(&[]), Status::NotRun);
        assert_eq!(standing(&[cpu.clone(), gpu.clone()].concat()), Status::Passed);
        assert_eq!(standing(&[broken.clone(), gpu.clone()].concat()), Status::Failed);
        assert_eq!(standing(&[gpu, broken.clone()].concat()), Status::Failed);
        broken[1].status = Status::Crashed;
        assert_eq!(standing(&broken), Status::Crashed);
        // A few checks on a second device are no full proof there, and take none away here.
        assert_eq!(
            standing(&[cpu.clone(), all(entry, "mps", Status::Passed)[..1].to_vec()].concat()),
            Status::Passed
        );
        assert_eq!(standing(&cpu[1..]), Status::NotRun);
    }

    #[test]
    fn an_older_entry_and_a_removed_model_are_not_current() {
        let spec = samples::spec();
        let entry = &spec.entries[0];
        let now =
            Record { entry: entry.digest(&spec.versions), ..Record::sample(entry.name.as_str(), "loads") };
        let older = Record { entry: "0".repeat(16), ..now.clone() };
        let gone = Record { model: "gone".to_owned(), ..now.clone() };
        let found = current(vec![older, now.clone(), gone], &spec);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].entry, now.entry);
    }
}
