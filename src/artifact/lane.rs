//! How programs are run.

use super::{Beside, Format, Target};
use crate::device::Device;
use crate::task::Dtype;

/// What programs are read from, where they run, and in which half precision where a check asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub format: Format,
    pub device: Device,
    /// `bfloat16` or `float16`.
    pub half: Dtype,
}

impl Lane {
    /// The lane of a format on a device, with bfloat16, of which every artifact has a program.
    pub fn new(format: Format, device: Device) -> Self {
        Self { format: format.on(device), device, half: Dtype::Bfloat16 }
    }

    /// The same lane in another half precision.
    ///
    /// # Errors
    /// No programs of the format are made in it.
    pub fn with_half(self, half: Dtype) -> Result<Self, String> {
        if half == Dtype::Float16 && self.format != Format::TorchScript {
            let engine = self.format.name();
            return Err(format!(
                "no float16 programs are made for the engine {engine}: leave out --half or --engine"
            ));
        }
        Ok(Self { half, ..self })
    }

    /// What is known of a half precision on its kind of device.
    pub fn beside(self, half: Dtype) -> Beside {
        Beside::Half(self.device.into(), half)
    }

    /// The same of its own half precision, where that is not in every artifact: what eager computes in bfloat16 on a
    /// processor is.
    pub fn half_beside(self) -> Option<Beside> {
        let half = self.beside(self.half);
        (half != Beside::Half(Target::Cpu, Dtype::Bfloat16)).then_some(half)
    }

    /// What its checks need beside an artifact, in the order in which it is made.
    pub fn needed(self) -> Vec<Beside> {
        let programs = (self.format != Format::TorchScript).then_some(Beside::Programs(self.format));
        programs.into_iter().chain(self.half_beside()).collect()
    }
}

/// The half precision of that name.
///
/// # Errors
/// There is none.
pub fn half(name: &str) -> Result<Dtype, String> {
    let found = Dtype::named(name).filter(|dtype| matches!(dtype, Dtype::Bfloat16 | Dtype::Float16));
    found.ok_or_else(|| format!("'{name}' is no half precision; there are: bfloat16, float16"))
}

impl Default for Lane {
    fn default() -> Self {
        Self::new(Format::default(), Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float16_is_for_torchscript_alone() {
        let lane = |format| Lane::new(format, Device::Cpu).with_half(Dtype::Float16);
        assert_eq!(lane(Format::TorchScript).unwrap().half, Dtype::Float16);
        let why = lane(Format::Pt2).unwrap_err();
        assert_eq!(why, "no float16 programs are made for the engine pt2: leave out --half or --engine");
        assert!(Lane::new(Format::Pt2, Device::Cpu).with_half(Dtype::Bfloat16).is_ok());
    }
}
