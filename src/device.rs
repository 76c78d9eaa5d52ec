//! Which device a program runs on, and why not another.
//!
//! In: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. Out: a [`Device`] that is really there, or an error:
//! asking for an absent device never falls back to another one.

use std::fmt;
use std::str::FromStr;

/// A device of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    Cpu,
    Cuda(usize),
    Mps,
}

/// A device as asked for on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// CUDA, else MPS, else the CPU.
    #[default]
    Auto,
    /// This one or an error.
    Exactly(Device),
}

/// What a look at the machine found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// CUDA devices, or why there are none.
    pub cuda: Absent<usize>,
    /// Apple's GPU, or why not.
    pub mps: Absent<()>,
}

/// Present, or the reason for absence in a few words.
pub type Absent<T> = Result<T, String>;

/// A request that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("'{0}' is not a device: use auto, cpu, cuda, cuda:N or mps")]
    Unknown(String),
    #[error("no device {device} here: {reason}; use --device auto to take the best there is")]
    Absent { device: Device, reason: String },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Mps => f.write_str("mps"),
        }
    }
}

impl FromStr for Request {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Exactly(Device::Cpu)),
            "cuda" => Ok(Self::Exactly(Device::Cuda(0))),
            "mps" => Ok(Self::Exactly(Device::Mps)),
            other => {
                let index = other.strip_prefix("cuda:").ok_or_else(unknown)?;
                index.parse().map(|index| Self::Exactly(Device::Cuda(index))).map_err(|_| unknown())
            }
        }
    }
}

impl Request {
    /// The device to use, given what the machine has.
    pub fn choose(self, found: &Found) -> Result<Device, DeviceError> {
        match self {
            Self::Auto if found.cuda.is_ok() => Ok(Device::Cuda(0)),
            Self::Auto if found.mps.is_ok() => Ok(Device::Mps),
            Self::Auto => Ok(Device::Cpu),
            Self::Exactly(device) => {
                let absence = match (device, &found.cuda, &found.mps) {
                    (Device::Cpu, ..) | (Device::Mps, _, Ok(())) => return Ok(device),
                    (Device::Cuda(index), Ok(count), _) if index < *count => return Ok(device),
                    (Device::Cuda(_), Ok(count), _) => format!("{count} CUDA device(s) found"),
                    (Device::Cuda(_), Err(reason), _) | (Device::Mps, _, Err(reason)) => reason.clone(),
                };
                Err(DeviceError::Absent { device, reason: absence })
            }
        }
    }

    /// `cpu (no cuda: …; no mps: …)`: the choice and why not the better ones.
    pub fn explain(self, device: Device, found: &Found) -> String {
        let mut passed = Vec::new();
        if let (Self::Auto, Device::Cpu | Device::Mps, Err(reason)) = (self, device, &found.cuda) {
            passed.push(format!("no cuda: {reason}"));
        }
        if let (Self::Auto, Device::Cpu, Err(reason)) = (self, device, &found.mps) {
            passed.push(format!("no mps: {reason}"));
        }
        match passed.is_empty() {
            true => device.to_string(),
            false => format!("{device} ({})", passed.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cuda: Absent<usize>, mps: Absent<()>) -> Found {
        Found { cuda, mps }
    }

    fn nothing() -> Found {
        found(Err("no driver".into()), Err("not a Mac".into()))
    }

    #[test]
    fn auto_takes_cuda_then_mps_then_cpu() {
        assert_eq!(Request::Auto.choose(&found(Ok(1), Ok(()))), Ok(Device::Cuda(0)));
        assert_eq!(Request::Auto.choose(&found(Err(String::new()), Ok(()))), Ok(Device::Mps));
        assert_eq!(Request::Auto.choose(&nothing()), Ok(Device::Cpu));
    }

    #[test]
    fn an_absent_device_is_an_error_not_a_fall_back() {
        let error = "cuda:1".parse::<Request>().unwrap().choose(&found(Ok(1), Ok(()))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no device cuda:1 here: 1 CUDA device(s) found; use --device auto to take the best there is"
        );
        assert!("mps".parse::<Request>().unwrap().choose(&nothing()).is_err());
    }

    #[test]
    fn only_known_spellings_are_devices() {
        for wrong in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            assert_eq!(wrong.parse::<Request>(), Err(DeviceError::Unknown(wrong.into())));
        }
    }

    #[test]
    fn the_choice_says_why_not_a_better_one() {
        assert_eq!(
            Request::Auto.explain(Device::Cpu, &nothing()),
            "cpu (no cuda: no driver; no mps: not a Mac)"
        );
        assert_eq!(Request::Exactly(Device::Cpu).explain(Device::Cpu, &nothing()), "cpu");
    }
}
