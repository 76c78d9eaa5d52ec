//! A Python module of the exporter as a process: JSON in, lines of JSON out.

use super::environment::Environment;
use crate::artifact::key;
use crate::failure::{At, Failure, Stage};
use crate::process::{Process, collect, collected};
use crate::spec::Versions;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The exporter's package, unpacked, and the interpreter that runs it on one source's classes.
pub struct Python {
    interpreter: PathBuf,
    overlay: Option<PathBuf>,
    extras: Option<PathBuf>,
    package: tempfile::TempDir,
}

impl Python {
    /// Unpacks the exporter for the classes of `source`.
    ///
    /// # Errors
    /// Stage `export`: no environment, no such source, no room for the files.
    pub fn ready(versions: &Versions, source: &str) -> Result<Self, Failure> {
        let environment = Environment::ready(versions).at(Stage::Export, "the Python environment")?;
        let overlay = environment.overlay(source, versions).at(Stage::Export, source)?;
        let package = tempfile::tempdir().at(Stage::Export, "a temporary folder")?;
        key::unpack(package.path()).at(Stage::Export, "unpacking the exporter")?;
        Ok(Self { interpreter: environment.python().to_owned(), overlay, extras: None, package })
    }

    /// The same with the packages that `versions.yaml` lists under that name of its extras, where there is a name.
    ///
    /// # Errors
    /// Stage `export`: they cannot be installed.
    pub fn with_extras(self, versions: &Versions, name: Option<&str>) -> Result<Self, Failure> {
        let Some(name) = name else { return Ok(self) };
        let environment = Environment::ready(versions).at(Stage::Export, "the Python environment")?;
        let extras = environment.extras(name, versions).at(Stage::Export, name)?;
        Ok(Self { extras: Some(extras), ..self })
    }

    /// `python -m exporter.start module`, which ends with this process, to be started while this lives.
    ///
    /// # Errors
    /// Stage `export`: a path that no `PYTHONPATH` can hold.
    pub fn command(&self, module: &str) -> Result<Command, Failure> {
        // The overlay, where there is one, before the exporter; then extras, and where the user's own interpreter looks.
        let own = std::env::var_os("PYTHONPATH").unwrap_or_default();
        let folders = self.overlay.clone().into_iter().chain([self.package.path().to_owned()]);
        let folders = folders.chain(self.extras.clone());
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&own)))
            .at(Stage::Export, "PYTHONPATH")?;
        let mut command = Command::new(&self.interpreter);
        command.args(["-m", "exporter.start", module]).env("PYTHONPATH", path);
        // What inductor compiles is for this processor alone, and goes when this does.
        command.env("TORCHINDUCTOR_CACHE_DIR", self.package.path().join("inductor"));
        // Nothing is written beside the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    /// Runs `python -m module` on a request; `heard` gets every line of its standard output.
    ///
    /// # Errors
    /// Stage `export`, with the module's last words: it does not start, says what `heard` refuses, or fails.
    pub fn converse(
        &self,
        module: &str,
        request: &Value,
        mut heard: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut command = self.command(module)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command).at(Stage::Export, self.interpreter.display())?;
        let stderr = collect(process.stderr());
        if let Some(mut stdin) = process.stdin() {
            // A dead process is reported below, with its own last words.
            let _ = stdin.write_all(request.to_string().as_bytes());
        }
        for line in process.stdout().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            heard(&line.at(Stage::Export, format!("reading what {module} says"))?)?;
        }
        let status = process.wait().at(Stage::Export, format!("waiting for {module}"))?;
        let said = String::from_utf8_lossy(&collected(stderr)).into_owned();
        match status.success() {
            true => Ok(()),
            false => {
                let broken = Failure::new(Stage::Export, format!("{module} broke off ({status})"));
                Err(broken.with_end_of(&said))
            }
        }
    }
}
