//! How far this process's memory rises.
//!
//! In: `/proc/self`. Out: MiB, or nothing where the system does not say.

use std::fs;

/// Where memory stood.
pub struct Mark(Option<f64>);

impl Mark {
    /// What is resident now.
    pub fn set() -> Self {
        Self(field("VmRSS"))
    }

    /// Forgets what was taken meanwhile: the peak is what is resident now.
    pub fn forget(&self) {
        // 5: see clear_refs in proc(5). Where it cannot be written, the peak is the process's, and no less than this.
        let _ = fs::write("/proc/self/clear_refs", "5");
    }

    /// How far the peak is above where memory stood.
    pub fn risen(&self) -> Option<f64> {
        Some(field("VmHWM")? - self.0?)
    }
}

fn field(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
