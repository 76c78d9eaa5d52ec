//! Puts a checkpoint to its checks: by the runner that tests use, in children that know the entry.

use super::found::Found;
use super::subject::{Subject, patience};
use crate::artifact::{self, Format, Lane};
use crate::device::Device;
use crate::export::{self, Anew, Certified, ExportPlan, Exported, Order, Progress, Weights};
use crate::failure::{At, Failure, Stage};
use crate::report::journal::{Item, Journal};
use crate::runner::{Asked, BrokeOff, Ended, TestRun, carry_out, installed, worker};
use crate::spec::{Check, Entry};
use crate::task::Dtype;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a proof needs beside its subject.
pub struct Setting<'a> {
    pub device: Device,
    /// The half precision that is asked for; bfloat16 is proved where none is.
    pub half: Option<Dtype>,
    pub asked: Asked,
    /// The command that serves checks of this very subject.
    pub child: &'a dyn Fn() -> Command,
    /// Hears of the export.
    pub progress: &'a dyn Progress,
    /// Hears that checks begin.
    pub checking: &'a dyn Fn(),
    /// Hears how many checks are over.
    pub over: &'a dyn Fn(usize),
    /// Where the results go.
    pub store: &'a Path,
}

/// What to export of a checkpoint.
pub fn order<'a>(subject: &'a Subject, found: &Found) -> Order<'a> {
    let certified = Certified {
        cases: subject.cases.clone(),
        embedding: found.embedding.clone(),
        timeout_seconds: patience(found.parameters),
        reference: subject.reference,
    };
    let weights = Weights {
        checkpoint: found.folder.to_string_lossy().into_owned(),
        sizes: std::collections::BTreeMap::new(),
        certified: Some(certified),
    };
    Order { weights: Some(weights), ..Order::plain(subject.entry()) }
}

/// Where the artifact of a checkpoint is.
pub fn artifact_of(subject: &Subject, found: &Found) -> PathBuf {
    order(subject, found).folder(&artifact::root())
}

/// Exports the checkpoint and puts it to all checks that are due; what they came to is in the run that has ended.
///
/// # Errors
/// Stage `export`: no memory for it, or the exporter failed. Stage `run`: results cannot be written.
pub fn prove<'a>(
    subject: &'a Subject,
    found: &Found,
    setting: &Setting,
) -> Result<(Ended<'a>, Vec<BrokeOff>), Failure> {
    room(found.parameters, subject.memory, installed())?;
    let lane = lane(subject.entry(), setting)?;
    let order = order(subject, found);
    let folder = order.folder(&artifact::root());
    let plan = ExportPlan {
        spec: &subject.spec,
        orders: vec![order],
        lane,
        anew: Anew::All,
        root: artifact::root(),
    };
    let exported = export::export(&plan, setting.progress)?;
    if let Some(Exported { outcome: Err(failure), .. }) = exported.first() {
        return Err(failure.clone());
    }
    (setting.checking)();
    let beside = folder.parent().unwrap_or(Path::new("."));
    let mut run = TestRun::begin(
        &subject.spec,
        vec![subject.entry()],
        Check::ALL.to_vec(),
        lane,
        beside.to_owned(),
        setting.store.to_owned(),
    );
    let start = |run: &TestRun, items: &[Item], alone: bool, journal: &Journal| {
        worker::start_as((setting.child)(), run, items, alone, journal)
    };
    let broken = carry_out(&mut run, &start, &setting.asked, setting.over).at(Stage::Run, "the checks")?;
    let why = broken.first().map(|broken| broken.why.as_str());
    Ok((run.end(why).at(Stage::Run, "the results")?, broken))
}

/// How the programs are run.
fn lane(entry: &Entry, setting: &Setting) -> Result<Lane, Failure> {
    let lane = Lane::new(Format::TorchScript, setting.device);
    let Some(half) = setting.half else { return Ok(lane) };
    match Check::Half.omitted(entry) {
        Some(why) => Err(Failure::new(Stage::Spec, format!("nothing is proved in {}: {why}", half.name()))
            .with("certify it in float32: leave out --dtype")),
        None => Ok(Lane { half, ..lane }),
    }
}

/// Whether there is memory for so many parameters, which take so many bytes.
fn room(parameters: u64, needed: u64, installed: u64) -> Result<(), Failure> {
    let gib = |bytes: u64| bytes.div_ceil(1 << 30);
    match needed <= installed {
        true => Ok(()),
        false => Err(Failure::new(
            Stage::Export,
            format!(
                "{parameters} parameters take about {} GiB to prove, float64 a weight at a time; this machine has {}",
                gib(needed),
                gib(installed)
            ),
        )
        .with("certify it on a machine with more memory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_does_not_fit_is_refused_before_it_is_loaded_for_the_proof() {
        assert!(room(22_000_000, 3 << 30, 8 << 30).is_ok());
        let failure = room(8_000_000_000, 166 << 30, 24 << 30).unwrap_err();
        assert_eq!(
            failure.message,
            "8000000000 parameters take about 166 GiB to prove, float64 a weight at a time; this machine has 24"
        );
    }
}
