//! What runs programs under the version that is tried.

use super::super::{failed, progress, progress::bar};
use super::PACKAGE;
use anyhow::Result;
use hf_conformance::artifact::{Format, Lane};
use hf_conformance::device::Device;
use hf_conformance::export::InPython;
use hf_conformance::export::built::{BuildError, Built, Torch};
use hf_conformance::export::environment::{Environment, TORCH};
use hf_conformance::runner::{Asked, BrokeOff, TestRun, carry_out, worker};
use hf_conformance::spec::{Check, Versions};
use std::path::Path;

/// What runs programs: only another torch needs other hands than ours.
pub(super) enum Hands {
    /// This program.
    Own,
    /// This program, built against that torch.
    Built { built: Built, tch: String },
    /// That torch in Python, and why nothing else.
    InPython(BuildError),
}

impl Hands {
    /// What runs programs under the torch of an overlay: this program built against it below `folder`, where a tch is known
    /// for it and compiles.
    ///
    /// # Errors
    /// The overlay cannot be installed.
    pub fn of_torch(versions: &Versions, folder: &Path) -> Result<Self> {
        let environment = Environment::ready(versions)?;
        let overlay = environment.overlay(PACKAGE, versions)?.unwrap_or_default();
        let version = version(versions);
        let known = || versions.tch.keys().cloned().collect();
        let Some(tch) = versions.tch_of(version) else {
            return Ok(Self::InPython(BuildError::NoTch { torch: version.to_owned(), known: known() }));
        };
        let (version, tch) = (version.to_owned(), tch.to_owned());
        let torch = Torch { version, tch: tch.clone(), package: overlay.join(TORCH) };
        let spinner = progress::spinner(&format!("building with tch {tch} and torch {}", torch.version));
        let built = Built::make(&torch, folder, &environment);
        spinner.finish_and_clear();
        match built {
            Ok(built) => Ok(Self::Built { built, tch }),
            Err(failed @ BuildError::Cargo { .. }) => Ok(Self::InPython(failed)),
            Err(error) => Err(error.into()),
        }
    }

    /// The lanes on a device: another torch is another engine for programs of both formats.
    pub fn lanes(&self, device: Device) -> Vec<Lane> {
        let formats: &[Format] = match self {
            Self::Own => &[Format::TorchScript],
            Self::Built { .. } | Self::InPython(_) => &[Format::TorchScript, Format::Pt2],
        };
        let device = if let Self::InPython(_) = self { Device::Cpu } else { device };
        formats.iter().map(|format| Lane::new(*format, device)).collect()
    }

    /// The checks that they can carry out: in Python, those that only run the program.
    pub fn checks(&self) -> Vec<Check> {
        match self {
            Self::InPython(_) => vec![Check::MatchesReference, Check::Generalises],
            Self::Own | Self::Built { .. } => Check::ALL.to_vec(),
        }
    }

    /// Puts the models of a run to their checks; what broke off without any of them being to blame.
    pub fn carry_out(&self, run: &mut TestRun, limits: &Asked) -> Result<Vec<BrokeOff>> {
        let bar = bar("checking", run.planned.len());
        let over = |checks| bar.inc(checks as u64);
        let broken = match self {
            Self::Own => carry_out(run, &worker::start, limits, &over)?,
            Self::Built { built, .. } => {
                let start: hf_conformance::runner::Start = &|run, items, alone, journal| {
                    let mut command = built.command();
                    command.arg(worker::COMMAND);
                    worker::start_as(command, run, items, alone, journal)
                };
                carry_out(run, start, limits, &over)?
            }
            Self::InPython(_) => {
                let python = InPython::ready(&run.spec.versions, PACKAGE, run.lane.format);
                worker::here(run, &python.map_err(|failure| failed(&failure))?, &over)?;
                Vec::new()
            }
        };
        bar.finish_and_clear();
        Ok(broken)
    }

    /// In a sentence, where they are not this program's.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Built { tch, .. } => {
                Some(format!("Its programs ran in this project, built with tch {tch}."))
            }
            Self::InPython(why) => Some(format!(
                "Its programs ran in Python alone (matches_reference, generalises), on no engine of this project: {why}."
            )),
        }
    }

    /// Whether this project cannot be built where it should be.
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::InPython(BuildError::Cargo { .. }))
    }
}

/// The torch of the overlay.
fn version(versions: &Versions) -> &str {
    super::version_of(versions, TORCH)
}
