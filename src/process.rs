//! Child processes: each ends with all that it started, and all of them end at an interrupt.
//!
//! In: a command. Out: a [`Process`] in a group of its own, so that what it started can be ended with it. From the first
//! process on, Ctrl-C, SIGTERM and a closed terminal are heard here: the children are asked to end, then made to, and
//! [`interrupted`] tells this program, which has [`PATIENCE`] to say what was done before it is ended, too. A parent that is
//! killed can ask nobody: its children see that it is gone ([`end_with_parent`]).

use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Tells a child that is this program again who started it, and that what it starts must stay in the group that it is in.
const GROUPED: &str = "HF_CONFORMANCE_GROUPED";
/// Time that children have, from an interrupt on, to put things in order.
const GRACE: Duration = Duration::from_millis(300);
/// Time that this program has from then on.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// How often a child looks whether its parent is still there.
const LOOK: Duration = Duration::from_millis(200);

/// The signal that interrupted this program; 0 for none.
static INTERRUPT: AtomicI32 = AtomicI32::new(0);
/// Children that run.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The signal that has interrupted this program, if one has.
pub fn interrupted() -> Option<i32> {
    Some(INTERRUPT.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// What a program that a signal interrupted exits with, by the shells' custom.
pub fn exit_code(signal: i32) -> u8 {
    128_u8.saturating_add(u8::try_from(signal).unwrap_or(0))
}

/// A child process. When this is dropped it has ended, and so has everything that it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    /// It does not start, or this program was interrupted.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        system::listen()?;
        command.env(GROUPED, std::process::id().to_string());
        if std::env::var_os(GROUPED).is_none() {
            system::group(command);
        }
        // An interrupt finds every child that was started before it, and none is started after it.
        let mut running = running();
        if interrupted().is_some() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
        }
        let child = command.spawn()?;
        running.push(child.id());
        Ok(Self { child, ended: None })
    }

    /// The number that the system knows it by.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it reads, if the command asked for a pipe; once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What it prints, if the command asked for a pipe; once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What it prints to standard error, if the command asked for a pipe; once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system does not say.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            // Under the lock no signal goes to a number that is free again.
            let mut running = running();
            self.ended = self.child.try_wait()?;
            if self.ended.is_some() {
                system::kill(self.id());
                running.retain(|id| *id != self.child.id());
            }
        }
        Ok(self.ended)
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// As [`Process::try_wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.try_wait()? {
                Some(status) => return Ok(status),
                None => std::thread::sleep(POLL),
            }
        }
    }

    /// Ends it at once, with all that it started.
    ///
    /// # Errors
    /// As [`Process::try_wait`].
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if self.try_wait()?.is_none() {
            system::kill(self.id());
            // Where there are no groups, and where it is in ours. It may have ended by itself meanwhile.
            let _ = self.child.kill();
        }
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.end();
    }
}

/// From now on this process, and all that it started, lives no longer than the one of this program that started it; one
/// that somebody typed goes on.
pub fn end_with_parent() {
    static WATCHING: Once = Once::new();
    let parent = std::env::var(GROUPED).ok().and_then(|parent| parent.parse().ok());
    WATCHING.call_once(|| {
        if let Some(parent) = parent {
            std::thread::spawn(move || system::end_with(parent));
        }
    });
}

/// Runs a command to its end and keeps what it prints.
///
/// # Errors
/// As [`Process::spawn`].
pub fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::spawn(command)?;
    let (stdout, stderr) = (collect(process.stdout()), collect(process.stderr()));
    let status = process.wait()?;
    Ok(Output { status, stdout: collected(stdout), stderr: collected(stderr) })
}

/// Reads a stream to its end, while others go on.
pub fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// What a stream held.
pub fn collected(reading: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reading.join().unwrap_or_default()
}

