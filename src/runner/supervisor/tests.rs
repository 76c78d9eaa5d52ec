//! Children that are shell scripts crash, hang and end early, and every check has its outcome.

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
        let mark = |sign| format!("printf '%s\\t{model}\\t{check}\\n' '{sign}' >> $HF_CONFORMANCE_JOURNAL");
        format!("{}; {}; {}", mark('+'), does(item), mark('-'))
    };
    let pairs = items.chunks(if alone { 1 } else { 2 }).map(|pair| match pair {
        // The second begins first, so that both run when the first does what it does.
        [first, second] => {
            let (model, check) = second;
            let begun = format!("grep -q '^+.{model}.{check}$' $HF_CONFORMANCE_JOURNAL");
            format!("({}) & until {begun}; do sleep 0.01; done; {}; wait", one(second), one(first))
        }
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
    let item = |name: &&str| name.split_once('.').map(|(model, check)| (model.to_owned(), check.to_owned()));
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
    let found = carried_out(&in_one("b.one", "sleep 60"), 3000, &ITEMS);
    assert_eq!(found, (vec!["b.one: timed out after 3000 ms".to_owned()], vec![], 6));
}

#[test]
fn a_model_that_never_returns_is_given_up() {
    let does = |(model, _): &Item| if model == "b" { "sleep 60" } else { ":" }.to_owned();
    let (fates, broken, over) = carried_out(&does, 3000, &["a.one", "b.one", "c.one", "b.two", "b.three"]);
    let late = "timed out after 3000 ms";
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
        "a" => "[ $(grep -c + $HF_CONFORMANCE_JOURNAL) = 1 ] || kill -SEGV $$; sleep 0.1",
        _ => "sleep 2",
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
