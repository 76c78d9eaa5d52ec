//! Crash isolation: checks run in children, and whatever becomes of a child, every check has an outcome.
//!
//! In: checks of models, how to start a child that runs them, what they may use up. Out: what ended children, told check
//! by check; what a check found, its child records by itself. All models share a child, since that is fast. When it
//! crashes, hangs or takes too much memory, the models that it was running get children of their own, one after the
//! other, which run one check at a time: what ends such a child is the one check that ran. All others go on together.

#[cfg(all(test, unix))]
mod tests;

use super::limits::{Limits, Memory};
use crate::process::{self, Process, collect, collected};
use crate::report::journal::{Item, Journal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(50);
/// A child that runs no check may be silent so long, and no shorter than a check may take: starting is no check, and slow
/// where a machine is busy.
const SILENCE: Duration = Duration::from_secs(120);
/// A model that never returns costs this many time limits, and not one for each of its checks.
const TIMEOUTS: usize = 2;

/// Starts a child on some checks: one at a time, where they are alone.
pub type StartChild<'a> = dyn Fn(&[Item], bool, &Journal) -> io::Result<Process> + 'a;

/// How children are started and what they may do.
pub struct Children<'a> {
    /// Starts one that puts models to these checks; one check at a time, where they are `alone`. It keeps the journal, and
    /// prints to pipes.
    pub start: &'a StartChild<'a>,
    /// What a model may use up.
    pub limits: &'a dyn Fn(&str) -> Limits,
    /// Hears how many more checks are over.
    pub over: &'a dyn Fn(usize),
    /// Records what ended a check that could not say so itself.
    pub record: &'a dyn Fn(&Item, &Fate) -> io::Result<()>,
}

/// What ended a check from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ended its process: by this signal, or with this status.
    Crashed { how: String, said: String, after: Duration },
    /// Its process held more than so many bytes.
    Exhausted { memory: u64, after: Duration },
    /// It took longer than this.
    TimedOut(Duration),
    /// It was not tried, since so many of the model's had timed out.
    GivenUp(usize),
}

/// A child that did not end well, and no check is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokeOff {
    /// One line.
    pub why: String,
    /// What it printed.
    pub said: String,
    /// Whether the records of its checks do not tell of it already.
    pub is_news: bool,
}

impl BrokeOff {
    /// What nothing else tells of.
    pub fn new(why: String, said: String) -> Self {
        Self { why, said, is_news: true }
    }
}

/// The exit status of a test program some of whose checks failed.
const FAILED: i32 = 101;

/// How a child ended.
enum Ending {
    /// By itself.
    Exited(ExitStatus),
    /// These checks took longer than so.
    Late(BTreeMap<Item, Duration>),
    /// It held more than so many bytes.
    Exhausted(u64),
    /// Nothing was heard of it for so long.
    Silent(Duration),
    /// Somebody interrupted this program.
    Interrupted,
}

/// What a child left.
struct Ran {
    ending: Ending,
    journal: Journal,
    /// Checks that are not over; those that ran are among them.
    left: Vec<Item>,
    /// What it printed to standard output and standard error.
    said: [String; 2],
}

