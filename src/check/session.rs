//! Loaded models, shared by the checks of one process.
//!
//! Generated tests run side by side, a dozen per model: each model is loaded once and dropped when the
//! tests have moved on, so that hundreds of models fit in memory.

use super::CheckContext;
use crate::artifact::{self, Artifact, Format, Lane};
use crate::engine::{self, Engine, Program};
use crate::failure::{Failure, Stage};
use crate::model::ModelSpec;
use crate::task::{Contract, Dtype};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How many models stay loaded: more than the threads of a test run ever touch at once.
const KEPT: usize = 8;

/// An artifact and its program on a device.
pub struct Session<'e> {
    pub artifact: Artifact,
    pub program: Box<dyn Program>,
    pub(super) engine: &'e dyn Engine,
}

/// What all checks of a process share.
pub struct Settings {
    pub engine: &'static dyn Engine,
    pub lane: Lane,
    /// The folder of artifacts.
    pub artifacts: PathBuf,
}

impl Settings {
    /// `HF_CONFORMANCE_ENGINE` (default `torchscript`), `HF_CONFORMANCE_DEVICE` (default `auto`), `HF_CONFORMANCE_HALF`
    /// (default `bfloat16`) and `HF_CONFORMANCE_ARTIFACTS`, read once; `None` in a build without a real engine.
    ///
    /// # Errors
    /// Stage `load` when there is no such engine, stage `move` when the device is not there.
    pub fn of_process() -> &'static Result<Option<Settings>, Failure> {
        static SETTINGS: OnceLock<Result<Option<Settings>, Failure>> = OnceLock::new();
        SETTINGS.get_or_init(|| {
            let format = format_of_process()?;
            if engine::of(format).is_none() {
                return Ok(None);
            }
            let asked = std::env::var("HF_CONFORMANCE_DEVICE").unwrap_or_else(|_| "auto".to_owned());
            let (device, _) = engine::choose(&asked)?;
            let half = half_of_process()?;
            let lane = Lane::new(format, device).with_half(half);
            let lane = lane.map_err(|error| Failure::new(Stage::Load, error))?;
            let Some(engine) = engine::of(lane.format) else { return Ok(None) };
            Ok(Some(Self { engine, lane, artifacts: artifact::root() }))
        })
    }
}

/// The format that `HF_CONFORMANCE_ENGINE` names.
fn format_of_process() -> Result<Format, Failure> {
    match std::env::var("HF_CONFORMANCE_ENGINE") {
        Ok(name) => name.parse().map_err(|error: String| Failure::new(Stage::Load, error)),
        Err(_) => Ok(Format::default()),
    }
}

/// The half precision that `HF_CONFORMANCE_HALF` names.
fn half_of_process() -> Result<Dtype, Failure> {
    let Ok(name) = std::env::var("HF_CONFORMANCE_HALF") else { return Ok(Dtype::Bfloat16) };
    artifact::half(&name).map_err(|error| Failure::new(Stage::Load, error))
}

impl<'e> Session<'e> {
    /// Opens the artifact in `folder` and loads its program.
    ///
    /// # Errors
    /// Stages `export`, `load` and `move`.
    pub fn open(
        folder: &Path,
        model: &ModelSpec,
        engine: &'e dyn Engine,
        lane: Lane,
    ) -> Result<Self, Failure> {
        let artifact = Artifact::open(folder, model, lane)?;
        let program = engine.load(&artifact.program(Dtype::Float32), lane.device)?;
        Ok(Self { artifact, program, engine })
    }

    /// The model, ready to be checked.
    pub fn context<'a>(&'a self, model: &'a ModelSpec<'a>, contract: &'a Contract) -> CheckContext<'a> {
        CheckContext::new(model, contract, &self.artifact, self.program.as_ref(), self.engine)
    }
}

impl Session<'static> {
    /// What `model` is when it is loaded; loads it if no check of this process has it open.
    pub fn cached(model: &ModelSpec<'static>, settings: &'static Settings) -> Result<Arc<Self>, Failure> {
        type Slot = Arc<OnceLock<Result<Arc<Session<'static>>, Failure>>>;
        static OPEN: Mutex<Vec<(&str, Slot)>> = Mutex::new(Vec::new());
        let slot = {
            let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = match open.iter().position(|(name, _)| *name == model.name) {
                Some(place) => open.remove(place).1,
                None => Slot::default(),
            };
            open.push((model.name, slot.clone()));
            if open.len() > KEPT {
                open.remove(0);
            }
            slot
        };
        // Outside the lock: loading one model does not hold up the tests of another.
        let opened = slot.get_or_init(|| {
            Self::open(&settings.artifacts.join(model.name), model, settings.engine, settings.lane)
                .map(Arc::new)
        });
        opened.clone()
    }
}
