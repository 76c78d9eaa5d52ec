//! How far this process's memory rises.
//!
//! In: `/proc/self`. Out: MiB, or nothing where the system does not say.

use std::fs;

/// Where memory stood.
pub struct Mark(Option<f64>);

impl Mark {
    /// What is resident now, without what was freed before and would be used again unseen.
    pub fn set() -> Self {
        trim();
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

/// Gives freed memory back to the system, where the C library can: see malloc_trim(3).
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's own function, of this signature; it may be called at any time, by any thread.
        unsafe { malloc_trim(0) };
    }
}

fn field(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_freed_before_is_seen_when_it_is_taken_again() {
        // In small pieces below one that stays, which the C library keeps.
        let freed: Vec<Vec<u8>> = (0..6400).map(|_| vec![1_u8; 10 << 10]).collect();
        let _stays = vec![1_u8; 10 << 10];
        drop(freed);
        let mark = Mark::set();
        mark.forget();
        let held: Vec<Vec<u8>> = (0..3200).map(|_| vec![1_u8; 10 << 10]).collect();
        let risen = mark.risen().unwrap();
        assert!((25.0..60.0).contains(&risen), "{risen} MiB for {}", held.len());
    }
}
