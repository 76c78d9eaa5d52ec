//! Crash isolation: checks run in children, and whatever becomes of a child, every check has an outcome.
//!
//! In: checks of models, how to start a child that runs them, what they may use up. Out: what ended children, told check
//! by check; what a check found, its child records by itself. All models share a child, since that is fast. When it
//! crashes, hangs or takes too much memory, the models that it was running get children of their own, one after the
//! other, which run one check at a time: what ends such a child is the one check that ran. All others go on together.

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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::process::{Command, Stdio};

    /// A child that marks the beginning and the end of each check, and does between what `does` says, in shell. Two checks
    /// at a time, unless they are alone.
    fn start(
        does: &dyn Fn(&Item) -> String,
        items: &[Item],
        alone: bool,
        journal: &Journal,
    ) -> io::Result<Process> {
        let one = |item: &Item| {
            let (model, check) = item;
            let mark =
                |sign| format!("printf '%s\\t{model}\\t{check}\\n' '{sign}' >> $HF_CONFORMANCE_JOURNAL");
            format!("{}; {}; {}", mark('+'), does(item), mark('-'))
        };
        let pairs = items.chunks(if alone { 1 } else { 2 }).map(|pair| match pair {
            // The second begins first, so that both run when the first does what it does.
            [first, second] => format!("({}) & sleep 0.03; {}; wait", one(second), one(first)),
            _ => one(&pair[0]),
        });
        let mut command = Command::new("sh");
        command.args(["-c", &Vec::from_iter(pairs).join("\n")]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::spawn(journal.of(&mut command))
    }

    /// What becomes of the checks `model · check` when children do so, with a limit of this many milliseconds: fates, what
    /// is told of children, and how many checks were over.
    fn carried_out(
        does: &dyn Fn(&Item) -> String,
        limit: u64,
        items: &[&str],
    ) -> (Vec<String>, Vec<String>, usize) {
        let item =
            |name: &&str| name.split_once('.').map(|(model, check)| (model.to_owned(), check.to_owned()));
        let (fates, over) = (RefCell::new(Vec::new()), RefCell::new(0));
        let children = Children {
            start: &|items, alone, journal| start(does, items, alone, journal),
            limits: &|_| Limits { time: Duration::from_millis(limit), memory: 1 << 30 },
            over: &|count| *over.borrow_mut() += count,
            record: &|(model, check), fate| {
                let word = match fate {
                    Fate::Crashed { how, .. } => how.clone(),
                    Fate::Exhausted { .. } => "exhausted".to_owned(),
                    Fate::TimedOut(limit) => format!("timed out after {} ms", limit.as_millis()),
                    Fate::GivenUp(count) => format!("given up after {count}"),
                };
                fates.borrow_mut().push(format!("{model}.{check}: {word}"));
                Ok(())
            },
        };
        let broken = children.carry_out(items.iter().filter_map(item).collect()).unwrap();
        (fates.into_inner(), broken.into_iter().map(|broken| broken.why).collect(), over.into_inner())
    }

    const ITEMS: [&str; 6] = ["a.one", "b.one", "b.two", "c.one", "c.two", "d.one"];

    /// Does so in one check, and a little in all others.
    fn in_one(check: &'static str, script: &'static str) -> impl Fn(&Item) -> String {
        move |(model, name)| if format!("{model}.{name}") == check { script } else { "sleep 0.05" }.to_owned()
    }

    #[test]
    fn a_crash_costs_one_check_and_is_told_from_what_ran_beside_it() {
        let found = carried_out(&in_one("b.two", "kill -SEGV $$; sleep 1"), 5000, &ITEMS);
        assert_eq!(found, (vec!["b.two: SIGSEGV".to_owned()], vec![], 6));
    }

    #[test]
    fn every_check_that_crashes_is_told() {
        let does = |(model, _): &Item| if model == "b" { "kill -ABRT $$; sleep 1" } else { ":" }.to_owned();
        let (fates, broken, over) = carried_out(&does, 5000, &ITEMS);
        assert_eq!(fates, ["b.one: SIGABRT", "b.two: SIGABRT"]);
        assert_eq!((broken, over), (vec![], 6));
    }

    #[test]
    fn a_check_that_never_returns_is_ended_and_the_models_others_run() {
        let found = carried_out(&in_one("b.one", "sleep 60"), 1500, &ITEMS);
        assert_eq!(found, (vec!["b.one: timed out after 1500 ms".to_owned()], vec![], 6));
    }

    #[test]
    fn a_model_that_never_returns_is_given_up() {
        let does = |(model, _): &Item| if model == "b" { "sleep 60" } else { ":" }.to_owned();
        let (fates, broken, over) =
            carried_out(&does, 1000, &["a.one", "b.one", "c.one", "b.two", "b.three"]);
        let late = "timed out after 1000 ms";
        assert_eq!(
            fates,
            [format!("b.one: {late}"), format!("b.two: {late}"), "b.three: given up after 2".to_owned()]
        );
        assert_eq!((broken, over), (vec![], 5));
    }

    #[test]
    fn a_crash_that_no_model_causes_alone_is_told_of_the_process() {
        let does = |(model, _): &Item| match model.as_str() {
            // Beside another it crashes; alone it does not.
            "a" => "sleep 0.1; [ $(grep -c + $HF_CONFORMANCE_JOURNAL) = 1 ] || kill -SEGV $$; sleep 0.1",
            _ => "sleep 0.8",
        };
        let (fates, broken, over) = carried_out(&|item| does(item).to_owned(), 5000, &["a.one", "b.one"]);
        assert_eq!((fates.len(), over), (0, 2));
        let whole = "the test process ended with SIGSEGV while it ran a · one, b · one; each of these models alone did not \
                     end its process";
        assert_eq!(broken, [whole]);
    }

    #[test]
    fn a_child_that_comes_to_no_check_is_not_started_for_ever() {
        let child = || {
            let mut command = Command::new("sh");
            Process::spawn(command.args(["-c", "exit 4"]).stdout(Stdio::piped()).stderr(Stdio::piped()))
        };
        let children = Children {
            start: &|_, _, _| child(),
            limits: &|_| Limits { time: Duration::from_millis(100), memory: u64::MAX },
            over: &|count| assert_eq!(count, 0),
            record: &|_, _| panic!("no check is to blame"),
        };
        let broken = children.carry_out(vec![("a".to_owned(), "one".to_owned())]).unwrap();
        let why = "the test process ended with exit status 4".to_owned();
        assert_eq!(broken, [BrokeOff::new(why, String::new())]);
    }
}
