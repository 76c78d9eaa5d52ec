//! How long a check may take, and how much memory its model.
//!
//! In: what was asked for on the command line, and the entry. Out: [`Limits`]. What was asked for goes before the entry,
//! and that before the defaults, which are far beyond what any model of the spec needs on a slow machine.

use crate::spec::Entry;
use std::time::Duration;
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

/// Seconds that a check may take.
const SECONDS: u64 = 120;
/// GiB that a process may hold while it runs a model.
const GIB: u64 = 8;

/// What a model may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of each of its checks.
    pub time: Duration,
    /// Bytes that its process may hold.
    pub memory: u64,
}

/// Limits that were asked for; what was not is the entry's to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Seconds of a check.
    pub seconds: Option<u64>,
    /// GiB of a process.
    pub gib: Option<u64>,
}

impl Asked {
    /// Whether anything was asked for.
    pub fn is_any(&self) -> bool {
        self.seconds.is_some() || self.gib.is_some()
    }

    /// The limits of an entry.
    pub fn of(&self, entry: &Entry) -> Limits {
        let gib = self.gib.or(entry.memory_limit).map(|gib| gib << 30);
        Limits {
            time: Duration::from_secs(self.seconds.or(entry.time_limit).unwrap_or(SECONDS)),
            memory: gib.unwrap_or_else(|| (GIB << 30).min(installed() / 4 * 3)),
        }
    }
}

/// Bytes of memory that this machine has, or lets this program use.
pub fn installed() -> u64 {
    static BYTES: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BYTES.get_or_init(|| {
        let mut system = System::new();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let group = system.cgroup_limits().map(|limits| limits.total_memory);
        group.into_iter().chain([system.total_memory()]).filter(|bytes| *bytes > 0).min().unwrap_or(u64::MAX)
    })
}

/// Bytes of memory that are free on this machine, or are left of what it lets this program use.
pub fn available() -> u64 {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let group = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    group.into_iter().chain([system.available_memory()]).filter(|bytes| *bytes > 0).min().unwrap_or(u64::MAX)
}

/// Watches the memory of a process.
pub struct Memory {
    system: System,
    process: sysinfo::Pid,
}

impl Memory {
    /// Of the process with that number.
    pub fn of(process: u32) -> Self {
        Self { system: System::new(), process: sysinfo::Pid::from_u32(process) }
    }

    /// Bytes that it holds; none where the system does not say.
    pub fn resident(&mut self) -> u64 {
        let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.process]), true, what);
        self.system.process(self.process).map_or(0, sysinfo::Process::memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn what_is_asked_for_goes_before_the_entry_and_that_before_the_defaults() {
        let mut entry = samples::spec().entries.remove(0);
        let seconds = |asked: Option<u64>, entry: &Entry| {
            Asked { seconds: asked, gib: Some(2) }.of(entry).time.as_secs()
        };
        assert_eq!(seconds(None, &entry), SECONDS);
        entry.time_limit = Some(600);
        assert_eq!((seconds(None, &entry), seconds(Some(9), &entry)), (600, 9));
        assert_eq!(Asked { seconds: None, gib: Some(2) }.of(&entry).memory, 2 << 30);
        let memory = Asked::default().of(&entry).memory;
        assert!(memory > 0 && memory <= GIB << 30);
    }

    #[test]
    fn no_more_memory_is_free_than_there_is() {
        assert!(available() > 0 && available() <= installed());
    }

    #[test]
    fn a_process_holds_memory() {
        assert!(Memory::of(std::process::id()).resident() > 1 << 20);
    }
}
