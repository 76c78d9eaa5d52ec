//! What a model computes otherwise under another version of its package.
//!
//! In: the artifact made under the pins, and the one made under the other version, of one entry. Out: the output that
//! is furthest from what it was, where inputs and weights are the same to the last bit; and the line from which the
//! class's file differs. Checks hold a program to the eager Python of its own version: they cannot see this.

use crate::artifact::{self, Manifest};
use crate::failure::Failure;
use crate::numerics::Tensor;
use crate::numerics::rule::{Reference, Tolerance, judge};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

type Tensors = BTreeMap<String, Tensor>;

/// How far float64 outputs of one computation may be from each other, as a share of their size: another order of sums.
const SAME: Tolerance = Tolerance { k: 0.0, floor: 1e-9, soundness: f64::INFINITY };

/// An output that is another than it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    pub output: String,
    pub case: String,
    /// The size of the difference as a share of what it was.
    pub share: f64,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { output, case, share } = self;
        write!(f, "{output} ({case}) is another by {share:.1e} of its size, at the same inputs and weights")
    }
}

/// What two artifacts of one entry say of each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    Same,
    Moved(Moved),
    /// Inputs or weights are others: their outputs say nothing of the class.
    Incomparable,
}

/// Holds float64 outputs under the other version to those under the pins.
///
/// # Errors
/// Stage `load`: an artifact that cannot be read.
pub fn outputs(pinned: &Path, tried: &Path) -> Result<Outputs, Failure> {
    let (Some(old), Some(new)) = (artifact::manifest(pinned)?, artifact::manifest(tried)?) else {
        return Ok(Outputs::Incomparable);
    };
    if old.digests != new.digests || old.outputs != new.outputs || old.inputs != new.inputs {
        return Ok(Outputs::Incomparable);
    }
    let [before, after] = [pinned, tried].map(|folder| artifact::tensors(&folder.join(artifact::CASES)));
    Ok(compared(&old, &before?, &after?).unwrap_or(Outputs::Incomparable))
}

/// What was stored of all cases, held against each other; `None` where inputs are others or something is missing.
fn compared(manifest: &Manifest, before: &Tensors, after: &Tensors) -> Option<Outputs> {
    let mut worst: Option<(f64, Moved)> = None;
    for case in &manifest.cases {
        for input in &manifest.inputs {
            let name = format!("{}/input/{input}", case.name);
            before.get(&name)?.same_bits(after.get(&name)?).then_some(())?;
        }
        for output in &manifest.outputs {
            let [exact, error] =
                ["float64", "error/float32"].map(|kind| format!("{}/{kind}/{output}", case.name));
            // The error says what a mask hides.
            let reference =
                Reference { exact: before.get(&exact)?.clone(), error: before.get(&error)?.clone() };
            let now = after.get(&exact)?;
            (now.shape() == reference.exact.shape()).then_some(())?;
            let agreement = judge(now, &reference, SAME, |_| true);
            let (share, so_far) = (agreement.share(), worst.as_ref().map_or(1.0, |(share, _)| *share));
            if agreement.count > 0 && !agreement.holds() && (share > so_far || share.is_nan()) {
                let share_of_size = agreement.relative_l2;
                let moved = Moved { output: output.clone(), case: case.name.clone(), share: share_of_size };
                worst = Some((share, moved));
            }
        }
    }
    Some(worst.map_or(Outputs::Same, |(_, moved)| Outputs::Moved(moved)))
}

/// The first line in which the file of an artifact's class differs between two folders of its package:
/// `models/bert/modeling_bert.py:12`; `None` where it does not, or where there is no such artifact.
pub fn first_changed_line(artifact: &Path, pinned: &Path, tried: &Path) -> Option<String> {
    let Manifest { module, .. } = artifact::manifest(artifact).ok()??;
    let (_, below) = module.split_once('.')?;
    let file = format!("{}.py", below.replace('.', "/"));
    let [old, new] = [pinned, tried].map(|folder| std::fs::read_to_string(folder.join(&file)));
    let (old, new) = (old.ok()?, new.ok()?);
    let (mut old, mut new) = (old.lines(), new.lines());
    for line in 1.. {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (a, b) if a != b => return Some(format!("{file}:{line}")),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Dtype;
    use serde_json::json;
    use sha2::{Digest, Sha256};
    use std::fs;

    /// An artifact of one case, with that weight, and that output for the one position that no mask hides.
    fn artifact(weight: &str, output: f64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let manifest = json!({
            "key": "", "model": "toy", "task": "t", "class": "Toy", "module": "toys.models.toy", "model_type": null,
            "model_types": [], "checkpoint": null, "weights": "random", "seed": 0, "versions": {}, "dims": {},
            "inputs": ["ids"], "outputs": ["logits"], "attention": ["eager"], "layers": [],
            "cases": [{"name": "traced", "sizes": {}}], "situations": [], "parameters": {"count": 0, "tensors": {}},
            "digests": {"float32": {"w": weight}}, "idle": [], "adapters": [], "differences": [], "seconds": 0.1,
            "generation": null, "files": {},
        });
        let manifest = manifest.to_string();
        fs::write(folder.path().join("manifest.json"), &manifest).unwrap();
        let seal = format!("{:x}", Sha256::digest(&manifest));
        fs::write(folder.path().join("manifest.json.sha256"), seal).unwrap();
        let double = |values: &[f64]| Tensor::float(Dtype::Float64, &[2], values.to_vec()).unwrap();
        let tensors = [
            ("traced/input/ids", Tensor::int(Dtype::Int64, &[2], vec![3, 4]).unwrap()),
            ("traced/float64/logits", double(&[output, output * 7.0])),
            ("traced/error/float32/logits", double(&[1e-7, f64::NAN])),
        ];
        let named = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor));
        artifact::save_tensors(named, &folder.path().join(artifact::CASES)).unwrap();
        folder
    }

    #[test]
    fn another_output_at_the_same_inputs_and_weights_is_told() {
        let pinned = artifact("a", 2.0);
        let against = |tried: &tempfile::TempDir| outputs(pinned.path(), tried.path()).unwrap();
        assert_eq!(against(&artifact("a", 2.0)), Outputs::Same);
        assert_eq!(against(&artifact("a", 2.0 + 1e-12)), Outputs::Same);
        assert_eq!(against(&artifact("b", 3.0)), Outputs::Incomparable);
        let Outputs::Moved(moved) = against(&artifact("a", 3.0)) else { panic!("it has moved") };
        assert_eq!(
            moved.to_string(),
            "logits (traced) is another by 5.0e-1 of its size, at the same inputs and weights"
        );
    }

    #[test]
    fn the_first_line_that_differs_is_named() {
        let own = artifact("a", 2.0);
        let package = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("models")).unwrap();
            fs::write(folder.path().join("models/toy.py"), text).unwrap();
            folder
        };
        let line =
            |old: &str, new: &str| first_changed_line(own.path(), package(old).path(), package(new).path());
        assert_eq!(line("a\nb\n", "a\nc\n").as_deref(), Some("models/toy.py:2"));
        assert_eq!(line("a\n", "a\nb\n").as_deref(), Some("models/toy.py:2"));
        assert_eq!(line("a\n", "a\n"), None);
    }
}
