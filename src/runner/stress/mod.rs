//! Stress: runs are ended in the middle, started twice and starved on purpose; what was good before must be good after.
//!
//! In: this program and a few models. Out: for each [`Fault`] how often it was tried, how often all was well after it, and
//! what was not. Every trial has a [`Yard`] of its own, with artifacts and results that nothing else uses; the faults stand
//! in [`FAULTS`].

mod index;
mod load;
mod planted;
mod suite;
mod yard;

use crate::verdict::Status;
pub use planted::Planted;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
pub use yard::Yard;

/// Time in which an interrupted run must have ended, with everything that it started; busy machines get some more.
const PROMISED: Duration = Duration::from_secs(2);
/// How much longer than promised it may take before that counts as broken: on two processors, beside what was interrupted,
/// a process may wait for its turn.
const SLACK: Duration = Duration::from_secs(1);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The name of a yard's folder where nothing depends on it.
const YARD: &[u8] = b"yard";

/// What runs when something happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// The export of all models but the first, whose artifact is there and must stay.
    Export,
    /// The checks of all models, whose artifacts are there.
    Check,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Happens {
    /// The run is sent a signal, at moments spread evenly over the time that it takes by itself.
    Signal(Doing, rustix::process::Signal),
    /// So many runs begin at once.
    AtOnce(Doing, usize),
    /// Programs are damaged, and their digests made right again, as of somebody who wants libtorch to read them.
    Forged,
    /// A model's program ends whatever process opens it.
    Planted(Planted),
    /// Set-up from a local index is sent a signal.
    SetUp(rustix::process::Signal),
    /// So many writers add so many results each to one file.
    Written(usize, usize),
    /// An environment is set up from an index that breaks off in the middle of a package.
    BrokenOff,
    /// A suite of so many models that nobody has is generated, compiled and run without libtorch.
    Suite(usize),
    /// Both kinds of runs are started by this shell script, as `"$@"`, with all their files in a folder of this name.
    Around { folder: &'static [u8], script: &'static str, must: Must },
}

/// What is asked of a run in strange surroundings.
#[derive(Clone, Copy, Debug)]
pub enum Must {
    Work,
    /// Work, or fail with a word on why.
    WorkOrSay,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    /// How often it is tried, and how often in the short form.
    pub times: [usize; 2],
    pub happens: Happens,
}

/// Checks run on the best device, where there is a driver that is none, and libtorch has no half for it: hidden where it has.
const WITHOUT_CUDA: &str = r#"
[ "$2" = check ] && [ "$(uname)" = Linux ] || exec "$@"
driver="$HF_CONFORMANCE_RESULTS.driver" said="$HF_CONFORMANCE_RESULTS.said" half="$(readlink -f .venv/torch)/lib/libtorch_cuda.so"
mkdir "$driver" && echo | cc -shared -x c - -o "$driver/libcuda.so.1"
export LD_LIBRARY_PATH="$driver" HF_CONFORMANCE_DEVICE=auto
if [ -e "$half" ]; then
    unshare -rm true 2> /dev/null || exec "$@"
    set -- unshare -rm sh -c 'mount --bind /dev/null "$0" && exec "$@"' "$half" "$@"
fi
"$@" > "$said" || { cat "$said"; exit 1; }
grep -q "no cuda: this libtorch has no CUDA" "$said" || { echo "error: it does not say that CUDA is missing"; exit 1; }"#;