/// How a process ended, in words: `SIGSEGV`, `exit status 1`.
pub fn ending(status: ExitStatus) -> String {
    let exited = |code| format!("exit status {code}");
    system::signal(status).or_else(|| status.code().map(exited)).unwrap_or_else(|| status.to_string())
}

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
mod system {
    use super::{GRACE, GROUPED, INTERRUPT, LOOK, PATIENCE, running};
    use rustix::process::{
        Pid, Signal, getppid, kill_current_process_group, kill_process, kill_process_group,
    };
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::{emulate_default_handler, signal_name};
    use std::io;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, ExitStatus};
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    /// Makes the command the first of a group.
    pub fn group(command: &mut Command) {
        command.process_group(0);
    }

    /// The signal that ended a process, and what else is known by that number's name.
    pub fn signal(status: ExitStatus) -> Option<String> {
        let signal = status.signal()?;
        Some(signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned))
    }

    /// Ends the group that this process is in as soon as another parent than that one has it.
    pub fn end_with(parent: i32) {
        while getppid().map(Pid::as_raw_pid) == Some(parent) {
            std::thread::sleep(LOOK);
        }
        let _ = kill_current_process_group(Signal::KILL);
    }

    /// Ends a child's group; a child that has none of its own is its owner's to end.
    pub fn kill(child: u32) {
        if std::env::var_os(GROUPED).is_none() {
            tell(child, Signal::KILL);
        }
    }

    /// Hears interrupts from now on.
    pub fn listen() -> io::Result<()> {
        static LISTENING: OnceLock<Result<(), i32>> = OnceLock::new();
        let start = || {
            let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
            std::thread::spawn(move || signals.forever().next().map(interrupt));
            Ok(())
        };
        let listen = || start().map_err(|error: io::Error| error.raw_os_error().unwrap_or(0));
        (*LISTENING.get_or_init(listen)).map_err(io::Error::from_raw_os_error)
    }

    fn interrupt(signal: i32) {
        INTERRUPT.store(signal, Ordering::SeqCst);
        // Where the children are in our own group, whoever interrupted us has told them, too.
        if std::env::var_os(GROUPED).is_none() {
            running().iter().for_each(|child| tell(*child, Signal::INT));
        }
        std::thread::sleep(GRACE);
        running().iter().for_each(|child| tell(*child, Signal::KILL));
        std::thread::sleep(PATIENCE);
        // The shell learns that it was a signal, and ends its script.
        let _ = emulate_default_handler(signal);
    }

    /// A child that has ended meanwhile hears nothing.
    fn tell(child: u32, signal: Signal) {
        let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) else { return };
        let _ = match std::env::var_os(GROUPED) {
            None => kill_process_group(child, signal),
            Some(_) => kill_process(child, signal),
        };
    }
}

/// Systems without signals: children get Ctrl-C by themselves.
#[cfg(not(unix))]
mod system {
    use std::io;
    use std::process::{Command, ExitStatus};

    pub fn group(_command: &mut Command) {}

    pub fn signal(_status: ExitStatus) -> Option<String> {
        None
    }

    pub fn kill(_child: u32) {}

    pub fn listen() -> io::Result<()> {
        Ok(())
    }

    pub fn end_with(_parent: i32) {}
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    #[test]
    fn an_ending_is_told_by_its_signal_or_its_status() {
        let ended = |script: &str| ending(Process::spawn(&mut shell(script)).unwrap().wait().unwrap());
        assert_eq!(ended("exit 3"), "exit status 3");
        assert_eq!(ended("kill -SEGV $$"), "SIGSEGV");
        assert_eq!(ended("kill -KILL $$"), "SIGKILL");
    }

    #[test]
    fn what_a_process_started_ends_with_it() {
        for first in ["exit 0", "wait"] {
            let mut process = Process::spawn(&mut shell(&format!("sleep 60 & echo $!; {first}"))).unwrap();
            let mut stdout = BufReader::new(process.stdout().unwrap());
            let mut number = String::new();
            stdout.read_line(&mut number).unwrap();
            match first {
                "wait" => drop(process),
                _ => drop(process.wait().unwrap()),
            }
            // The pipe has its end once no process holds it any more.
            let started = Instant::now();
            assert_eq!(stdout.read_to_string(&mut number).unwrap(), 0, "{first}");
            assert!(started.elapsed() < Duration::from_secs(30), "{first}");
        }
    }

    #[test]
    fn output_is_kept() {
        let output = output(&mut shell("echo said; echo complained >&2")).unwrap();
        assert_eq!((output.stdout, output.stderr), (b"said\n".to_vec(), b"complained\n".to_vec()));
    }
}
