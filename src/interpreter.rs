//! A Python for what needs no package: to make an environment with, or to read the exporter's own code.
//!
//! In: `HF_CONFORMANCE_PYTHON`, `.venv`, the PATH. Out: an interpreter that is recent enough.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names an interpreter to use as it is, with the packages that it has.
pub const CHOSEN: &str = "HF_CONFORMANCE_PYTHON";
/// The environment's folder, once there is one.
pub const ENVIRONMENT: &str = ".venv";
/// Oldest Python that the pinned packages support.
const OLDEST: (u32, u32) = (3, 11);

/// None was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Python {} or later found (tried {tried}); install one, or name it in {CHOSEN}", oldest())]
pub struct NoPython {
    tried: String,
}

/// The chosen interpreter, that of the environment, whatever it has, or the system's.
///
/// # Errors
/// There is none, or none that is recent enough.
pub fn plain() -> Result<PathBuf, NoPython> {
    if let Some(python) = std::env::var_os(CHOSEN) {
        return Ok(python.into());
    }
    let installed = of(Path::new(ENVIRONMENT));
    if installed.exists() { Ok(installed) } else { system().map(PathBuf::from) }
}

/// The interpreter of a virtual environment.
pub fn of(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// The first interpreter on the PATH that is recent enough.
///
/// # Errors
/// There is none.
pub fn system() -> Result<String, NoPython> {
    let candidates = ["python3", "python3.13", "python3.12", "python3.11", "python"];
    let recent = format!("import sys; sys.exit(sys.version_info < {OLDEST:?})");
    let works = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", &recent]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let found = candidates.iter().find(|python| works(python));
    found.map(|python| (*python).to_owned()).ok_or_else(|| NoPython { tried: candidates.join(", ") })
}

/// The oldest version that will do: `3.11`.
pub fn oldest() -> String {
    format!("{}.{}", OLDEST.0, OLDEST.1)
}