/// Everything that is tried.
pub const FAULTS: &[Fault] = &[
    signal("kill -9 during export", [50, 5], Doing::Export, rustix::process::Signal::KILL),
    signal("Ctrl-C during export", [10, 2], Doing::Export, rustix::process::Signal::INT),
    signal("SIGTERM during export", [10, 1], Doing::Export, rustix::process::Signal::TERM),
    signal("kill -9 during checks", [20, 2], Doing::Check, rustix::process::Signal::KILL),
    signal("Ctrl-C during checks", [10, 2], Doing::Check, rustix::process::Signal::INT),
    signal("SIGTERM during checks", [10, 1], Doing::Check, rustix::process::Signal::TERM),
    Fault { name: "two exports at once", times: [10, 1], happens: Happens::AtOnce(Doing::Export, 2) },
    Fault { name: "one run of checks", times: [1, 1], happens: Happens::AtOnce(Doing::Check, 1) },
    Fault { name: "two runs of checks at once", times: [10, 1], happens: Happens::AtOnce(Doing::Check, 2) },
    Fault { name: "four runs of checks at once", times: [1, 0], happens: Happens::AtOnce(Doing::Check, 4) },
    Fault { name: "eight runs of checks at once", times: [1, 0], happens: Happens::AtOnce(Doing::Check, 8) },
    Fault { name: "8 writers of 2000 results each", times: [5, 1], happens: Happens::Written(8, 2000) },
    Fault { name: "damaged programs under right digests", times: [20, 2], happens: Happens::Forged },
    planted("a program that segfaults", [2, 1], "segfaults", Status::Crashed),
    planted("a program that aborts", [2, 1], "aborts", Status::Crashed),
    planted("a program that hoards memory", [1, 1], "hoards", Status::Crashed),
    planted("a program that never returns", [2, 1], "never returns", Status::TimedOut),
    Fault { name: "an index that breaks off during set-up", times: [4, 1], happens: Happens::BrokenOff },
    Fault {
        name: "kill -9 during set-up",
        times: [8, 1],
        happens: Happens::SetUp(rustix::process::Signal::KILL),
    },
    Fault {
        name: "Ctrl-C during set-up",
        times: [8, 1],
        happens: Happens::SetUp(rustix::process::Signal::INT),
    },
    Fault { name: "a suite of 5000 models", times: [1, 0], happens: Happens::Suite(5000) },
    named("a folder with spaces", b"a folder, with 'spaces'", Must::Work),
    named("a folder that is not UTF-8", b"caf\xe9", Must::WorkOrSay),
    around("no HOME", r#"unset HOME; exec "$@""#, Must::Work),
    around("the C locale", r#"unset LANG; export LC_ALL=C; exec "$@""#, Must::Work),
    around(
        "no network",
        r#"export http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9; exec "$@""#,
        Must::Work,
    ),
    around("one core", r#"command -v taskset > /dev/null && exec taskset -c 0 "$@"; exec "$@""#, Must::Work),
    around(
        "a Python without torch",
        r#"printf '#!/bin/sh\nexec python3 -S "$@"\n' > "$HF_CONFORMANCE_RESULTS.python"
           chmod +x "$HF_CONFORMANCE_RESULTS.python"
           export HF_CONFORMANCE_PYTHON="$HF_CONFORMANCE_RESULTS.python"; exec "$@""#,
        Must::WorkOrSay,
    ),
    around(
        "another torch on PYTHONPATH",
        r#"mkdir "$HF_CONFORMANCE_RESULTS.torch"; echo '__version__ = "1.0"' > "$HF_CONFORMANCE_RESULTS.torch/torch.py"
           export PYTHONPATH="$HF_CONFORMANCE_RESULTS.torch"; exec "$@""#,
        Must::WorkOrSay,
    ),
    // Where nobody may mount, the disk is full by its user's limit, and the checkout is as it is.
    around(
        "a small tmpfs that is full",
        r#"if unshare -rm true 2> /dev/null; then
               exec unshare -rm sh -c 'mount -t tmpfs -o size=64k none "$HF_CONFORMANCE_ARTIFACTS" && exec "$@"' sh "$@"
           fi; trap "" XFSZ; ulimit -f 8; exec "$@""#,
        Must::WorkOrSay,
    ),
    around(
        "a read-only checkout",
        r#"if unshare -rm true 2> /dev/null; then
               exec unshare -rm sh -c 'mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec "$@"' sh "$@"
           fi; exec "$@""#,
        Must::WorkOrSay,
    ),
    around("a libtorch without CUDA, beside a driver", WITHOUT_CUDA, Must::Work),
    around("umask 077", r#"umask 077; exec "$@""#, Must::Work),
    around("a disk that is full", r#"trap "" XFSZ; ulimit -f 8; exec "$@""#, Must::WorkOrSay),
    around("1 GiB of memory", r#"ulimit -v 1048576; exec "$@""#, Must::WorkOrSay),
    around(
        "a file where the folder of artifacts should be",
        r#"rm -r "$HF_CONFORMANCE_ARTIFACTS"; : > "$HF_CONFORMANCE_ARTIFACTS"; exec "$@""#,
        Must::WorkOrSay,
    ),
];

const fn signal(
    name: &'static str,
    times: [usize; 2],
    doing: Doing,
    signal: rustix::process::Signal,
) -> Fault {
    Fault { name, times, happens: Happens::Signal(doing, signal) }
}

const fn planted(name: &'static str, times: [usize; 2], how: &'static str, told: Status) -> Fault {
    Fault { name, times, happens: Happens::Planted(Planted { how, told }) }
}

const fn around(name: &'static str, script: &'static str, must: Must) -> Fault {
    Fault { name, times: [1, 1], happens: Happens::Around { folder: YARD, script, must } }
}

const fn named(name: &'static str, folder: &'static [u8], must: Must) -> Fault {
    Fault { name, times: [1, 1], happens: Happens::Around { folder, script: r#"exec "$@""#, must } }
}

/// What came of a fault.
#[derive(Debug)]
pub struct Survival {
    pub tried: usize,
    /// What was not well, a line each.
    pub complaints: Vec<String>,
    /// What was measured, of the last trial.
    pub measured: Option<String>,
}

/// All was well, or what was not.
type Well = Result<(), String>;
/// All was well, with what was measured, or what was not well.
type Outcome = Result<Option<String>, String>;

impl Fault {
    /// Tries it as often as it says.
    ///
    /// # Errors
    /// A yard cannot be made, or nothing can be started.
    pub fn suffer(&self, yard: &Yard, short: bool, tried: &dyn Fn()) -> io::Result<Survival> {
        let times = self.times[usize::from(short)];
        let (mut complaints, mut measured) = (Vec::new(), None);
        for time in 0..times {
            // Neither the very beginning nor the very end, where nothing runs.
            let moment = (time as f64 + 0.5) / times as f64;
            match self.once(yard, moment)? {
                Ok(seen) => measured = seen.or(measured),
                Err(complaint) => complaints.push(complaint),
            }
            tried();
        }
        Ok(Survival { tried: times, complaints, measured })
    }

    fn once(&self, yard: &Yard, moment: f64) -> io::Result<Outcome> {
        let well = |well: Result<(), String>| well.map(|()| None);
        Ok(match self.happens {
            Happens::Signal(doing, signal) => {
                let at = yard.alone(doing).mul_f64(moment);
                let told = |why: String| format!("at {:.1} s: {why}", at.as_secs_f64());
                well(signalled(&yard.fresh(YARD, doing)?, doing, signal, at)?.map_err(told))
            }
            Happens::AtOnce(doing, count) => at_once(&yard.fresh(YARD, doing)?, doing, count)?,
            Happens::Forged => well(forged(&yard.fresh(YARD, Doing::Check)?, moment)?),
            Happens::Written(writers, each) => {
                load::written(&yard.fresh(YARD, Doing::Export)?.results(), writers, each)?
            }
            Happens::Planted(planted) => well(planted::checks(&yard.fresh(YARD, Doing::Check)?, planted)?),
            Happens::SetUp(signal) => {
                well(index::signalled(&yard.fresh(YARD, Doing::Export)?, signal, moment)?)
            }
            Happens::BrokenOff => well(index::breaks_off(&yard.fresh(YARD, Doing::Export)?, moment)?),
            Happens::Suite(models) => suite::of(&yard.fresh(YARD, Doing::Export)?, models)?,
            Happens::Around { folder, script, must: Must::Work } => {
                well(surrounded(yard, folder, script, &worked)?)
            }
            Happens::Around { folder, script, must: Must::WorkOrSay } => {
                well(surrounded(yard, folder, script, &in_words)?)
            }
        })
    }
}

/// Sends a run a signal after so long, and looks at what it left.
fn signalled(yard: &Yard, doing: Doing, signal: rustix::process::Signal, at: Duration) -> io::Result<Well> {
    let ended = interrupted(&mut yard.command(doing), signal, at)?;
    Ok(ended
        .and_then(|()| yard.is_quiet(PROMISED + SLACK))
        .and_then(|()| yard.is_valid(doing))
        .and_then(|()| goes_on(yard, doing)))
}

/// Sends a command a signal after so long; whether it ended as promised.
fn interrupted(command: &mut Command, signal: rustix::process::Signal, at: Duration) -> io::Result<Well> {
    // Started as a shell would: nothing of this program's own order ends what it leaves behind.
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(at);
    let is_over = child.try_wait()?.is_some();
    if !is_over && let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
        rustix::process::kill_process(pid, signal)?;
    }
    let sent = Instant::now();
    let status = child.wait()?;
    let took = sent.elapsed();
    let hard = signal == rustix::process::Signal::KILL;
    let expected = 128 + signal.as_raw();
    if !hard && took > PROMISED + SLACK {
        return Ok(Err(format!("it took {:.1} s to end", took.as_secs_f64())));
    }
    if !hard && !is_over && status.code().is_some_and(|code| code != expected && code != 0) {
        return Ok(Err(format!("it ended with {status}, not {expected}")));
    }
    Ok(Ok(()))
}

/// Starts runs at once, all of which must do their work; the most memory that a process of theirs held.
fn at_once(yard: &Yard, doing: Doing, count: usize) -> io::Result<Outcome> {
    let (outputs, largest) = watched(yard, (0..count).map(|_| yard.command(doing)).collect())?;
    let well = outputs.iter().try_for_each(worked);
    let well = well.and_then(|()| once(yard, doing, &outputs));
    let well = well.and_then(|()| yard.is_valid(doing)).and_then(|()| goes_on(yard, doing));
    Ok(well.map(|()| Some(format!("at most {} MiB a process", largest >> 20))))
}

/// Whether runs that exported at once made each artifact once.
fn once(yard: &Yard, doing: Doing, outputs: &[Output]) -> Result<(), String> {
    if doing != Doing::Export {
        return Ok(());
    }
    let made = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stdout);
        said.split_once(" exported,").and_then(|(count, _)| count.trim().parse::<usize>().ok())
    };
    match outputs.iter().filter_map(made).sum::<usize>() {
        made if made == yard.missing() => Ok(()),
        made => Err(format!("{made} artifacts were made where {} were missing", yard.missing())),
    }
}

/// Runs commands at once; what they printed, and the bytes that the largest process held of those that have the yard in
/// their environment.
fn watched(yard: &Yard, commands: Vec<Command>) -> io::Result<(Vec<Output>, u64)> {
    let mut largest = 0;
    let outputs = std::thread::scope(|scope| {
        let start = |mut command: Command| scope.spawn(move || command.output());
        let runs: Vec<_> = commands.into_iter().map(start).collect();
        while !runs.iter().all(|run| run.is_finished()) {
            largest = largest.max(yard.largest());
            std::thread::sleep(LOOK);
        }
        let ended = runs.into_iter().map(|run| run.join());
        let ended = ended.map(|run| run.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<io::Result<Vec<_>>>()
    })?;
    Ok((outputs, largest))
}

/// Damages every program at that part of its file; whatever libtorch does with it, every check must have a result.
fn forged(yard: &Yard, part: f64) -> io::Result<Well> {
    yard.forge(part)?;
    let output = yard.command(Doing::Check).output()?;
    Ok(in_words(&output).and_then(|()| yard.is_told()))
}

/// Starts both kinds of runs in surroundings, in which each must end `well`.
fn surrounded(
    yard: &Yard,
    name: &[u8],
    script: &str,
    well: &dyn Fn(&Output) -> Result<(), String>,
) -> io::Result<Well> {
    for doing in [Doing::Export, Doing::Check] {
        let yard = yard.fresh(name, doing)?;
        let output = in_shell(script, &yard.command(doing)).output()?;
        if let Err(why) = well(&output) {
            return Ok(Err(format!("{doing:?}: {why}")));
        }
    }
    Ok(Ok(()))
}

/// The command as the arguments of a script.
fn in_shell(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The next run does what the one before could not, and everything is there then.
fn goes_on(yard: &Yard, doing: Doing) -> Result<(), String> {
    let output = yard.command(doing).output().map_err(|error| error.to_string())?;
    worked(&output).map_err(|why| format!("the next run: {why}"))?;
    yard.is_whole(doing)
}

fn worked(output: &Output) -> Result<(), String> {
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("it ended with {}: {}", output.status, last_line(output))),
    }
}

/// It worked, or said in words why not: a panic or a signal is neither.
fn in_words(output: &Output) -> Result<(), String> {
    let said =
        [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat();
    let panicked = said.lines().find(|line| line.contains("panicked at"));
    match (panicked, output.status.signal()) {
        (Some(line), _) => Err(line.to_owned()),
        (None, Some(_)) => Err(format!("it ended with {}", output.status)),
        (None, None) if output.status.success() || said.contains("stage ") || said.contains("error: ") => {
            Ok(())
        }
        (None, None) => Err(format!("it says nothing of what is wrong: {}", last_line(output))),
    }
}

fn last_line(output: &Output) -> String {
    let said =
        String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said").trim().to_owned()
}
