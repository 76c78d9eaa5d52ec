//! What programs are written in.

use crate::device::Device;
use crate::spec::{Check, Entry};
use crate::task::Dtype;

/// What a program is written in, which is what its engine reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What `torch.jit.save` writes; every artifact has it.
    #[default]
    TorchScript,
    /// What `torch.export.save` writes; made where it is asked for.
    Pt2,
    /// What `torch._inductor.aoti_compile_and_package` writes, for one kind of device; made where it is asked for.
    Aot(Target),
}

/// The kind of device that machine code is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    #[default]
    Cpu,
    Cuda,
    Mps,
}

impl Target {
    /// As torch calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Mps => "mps",
        }
    }
}

impl From<Device> for Target {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda(_) => Self::Cuda,
            Device::Mps => Self::Mps,
        }
    }
}

impl Format {
    /// One of each engine.
    pub const ALL: [Self; 3] = [Self::TorchScript, Self::Pt2, Self::Aot(Target::Cpu)];

    /// The name of its engine: in results, and for `--engine`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchScript => "torchscript",
            Self::Pt2 => "pt2",
            Self::Aot(_) => "aot",
        }
    }

    /// Its name for `--engine`, unless it is the one that is used where none is named.
    pub fn option(self) -> Option<&'static str> {
        (self != Self::default()).then_some(self.name())
    }

    /// The format of that name; of packages, that for the CPU.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of the same engine that runs on a device.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        match self {
            Self::Aot(_) => Self::Aot(device.into()),
            any => any,
        }
    }

    /// The kind of device that its programs are compiled for; `None` where they run on every device.
    pub fn target(self) -> Option<Target> {
        match self {
            Self::Aot(target) => Some(target),
            Self::TorchScript | Self::Pt2 => None,
        }
    }

    /// How its programs' file names end.
    pub fn suffix(self) -> String {
        match self {
            Self::TorchScript => "pt".to_owned(),
            Self::Pt2 => "pt2".to_owned(),
            Self::Aot(target) => format!("aot.{}.pt2", target.name()),
        }
    }

    /// The file name of the program of that element type.
    pub fn file(self, dtype: Dtype) -> String {
        let suffix = self.suffix();
        match dtype {
            Dtype::Float32 => format!("program.{suffix}"),
            other => format!("program.{}.{suffix}", other.name()),
        }
    }

    /// The file name of the program that reads tokens after those that a cache holds.
    pub(crate) fn step(self) -> String {
        format!("program.decode.{}", self.suffix())
    }

    /// The file name of the program that comes before steps, where there is one.
    pub(crate) fn prefill(self) -> String {
        format!("program.prefill.{}", self.suffix())
    }

    /// The checks that are due on an entry's programs of this format.
    pub fn due(self, entry: &Entry) -> impl Iterator<Item = Check> {
        entry.due().filter(move |check| self.unsuited(*check).is_none())
    }

    /// Why a check makes no sense for programs of this format.
    pub fn unsuited(self, check: Check) -> Option<&'static str> {
        match (self, check) {
            (Self::Pt2, Check::Optimised) => {
                Some("libtorch's optimiser rewrites TorchScript; a pt2 graph is always run as it is written")
            }
            (Self::Aot(_), Check::Optimised) => {
                Some("libtorch's optimiser rewrites TorchScript; a package is optimised when it is compiled")
            }
            (Self::Aot(_), Check::Decodes) => Some("step programs are not compiled"),
            (Self::TorchScript | Self::Aot(_), Check::Exact) => {
                Some("only a pt2 graph can be run in another precision than it was made in")
            }
            _ => None,
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::name).join(", ");
        Self::named(name).ok_or_else(|| format!("no engine is called '{name}'; there are: {}", all()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_suits_what_is_run_as_it_is_written() {
        let suits = |format: Format| format.unsuited(Check::Decodes).is_none();
        assert_eq!(Format::ALL.map(suits), [true, true, false]);
    }
}
