//! AOTInductor: programs compiled to machine code, which is what people deploy.
//!
//! In: a package of `torch._inductor.aoti_compile_and_package`. Out: a program on the kind of device that it was compiled for,
//! run by libtorch's own loader through `shim`. What it was compiled for is read before its code is opened: code for another
//! processor would not fail, but end the process.
//!
//! inductor leaves out weights that nothing reads, and gives a tied one the name under which it is read. The exporter writes
//! down in the package which is which (`exporter/aot.py`): in a package made by others, weights have no names here.

mod shim;
#[cfg(test)]
mod tests;

use super::libtorch::{Computing, all_to_device, bytes, once, open_whole, shape, times, to_host, to_tch};
use super::{Engine, Program};
use crate::artifact::{Format, Target};
use crate::device::Device;
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shim::Package;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// libtorch's loader of packages for one kind of device.
pub struct Aot(pub Target);

impl Engine for Aot {
    fn format(&self) -> Format {
        Format::Aot(self.0)
    }

    fn load(&self, path: &Path, device: Device) -> Result<Box<dyn Program>, Failure> {
        let shown = path.display();
        let facts = shim::metadata(path).at(Stage::Load, &shown)?;
        fits(&facts, path, device)?;
        let weights = match facts.get("weights") {
            Some(json) => serde_json::from_str(json).at(Stage::Load, format!("{shown}: its weights"))?,
            None => BTreeMap::new(),
        };
        open_whole().at(Stage::Load, &shown)?;
        let index = if let Device::Cuda(index) = device { Some(index) } else { None };
        let package = Package::open(path, index).at(Stage::Load, &shown)?;
        Ok(Box::new(Loaded { package, path: path.to_owned(), weights, device: to_tch(device) }))
    }
}

/// An open package on a device.
struct Loaded {
    package: Package,
    /// The file that it was opened from.
    path: PathBuf,
    /// By their names in the model.
    weights: BTreeMap<String, Weight>,
    device: tch::Device,
}

/// What the exporter wrote down of a parameter or buffer.
#[derive(Deserialize)]
struct Weight {
    is_parameter: bool,
    shape: Vec<usize>,
    /// Its name in the package; `None` where nothing reads it, so that the package does not have it.
    constant: Option<String>,
    /// Of eager's; the package's own is computed from what is in it.
    sha256: String,
}

/// Whether a package was compiled for this device and this processor.
fn fits(facts: &BTreeMap<String, String>, path: &Path, device: Device) -> Result<(), Failure> {
    let wrong = |why: String| Failure::new(Stage::Load, format!("{} {why}", path.display()));
    // An artifact's folder has the name of its model.
    let model = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let (wanted, made) = (Target::from(device).name(), facts.get("AOTI_DEVICE_KEY").map(String::as_str));
    if made != Some(wanted) {
        let made = made.unwrap_or("no device that it names");
        let again = format!("compile it for that: just export {model} --engine aot --device {wanted}");
        return Err(wrong(format!("was compiled for {made}, not for {wanted}")).with(again));
    }
    let lacking = lacking(facts.get("processor").map_or("", String::as_str), &processor());
    match lacking.is_empty() {
        true => Ok(()),
        false => {
            let again =
                format!("compile it here: just export {model} --engine aot --device {wanted} --force");
            let why =
                format!("was compiled on a processor that has {}; this one does not", lacking.join(", "));
            Err(wrong(why).with(again))
        }
    }
}

/// What a package's processor can do and this one cannot. Where Linux lists nothing, nothing is known of either.
fn lacking<'a>(made_on: &'a str, here: &str) -> Vec<&'a str> {
    let here: Vec<&str> = here.split_whitespace().collect();
    made_on.split_whitespace().filter(|feature| !here.is_empty() && !here.contains(feature)).collect()
}

