//! How far this process's memory rises.
//!
//! In: `/proc/self`. Out: MiB, or nothing where the system does not say.

use std::fs;

/// Where memory stood.
pub struct Mark(Option<f64>);

impl Mark {
    /// Sets the peak back to what is resident now.
    pub fn set() -> Self {
        // 5: see clear_refs in proc(5).
        Self(fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| field("VmRSS")))
    }

    /// How far the peak since then is above it.
    pub fn risen(&self) -> Option<f64> {
        Some(field("VmHWM")? - self.0?)
    }
}

fn field(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