impl Children<'_> {
    /// Has children carry out all of `items`, which stand model by model; ends early at an interrupt.
    ///
    /// # Errors
    /// No child can be started, or a fate cannot be recorded.
    pub fn carry_out(&self, items: Vec<Item>) -> io::Result<Vec<BrokeOff>> {
        let (mut left, mut broken) = (items, Vec::new());
        while !left.is_empty() && process::interrupted().is_none() {
            let before = left.len();
            let ran = self.run(&left, false)?;
            let suspects = suspects(&ran);
            left.clone_from(&ran.left);
            if suspects.is_empty() {
                broken.extend(broke_off(&ran));
                // Neither did it come to a check nor would another.
                if left.len() == before || matches!(ran.ending, Ending::Interrupted) {
                    break;
                }
                continue;
            }
            let guilty = guilty(&ran, suspects.len() == 1 && ran.journal.running.len() == 1);
            let mut found = !guilty.is_empty();
            for model in suspects {
                let own = |(name, _): &Item| *name == model;
                let alone = left.extract_if(.., |item| own(item)).collect();
                let blamed = guilty.iter().filter(|(item, _)| own(item)).cloned().collect();
                found |= self.alone(alone, blamed, &mut broken)?;
            }
            if !found {
                broken.push(unexplained(&ran));
            }
        }
        Ok(broken)
    }

    /// Has children of its own carry out the rest of one model's checks, of which some are known to be guilty; whether
    /// any is.
    fn alone(
        &self,
        mut left: Vec<Item>,
        mut guilty: Vec<(Item, Fate)>,
        broken: &mut Vec<BrokeOff>,
    ) -> io::Result<bool> {
        let (mut found, mut timeouts) = (false, 0);
        loop {
            for (item, fate) in &guilty {
                (self.record)(item, fate)?;
                (self.over)(1);
                left.retain(|one| one != item);
                found = true;
                timeouts += usize::from(matches!(fate, Fate::TimedOut(_)));
            }
            if timeouts >= TIMEOUTS {
                left.iter().try_for_each(|item| (self.record)(item, &Fate::GivenUp(timeouts)))?;
                (self.over)(left.len());
                return Ok(found);
            }
            if left.is_empty() || process::interrupted().is_some() {
                return Ok(found);
            }
            let before = left.len();
            let ran = self.run(&left, true)?;
            left.clone_from(&ran.left);
            guilty = self::guilty(&ran, true);
            if guilty.is_empty() {
                broken.extend(broke_off(&ran));
                if left.len() == before || matches!(ran.ending, Ending::Interrupted) {
                    return Ok(found);
                }
            }
        }
    }

    /// Runs one child.
    fn run(&self, items: &[Item], alone: bool) -> io::Result<Ran> {
        let mut journal = Journal::new()?;
        let mut child = (self.start)(items, alone, &journal)?;
        let output = [collect(child.stdout()), collect(child.stderr())];
        let models: BTreeSet<&str> = items.iter().map(|(model, _)| model.as_str()).collect();
        let limits: Vec<Limits> = models.into_iter().map(self.limits).collect();
        let memory = limits.iter().map(|limits| limits.memory).max().unwrap_or(u64::MAX);
        let silence = limits.iter().map(|limits| limits.time).max().unwrap_or_default().max(SILENCE);
        let mut resident = Memory::of(child.id());
        let ending = loop {
            let before = journal.over.len();
            let exited = child.try_wait()?;
            journal.read()?;
            (self.over)(journal.over.len() - before);
            let late = self.late(&journal);
            if let Some(status) = exited {
                break Ending::Exited(status);
            } else if process::interrupted().is_some() {
                break Ending::Interrupted;
            } else if !late.is_empty() {
                break Ending::Late(late);
            } else if journal.running.is_empty() && journal.heard.elapsed() > silence {
                break Ending::Silent(silence);
            } else if resident.resident() > memory {
                break Ending::Exhausted(memory);
            }
            std::thread::sleep(POLL);
        };
        child.end()?;
        journal.read()?;
        let ending = if process::interrupted().is_some() { Ending::Interrupted } else { ending };
        let said = output.map(|stream| String::from_utf8_lossy(&collected(stream)).into_owned());
        let left = items.iter().filter(|item| !journal.over.contains_key(item)).cloned().collect();
        Ok(Ran { ending, journal, left, said })
    }

    /// The checks that run for longer than they may, and how long that is.
    fn late(&self, journal: &Journal) -> BTreeMap<Item, Duration> {
        let running = journal.running.iter();
        let limited = running.map(|(item, since)| (item, since, (self.limits)(&item.0).time));
        let late = limited.filter(|(_, since, limit)| since.elapsed() > *limit);
        late.map(|(item, _, limit)| (item.clone(), limit)).collect()
    }
}

