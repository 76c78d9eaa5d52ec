//! Shards: a run on several machines, each of which takes a part of the models, and what all of them together left.
//!
//! In: the entries of a run, the number of machines, later their records. Out: what each machine takes; for each of them
//! what is there of it, so that a lost one is named and can run again alone.

use crate::artifact::Format;
use crate::report::Record;
use crate::spec::{Check, Entry};
use crate::verdict::Status;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One of so many parts of a run: `2/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: usize,
    pub of: usize,
}

impl Shard {
    /// All parts of a run on so many machines.
    pub fn all(of: usize) -> impl Iterator<Item = Self> {
        (1..=of).map(move |number| Self { number, of })
    }

    /// Its part: every so manieth, so that models of a kind, which stand together, are spread.
    pub fn part<T>(self, all: impl IntoIterator<Item = T>) -> Vec<T> {
        all.into_iter().skip(self.number - 1).step_by(self.of).collect()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(format!("'{text}' is no part of a run; the second of four is 2/4")),
        }
    }
}

/// What is there of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived<'a> {
    pub shard: Shard,
    pub models: usize,
    pub due: usize,
    pub passed: usize,
    /// Checks with another outcome.
    pub red: usize,
    /// Checks without any, by their model.
    pub lost: BTreeMap<&'a str, usize>,
}

impl Arrived<'_> {
    /// Checks without an outcome.
    pub fn lost(&self) -> usize {
        self.lost.values().sum()
    }
}

/// What the records, the last of which count, say of each of so many shards of a run of `entries`.
pub fn arrived<'a>(entries: &[&'a Entry], of: usize, format: Format, records: &[Record]) -> Vec<Arrived<'a>> {
    let known: BTreeMap<(&str, &str), Status> = records
        .iter()
        .filter(|record| record.engine == format.name())
        .map(|record| ((record.model.as_str(), record.check.as_str()), record.status))
        .collect();
    let status = |entry: &Entry, check: Check| known.get(&(entry.name.as_str(), check.name())).copied();
    let of_one = |shard: Shard| {
        let part = shard.part(entries.iter().copied());
        let mut arrived =
            Arrived { shard, models: part.len(), due: 0, passed: 0, red: 0, lost: BTreeMap::new() };
        for entry in part {
            for check in format.due(entry) {
                arrived.due += 1;
                match status(entry, check) {
                    Some(Status::Passed) => arrived.passed += 1,
                    Some(_) => arrived.red += 1,
                    None => *arrived.lost.entry(entry.name.as_str()).or_default() += 1,
                }
            }
        }
        arrived
    };
    Shard::all(of).map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn parts_are_disjoint_and_make_the_whole_and_none_has_two_more_than_another() {
        for (count, of) in [(10, 4), (3, 5), (0, 2), (8, 1)] {
            let parts = Vec::from_iter(Shard::all(of).map(|shard| shard.part(0..count)));
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(0..count));
            let sizes = parts.iter().map(Vec::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_part_is_written_as_it_is_read_and_one_that_is_none_is_refused() {
        let second: Shard = "2/4".parse().unwrap();
        assert_eq!((second, second.to_string()), (Shard { number: 2, of: 4 }, "2/4".to_owned()));
        for wrong in ["0/4", "5/4", "2", "2/", "a/b", "1/0", "-1/4"] {
            let said = format!("'{wrong}' is no part of a run; the second of four is 2/4");
            assert_eq!(wrong.parse::<Shard>().unwrap_err(), said);
        }
    }

    #[test]
    fn a_lost_shard_is_told_from_one_that_is_red() {
        let spec = samples::spec();
        let entries = Vec::from_iter(&spec.entries);
        assert!(entries.len() >= 2);
        // The first machine left all of its results, one of them red; the second one none.
        let first = Shard { number: 1, of: 2 }.part(entries.iter().copied());
        let due = first.iter().flat_map(|entry| entry.due().map(|check| (entry.name.as_str(), check)));
        let mut records: Vec<Record> = due
            .map(|(model, check)| Record {
                status: Status::Passed,
                engine: Format::TorchScript.name().to_owned(),
                ..Record::sample(model, check.name())
            })
            .collect();
        records[0].status = Status::Failed;
        let found = arrived(&entries, 2, Format::TorchScript, &records);
        assert_eq!((found[0].red, found[0].passed, found[0].lost()), (1, found[0].due - 1, 0));
        assert_eq!((found[1].red, found[1].passed, found[1].lost()), (0, 0, found[1].due));
        assert_eq!(found[1].lost.len(), found[1].models);
        // What ran on another engine is no result of this one.
        assert_eq!(arrived(&entries, 2, Format::Pt2, &records)[0].passed, 0);
    }
}
