//! What is put beside an artifact that is there, where it is asked for, each with a list of its own files.

use super::{Format, Target};

/// Files that an artifact may have beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Programs of another format than TorchScript.
    Programs(Format),
    /// What eager computes in half precision on another kind of device than the CPU: `halves.cuda.safetensors`.
    Halves(Target),
}

impl Beside {
    /// What checks need on a device beside the artifact, in the order in which it is made.
    pub fn needed(format: Format, target: Target) -> Vec<Self> {
        let programs = (format != Format::TorchScript).then_some(Self::Programs(format));
        let halves = (target != Target::Cpu).then_some(Self::Halves(target));
        programs.into_iter().chain(halves).collect()
    }

    /// The kind of device that it is made on; `None` where that does not matter.
    pub fn target(self) -> Option<Target> {
        match self {
            Self::Programs(format) => format.target(),
            Self::Halves(target) => Some(target),
        }
    }

    /// The format whose programs it is, or is for.
    pub fn format(self) -> Format {
        match self {
            Self::Programs(format) => format,
            Self::Halves(_) => Format::TorchScript,
        }
    }

    /// The file that lists it.
    pub fn list(self) -> String {
        match self {
            Self::Programs(format) => format!("{}.json", format.suffix()),
            Self::Halves(target) => format!("halves.{}.json", target.name()),
        }
    }
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Programs(format) => write!(f, "{} programs", format.name())?,
            Self::Halves(_) => f.write_str("half precision references")?,
        }
        self.target().map_or(Ok(()), |target| write!(f, " for {}", target.name()))
    }
}