/// Waits for a child that runs one model by itself; what ended it from outside, if something did. It has no limits where
/// none are given.
///
/// # Errors
/// The system does not say how it is.
pub fn watch(child: &mut Process, limits: Option<Limits>) -> io::Result<Result<ExitStatus, Fate>> {
    let (started, mut resident) = (Instant::now(), Memory::of(child.id()));
    loop {
        let after = started.elapsed();
        if let Some(status) = child.try_wait()? {
            let crashed = || Fate::Crashed { how: process::ending(status), said: String::new(), after };
            return Ok(status.code().map(|_| status).ok_or_else(crashed));
        }
        let fate = limits.and_then(|limits| match resident.resident() > limits.memory {
            true => Some(Fate::Exhausted { memory: limits.memory, after }),
            false => (after > limits.time).then_some(Fate::TimedOut(limits.time)),
        });
        if let Some(fate) = fate {
            child.end()?;
            return Ok(Err(fate));
        }
        std::thread::sleep(POLL);
    }
}

/// The models that a child was running when it ended in the middle; those that took too long, where that is why.
fn suspects(ran: &Ran) -> BTreeSet<String> {
    let is_one = |item: &Item| match &ran.ending {
        Ending::Interrupted => false,
        Ending::Late(late) => late.contains_key(item),
        Ending::Exited(_) | Ending::Exhausted(_) | Ending::Silent(_) => true,
    };
    ran.journal.running.keys().filter(|item| is_one(item)).map(|(model, _)| model.clone()).collect()
}

/// The checks that ended a child, as far as that is certain: a check that took too long is always guilty, others where
/// they were `alone`.
fn guilty(ran: &Ran, alone: bool) -> Vec<(Item, Fate)> {
    let running = || ran.journal.running.iter().filter(|_| alone);
    let each = |fate: &dyn Fn(Duration) -> Fate| {
        running().map(|(item, since)| (item.clone(), fate(since.elapsed()))).collect()
    };
    match &ran.ending {
        Ending::Late(late) => {
            // What came to its end just then did end.
            let late = late.iter().filter(|(item, _)| ran.journal.running.contains_key(*item));
            late.map(|(item, limit)| (item.clone(), Fate::TimedOut(*limit))).collect()
        }
        Ending::Exited(status) => {
            let (how, said) = (process::ending(*status), ran.said[1].clone());
            each(&|after| Fate::Crashed { how: how.clone(), said: said.clone(), after })
        }
        Ending::Exhausted(memory) => each(&|after| Fate::Exhausted { memory: *memory, after }),
        Ending::Silent(_) | Ending::Interrupted => Vec::new(),
    }
}

/// What is to be said of a child in which no check ran when it ended; nothing where that is well.
fn broke_off(ran: &Ran) -> Option<BrokeOff> {
    let why = match &ran.ending {
        Ending::Exited(status) if status.success() => return None,
        Ending::Exited(status) => format!("the test process ended with {}", process::ending(*status)),
        Ending::Silent(time) => format!("nothing was heard of the test process for {} s", time.as_secs()),
        Ending::Exhausted(memory) => format!("the test process took more than {} of memory", gib(*memory)),
        Ending::Late(_) | Ending::Interrupted => return None,
    };
    let has_failed = matches!(ran.ending, Ending::Exited(status) if status.code() == Some(FAILED));
    Some(BrokeOff { is_news: !(has_failed && ran.left.is_empty()), ..BrokeOff::new(why, ran.said.concat()) })
}

/// What is to be said of a child that ended in the middle when none of its checks does so alone.
fn unexplained(ran: &Ran) -> BrokeOff {
    let checks = ran.journal.running.keys().map(|(model, check)| format!("{model} · {check}"));
    let checks = Vec::from_iter(checks).join(", ");
    let how = broke_off(ran).map_or_else(|| "the test process ended".to_owned(), |broken| broken.why);
    let why = format!("{how} while it ran {checks}; each of these models alone did not end its process");
    BrokeOff::new(why, ran.said.concat())
}

/// Bytes as people read them.
pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
