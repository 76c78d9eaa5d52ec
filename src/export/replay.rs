//! Python's libtorch as an engine: what it computes with the same program tells an engine's fault from an artifact's.
//!
//! In: `program.pt` or `program.pt2`, and inputs. Out: what `torch.jit.load` or `torch.export.load` and a call return, one
//! process a run.

use super::python::Python;
use crate::artifact::{self, Format};
use crate::device::Device;
use crate::engine::{Engine, Program};
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use crate::process;
use crate::spec::Versions;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `torch.jit`, or `torch.export`, in the project's Python environment.
pub struct InPython {
    python: Arc<Python>,
    format: Format,
}

struct Replayed {
    python: Arc<Python>,
    path: PathBuf,
}

impl InPython {
    /// The environment with the packages of `source`, for programs of a format.
    ///
    /// # Errors
    /// Stage `export`: no environment, no such source. Stage `load`: packages of AOTInductor are not run there.
    pub fn ready(versions: &Versions, source: &str, format: Format) -> Result<Self, Failure> {
        if let Format::Aot(_) = format {
            return Err(Failure::new(Stage::Load, "packages of AOTInductor are not replayed in Python"));
        }
        Ok(Self { python: Arc::new(Python::ready(versions, source)?), format })
    }
}

impl Engine for InPython {
    fn name(&self) -> &'static str {
        "python"
    }

    fn format(&self) -> Format {
        self.format
    }

    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        if device != Device::Cpu {
            return Err(Failure::new(
                Stage::Move,
                format!("programs are replayed on the cpu, not on {device}"),
            ));
        }
        Ok(Box::new(Replayed { python: self.python.clone(), path: path.to_owned() }))
    }
}

impl Program for Replayed {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let scratch = tempfile::tempdir().at(Stage::Run, "making a folder for tensors")?;
        let [given, returned] = ["inputs", "outputs"].map(|name| scratch.path().join(name));
        let named = inputs.iter().enumerate().map(|(place, input)| (place.to_string(), input));
        artifact::save_tensors(named, &given)?;
        let mut command = self.python.command("exporter.replay")?;
        let ended = process::output(command.args([&self.path, &given, &returned]))
            .at(Stage::Run, "starting Python")?;
        if !ended.status.success() {
            let failure = Failure::new(Stage::Run, format!("Python ended with {}", ended.status));
            return Err(failure.with_end_of(&String::from_utf8_lossy(&ended.stderr)));
        }
        let mut outputs = artifact::tensors(&returned)?;
        let in_order = (0..outputs.len()).map(|place| {
            let missing = || Failure::new(Stage::Run, format!("Python wrote no output {place}"));
            outputs.remove(&place.to_string()).ok_or_else(missing)
        });
        in_order.collect()
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        Err(only_runs())
    }

    fn digests(&self, _: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        Err(only_runs())
    }

    fn save(&self, _: &Path) -> Result<(), Failure> {
        Err(only_runs())
    }

    fn parameter(&self, _: &str) -> Result<Tensor, Failure> {
        Err(only_runs())
    }

    fn perturb(&self, _: &str, _: usize, _: f64) -> Result<(), Failure> {
        Err(only_runs())
    }
}

fn only_runs() -> Failure {
    Failure::new(Stage::Run, "a replayed program can only be run")
}
