//! Stress: runs are ended in the middle, started twice and starved on purpose; what was good before must be good after.
//!
//! In: this program and a few models. Out: for each [`Fault`] how often it was tried, how often all was well after it, and
//! what was not. Every trial has a [`Yard`] of its own, with artifacts and results that nothing else uses; the faults stand
//! in [`FAULTS`].

mod yard;

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
    /// Two runs begin at once.
    Twice(Doing),
    /// Both kinds of runs are started by this shell script, as `"$@"`, and must work all the same.
    Works(&'static str),
    /// The same, and each may fail, but in words.
    Refuses(&'static str),
    /// Artifacts and results are in a folder of this name, where both must work, or may fail in words.
    Named(&'static [u8], bool),
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub name: &'static str,
    /// How often it is tried, and how often in the short form.
    pub times: [usize; 2],
    pub happens: Happens,
}

/// Everything that is tried.
pub const FAULTS: &[Fault] = &[
    signal("kill -9 during export", [50, 5], Doing::Export, rustix::process::Signal::KILL),
    signal("Ctrl-C during export", [10, 2], Doing::Export, rustix::process::Signal::INT),
    signal("SIGTERM during export", [10, 1], Doing::Export, rustix::process::Signal::TERM),
    signal("kill -9 during checks", [20, 2], Doing::Check, rustix::process::Signal::KILL),
    signal("Ctrl-C during checks", [10, 2], Doing::Check, rustix::process::Signal::INT),
    signal("SIGTERM during checks", [10, 1], Doing::Check, rustix::process::Signal::TERM),
    Fault { name: "two exports at once", times: [10, 1], happens: Happens::Twice(Doing::Export) },
    Fault { name: "two runs of checks at once", times: [10, 1], happens: Happens::Twice(Doing::Check) },
    once("a folder with spaces", Happens::Named(b"a folder, with 'spaces'", true)),
    once("a folder that is not UTF-8", Happens::Named(b"caf\xe9", false)),
    once("no HOME", Happens::Works(r#"unset HOME; exec "$@""#)),
    once("the C locale", Happens::Works(r#"unset LANG; export LC_ALL=C; exec "$@""#)),
    once("umask 077", Happens::Works(r#"umask 077; exec "$@""#)),
    once("a disk that is full", Happens::Refuses(r#"trap "" XFSZ; ulimit -f 8; exec "$@""#)),
    once("1 GiB of memory", Happens::Refuses(r#"ulimit -v 1048576; exec "$@""#)),
    once(
        "a file where the folder of artifacts should be",
        Happens::Refuses(r#"rm -r "$HF_CONFORMANCE_ARTIFACTS"; : > "$HF_CONFORMANCE_ARTIFACTS"; exec "$@""#),
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

const fn once(name: &'static str, happens: Happens) -> Fault {
    Fault { name, times: [1, 1], happens }
}

/// What came of a fault.
#[derive(Debug)]
pub struct Survival {
    pub tried: usize,
    /// What was not well, a line each.
    pub complaints: Vec<String>,
}

impl Fault {
    /// Tries it as often as it says.
    ///
    /// # Errors
    /// A yard cannot be made, or nothing can be started.
    pub fn suffer(&self, yard: &Yard, short: bool, tried: &dyn Fn()) -> io::Result<Survival> {
        let times = self.times[usize::from(short)];
        let mut complaints = Vec::new();
        for time in 0..times {
            // Neither the very beginning nor the very end, where nothing runs.
            let moment = (time as f64 + 0.5) / times as f64;
            complaints.extend(self.once(yard, moment)?.err());
            tried();
        }
        Ok(Survival { tried: times, complaints })
    }

    fn once(&self, yard: &Yard, moment: f64) -> io::Result<Result<(), String>> {
        Ok(match self.happens {
            Happens::Signal(doing, signal) => {
                let at = yard.alone(doing).mul_f64(moment);
                let told = |why: String| format!("at {:.1} s: {why}", at.as_secs_f64());
                signalled(&yard.fresh(b"yard", doing)?, doing, signal, at)?.map_err(told)
            }
            Happens::Twice(doing) => twice(&yard.fresh(b"yard", doing)?, doing)?,
            Happens::Works(script) => around(yard, b"yard", script, &worked)?,
            Happens::Refuses(script) => around(yard, b"yard", script, &in_words)?,
            Happens::Named(name, true) => around(yard, name, r#"exec "$@""#, &worked)?,
            Happens::Named(name, false) => around(yard, name, r#"exec "$@""#, &in_words)?,
        })
    }
}

/// Sends a run a signal after so long, and looks at what it left.
fn signalled(
    yard: &Yard,
    doing: Doing,
    signal: rustix::process::Signal,
    at: Duration,
) -> io::Result<Result<(), String>> {
    // Started as a shell would: nothing of this program's own order ends what it leaves behind.
    let mut child = yard.command(doing).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
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
    Ok(yard
        .is_quiet(PROMISED + SLACK)
        .and_then(|()| yard.is_valid(doing))
        .and_then(|()| goes_on(yard, doing)))
}

/// Starts two runs at once, both of which must do their work.
fn twice(yard: &Yard, doing: Doing) -> io::Result<Result<(), String>> {
    let start = || yard.command(doing).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let both = [start()?, start()?];
    for child in both {
        if let Err(why) = worked(&child.wait_with_output()?) {
            return Ok(Err(why));
        }
    }
    Ok(yard.is_valid(doing).and_then(|()| goes_on(yard, doing)))
}

/// Starts both kinds of runs in surroundings, in which each must end `well`.
fn around(
    yard: &Yard,
    name: &[u8],
    script: &str,
    well: &dyn Fn(&Output) -> Result<(), String>,
) -> io::Result<Result<(), String>> {
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
