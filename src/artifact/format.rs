//! What programs are written in.

use crate::spec::Check;
use crate::task::Dtype;

/// What a program is written in, which is what its engine reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What `torch.jit.save` writes; every artifact has it.
    #[default]
    TorchScript,
    /// What `torch.export.save` writes; made where it is asked for.
    Pt2,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::TorchScript, Self::Pt2];

    /// The name of its engine: in results, and for `--engine`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchScript => "torchscript",
            Self::Pt2 => "pt2",
        }
    }

    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The file name of the program of that element type.
    pub fn file(self, dtype: Dtype) -> String {
        let suffix = match self {
            Self::TorchScript => "pt",
            Self::Pt2 => "pt2",
        };
        match dtype {
            Dtype::Float32 => format!("program.{suffix}"),
            other => format!("program.{}.{suffix}", other.name()),
        }
    }

    /// Why a check makes no sense for programs of this format.
    pub fn unsuited(self, check: Check) -> Option<&'static str> {
        match (self, check) {
            (Self::Pt2, Check::Optimised) => {
                Some("libtorch's optimiser rewrites TorchScript; a pt2 graph is always run as it is written")
            }
            (Self::Pt2, Check::Decodes) => Some("step programs are exported as TorchScript alone"),
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
