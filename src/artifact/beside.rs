//! What is put beside an artifact that is there, where it is asked for, each with a list of its own files.

use super::{Format, Target};
use crate::task::Dtype;
use crate::typed::Typed;

/// Files that an artifact may have beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Programs of another format than TorchScript.
    Programs(Format),
    /// What eager computes in a half precision on a kind of device, and the TorchScript program where an artifact has none.
    Half(Target, Dtype),
}

impl Beside {
    /// The kind of device that it is made on; `None` where that does not matter.
    pub fn target(self) -> Option<Target> {
        match self {
            Self::Programs(format) => format.target(),
            Self::Half(target, _) => Some(target),
        }
    }

    /// The format whose programs it is, or is for.
    pub fn format(self) -> Format {
        match self {
            Self::Programs(format) => format,
            Self::Half(..) => Format::TorchScript,
        }
    }

    /// The half precision that it is in, where it is not bfloat16.
    pub fn half(self) -> Option<&'static str> {
        match self {
            Self::Half(_, dtype) if dtype != Dtype::Bfloat16 => Some(dtype.name()),
            _ => None,
        }
    }

    /// A command that makes it: `--device` too, where it is for a kind of device.
    pub fn made_by(self, command: Typed) -> Typed {
        let command = command.option("--engine", self.format().option());
        command.option("--device", self.target().map(Target::name)).option("--half", self.half())
    }

    /// The file that lists it.
    pub fn list(self) -> String {
        format!("{}.json", self.stem())
    }

    /// The file of the TorchScript program in a precision of which artifacts have none.
    pub fn program(self) -> String {
        format!("{}.pt", self.stem())
    }

    fn stem(self) -> String {
        match self {
            Self::Programs(format) => format.suffix(),
            Self::Half(target, dtype) => format!("half.{}.{}", target.name(), dtype.name()),
        }
    }
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Programs(format) => write!(f, "{} programs", format.name())?,
            Self::Half(_, dtype) => write!(f, "{} references", dtype.name())?,
        }
        self.target().map_or(Ok(()), |target| write!(f, " for {}", target.name()))
    }
}
