//! The machine and the commit that a result belongs to.
//!
//! In: the operating system, the driver, git. Out: [`Host`] and [`commit`], each found out once per process.

use crate::device::Device;
use crate::engine;
use serde::{Deserialize, Serialize};
use std::process::Command;
use std::sync::OnceLock;
use sysinfo::{CpuRefreshKind, System};

/// Where a check ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `linux`, `macos`, `windows`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// The GPU's name for a GPU, else the CPU's.
    pub processor: String,
}

impl Host {
    /// This machine, as seen from a device.
    pub fn of(device: Option<Device>) -> Self {
        let gpu = match device {
            Some(Device::Cuda(index)) => engine::gpu_name(index),
            _ => None,
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            processor: gpu.unwrap_or_else(|| cpu().to_owned()),
        }
    }
}

/// The CPU's name: `Intel(R) Xeon(R) Processor`, `Apple M2`.
fn cpu() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let mut system = System::new();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default()
    })
}

/// The commit of the working directory's project, 12 digits, `-dirty` where the working tree differs from it; none
/// outside a git checkout. `HF_CONFORMANCE_COMMIT` says it for machines that have the files without their history.
pub fn commit() -> Option<&'static str> {
    static COMMIT: OnceLock<Option<String>> = OnceLock::new();
    COMMIT.get_or_init(|| std::env::var("HF_CONFORMANCE_COMMIT").ok().or_else(described)).as_deref()
}

fn described() -> Option<String> {
    let mut git = Command::new("git");
    // Tags are left out of it: their names would hide the commit.
    git.args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_name_for_everything() {
        let host = Host::of(Some(Device::Cpu));
        assert_eq!(host.os, std::env::consts::OS);
        assert!(!host.arch.is_empty() && !host.processor.is_empty());
    }
}
