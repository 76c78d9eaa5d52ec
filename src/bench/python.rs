//! The Python side: one process that answers a request a line.
//!
//! In: a ready environment. Out: times and memory of eager and compiled models, as `exporter/bench.py` measures them.

use super::{Pick, to_json};
use crate::artifact::key;
use crate::device::Device;
use crate::export;
use crate::failure::{At, Failure, Stage};
use crate::process::Process;
use crate::report::speed::Side;
use crate::spec::{Entry, Source, Versions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};

/// A running process; it ends when this is dropped.
pub struct EagerProcess {
    child: Process,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    /// Where the process finds classes.
    source: Option<Source>,
    /// Holds the package while the process runs.
    _python: export::Python,
}

impl EagerProcess {
    /// Starts a process that finds the classes of `source`.
    ///
    /// # Errors
    /// Stage `export`: no Python environment, or it does not start.
    pub fn start(source: &str, versions: &Versions) -> Result<Self, Failure> {
        let python = export::Python::ready(versions, source)?;
        let mut command = python.command("exporter.bench")?;
        command.env("NVIDIA_TF32_OVERRIDE", "0").stdin(Stdio::piped()).stdout(Stdio::piped());
        // Warnings of models: thousands of lines that say nothing about speed.
        let child = Process::spawn(command.stderr(Stdio::null()));
        let mut child = child.at(Stage::Export, "exporter.bench")?;
        let (Some(requests), Some(replies)) = (child.stdin(), child.stdout()) else {
            return Err(Failure::new(Stage::Export, "Python has no pipes"));
        };
        let source = versions.sources.get(source).cloned();
        Ok(Self {
            child,
            requests: Some(requests),
            replies: BufReader::new(replies),
            source,
            _python: python,
        })
    }

    /// Makes the entry's model and runs it once, so many threads sharing an operator from now on.
    pub(super) fn load(&mut self, entry: &Entry, device: Device, threads: usize) -> Result<Side, Failure> {
        let job = job(entry, self.source.as_ref())?;
        let device = device.to_string();
        self.ask(&json!({"command": "load", "job": job, "device": device, "threads": threads}))
    }

    /// Milliseconds of `count` forwards on the picked rows, of the eager model or of the compiled one.
    pub(super) fn time(&mut self, picks: &[Pick], count: usize, compiled: bool) -> Result<Vec<f64>, Failure> {
        let request =
            json!({"command": "time", "select": to_json(picks), "count": count, "compiled": compiled});
        let times: Times = self.ask(&request)?;
        Ok(times.seconds.into_iter().map(|seconds| seconds * 1e3).collect())
    }

    /// Milliseconds of `count` times greedy decoding by the library, with its default cache, and the tokens that it wrote.
    pub(super) fn generate(
        &mut self,
        prompts: &[Vec<i64>],
        new: usize,
        attention: &str,
        count: usize,
    ) -> Result<(Vec<f64>, Vec<Vec<i64>>), Failure> {
        let request = json!({
            "command": "generate", "prompts": prompts, "new": new, "attention": attention, "count": count,
        });
        let written: Written = self.ask(&request)?;
        Ok((written.seconds.into_iter().map(|seconds| seconds * 1e3).collect(), written.tokens))
    }

    /// How far the process's memory, and the GPU's, rose since the model was loaded.
    pub(super) fn peak(&mut self) -> Result<Peak, Failure> {
        self.ask(&json!({"command": "peak"}))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T, Failure> {
        let doing = "asking Python";
        if let Some(requests) = &mut self.requests {
            writeln!(requests, "{request}").at(Stage::Run, doing)?;
        }
        let mut line = String::new();
        if self.replies.read_line(&mut line).at(Stage::Run, doing)? == 0 {
            return Err(Failure::new(Stage::Run, "the Python process is gone"));
        }
        let reply: Value = serde_json::from_str(&line).at(Stage::Run, doing)?;
        match reply["error"].as_str() {
            Some(error) => Err(Failure::new(Stage::Run, format!("Python: {error}"))),
            None => serde_json::from_value(reply).at(Stage::Run, doing),
        }
    }
}

/// An entry as the exporter reads it, for what makes no artifact of it.
pub(super) fn job(entry: &Entry, source: Option<&Source>) -> Result<Value, Failure> {
    let mut job = serde_json::to_value(entry.job()).at(Stage::Export, &entry.name)?;
    let others = [
        ("source", json!(source)),
        ("rule", key::rule()),
        ("key", json!("")),
        ("code", json!({})),
        ("directory", json!("")),
        ("fault", Value::Null),
    ];
    for (name, value) in others {
        job[name] = value;
    }
    Ok(job)
}

impl Drop for EagerProcess {
    fn drop(&mut self) {
        // The end of its input ends the process.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

#[derive(serde::Deserialize)]
struct Times {
    seconds: Vec<f64>,
}

#[derive(serde::Deserialize)]
struct Written {
    seconds: Vec<f64>,
    tokens: Vec<Vec<i64>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Peak {
    pub peak_mib: Option<f64>,
    pub peak_gpu_mib: Option<f64>,
}