/// What this processor can do, as Linux lists it.
fn processor() -> String {
    let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = listed.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"));
    line.and_then(|line| line.split_once(':')).map(|(_, words)| words.to_owned()).unwrap_or_default()
}

impl Loaded {
    fn forward(&self, inputs: &[tch::Tensor]) -> Result<Vec<tch::Tensor>, Failure> {
        self.package.run(inputs).at(Stage::Run, "the program failed")
    }

    /// What is known of a parameter or buffer.
    fn weight(&self, name: &str) -> Result<&Weight, Failure> {
        let none = || Failure::new(Stage::Load, format!("the program has no parameter or buffer '{name}'"));
        self.weights.get(name).ok_or_else(none)
    }

    /// A weight's name in the package, and its numbers there.
    fn held(&self, name: &str) -> Result<(&str, tch::Tensor), Failure> {
        let none = || Failure::new(Stage::Load, format!("nothing in the program reads '{name}'"));
        let constant = self.weight(name)?.constant.as_deref().ok_or_else(none)?;
        let tensor = self.all()?.remove(constant);
        tensor.map(|tensor| (constant, tensor)).ok_or_else(|| missing(constant))
    }

    /// All weights by their names in the package.
    fn all(&self) -> Result<BTreeMap<String, tch::Tensor>, Failure> {
        self.package.weights().at(Stage::Load, "listing weights")
    }
}

fn missing(constant: &str) -> Failure {
    Failure::new(Stage::Load, format!("the package has no weight '{constant}'"))
}

impl Program for Loaded {
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        once(Computing::begin(), self.device, inputs, |inputs| self.forward(inputs))
    }

    fn time(&self, inputs: &[Tensor], count: usize) -> Result<Vec<Duration>, Failure> {
        let _computing = Computing::begin();
        let inputs = all_to_device(inputs, self.device)?;
        times(self.device, count, || self.forward(&inputs), |outputs| outputs.first())
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<usize>)>, Failure> {
        let all = self.all()?;
        let parameters = self.weights.iter().filter(|(_, weight)| weight.is_parameter);
        let shaped = parameters.map(|(name, weight)| match &weight.constant {
            Some(constant) => {
                all.get(constant).map(|tensor| (name.clone(), shape(tensor))).ok_or_else(|| missing(constant))
            }
            None => Ok((name.clone(), weight.shape.clone())),
        });
        shaped.collect()
    }

    fn digests(&self, names: &[String]) -> Result<BTreeMap<String, String>, Failure> {
        let all = self.all()?;
        let digest = |name: &String| {
            let weight = self.weight(name)?;
            let Some(constant) = &weight.constant else { return Ok((name.clone(), weight.sha256.clone())) };
            let tensor = all.get(constant).ok_or_else(|| missing(constant))?;
            let bytes = bytes(tensor).at(Stage::Load, format!("reading {name}"))?;
            Ok((name.clone(), format!("{:x}", Sha256::digest(bytes))))
        };
        names.iter().map(digest).collect()
    }

    fn save(&self, path: &Path) -> Result<(), Failure> {
        std::fs::copy(&self.path, path).map(drop).at(Stage::Load, format!("saving {}", path.display()))
    }

    fn parameter(&self, name: &str) -> Result<Tensor, Failure> {
        to_host(&self.held(name)?.1)
    }

    fn perturb(&self, parameter: &str, element: usize, delta: f64) -> Result<(), Failure> {
        let _guard = tch::no_grad_guard();
        let changing = || format!("changing {parameter}[{element}]");
        let (constant, tensor) = self.held(parameter)?;
        let changed = || {
            let mut copy = tensor.f_empty_like()?;
            copy.f_copy_(&tensor)?;
            copy.f_view([-1])?.f_get(element as i64)?.f_add_scalar_(delta).map(|_| copy)
        };
        let changed = changed().at(Stage::Load, changing())?;
        self.package.replace(constant, &changed).at(Stage::Load, changing())
    }
}
