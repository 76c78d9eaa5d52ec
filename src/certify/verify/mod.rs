//! Looks at a bundle, on whatever machine it is now.
//!
//! In: a folder, and the versions that are here. Out: its certificate, and every [`Problem`] with it. Any byte that is not
//! as it was certified is one.

use super::bundle;
use super::certificate::{Certificate, FILE, FORMAT};
use crate::failure::{At, Failure, Stage};
use crate::verdict::Status;
use std::fmt;
use std::path::Path;

/// What is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Missing(String),
    Changed(String),
    /// It is no part of the bundle, and may be read in place of what is.
    Strange(String),
    /// This check did not pass.
    Unproved(String, Status),
    /// It was proved with this torch, and this one is here.
    Torch {
        proved: String,
        here: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(file) => write!(f, "{file} is missing"),
            Self::Changed(file) => write!(f, "{file} is not the file that was certified: its sha256 differs"),
            Self::Strange(file) => write!(f, "{file} is no part of the bundle"),
            Self::Unproved(check, status) => write!(f, "{check} {status}"),
            Self::Torch { proved, here } => write!(f, "proved with torch {proved}, and {here} is here"),
        }
    }
}

/// Looks at the bundle in a folder; `torch` is the version that programs run on here, where there is one.
///
/// # Errors
/// Stage `load`: there is no bundle, or one of another format.
pub fn verify(folder: &Path, torch: Option<&str>) -> Result<(Certificate, Vec<Problem>), Failure> {
    let certificate = read(folder)?;
    let mut found = bundle::digests(folder).at(Stage::Load, folder.display())?;
    found.remove(FILE);
    let files = certificate.files.iter().filter_map(|(name, digest)| match found.get(name) {
        None => Some(Problem::Missing(name.clone())),
        Some(other) if other != digest => Some(Problem::Changed(name.clone())),
        Some(_) => None,
    });
    let strange = found.keys().filter(|name| !certificate.files.contains_key(*name));
    let strange = strange.map(|name| Problem::Strange(name.clone()));
    let unproved = certificate.checks.iter().filter(|checked| checked.status != Status::Passed);
    let unproved = unproved.map(|checked| Problem::Unproved(checked.check.clone(), checked.status));
    let problems = files.chain(strange).chain(unproved).chain(other_torch(&certificate, torch)).collect();
    Ok((certificate, problems))
}

/// A bundle's certificate.
///
/// # Errors
/// As [`verify`].
pub fn read(folder: &Path) -> Result<Certificate, Failure> {
    let path = folder.join(FILE);
    let none =
        |error| Failure::new(Stage::Load, format!("{} is no bundle: {FILE}: {error}", folder.display()));
    let bytes = std::fs::read(&path).map_err(|error| none(error.to_string()))?;
    let certificate: Certificate = serde_json::from_slice(&bytes).map_err(|error| none(error.to_string()))?;
    match certificate.format {
        FORMAT => Ok(certificate),
        other => Err(none(format!("it has format {other}, this program reads {FORMAT}"))),
    }
}

/// Builds of one release compute alike: `2.11.0+cpu` is 2.11.0.
fn other_torch(certificate: &Certificate, here: Option<&str>) -> Option<Problem> {
    let release = |version: &str| version.split('+').next().unwrap_or_default().to_owned();
    let proved = certificate.versions.get("torch")?;
    let here = here.filter(|here| release(here) != release(proved))?;
    Some(Problem::Torch { proved: proved.clone(), here: here.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::bundle::Draft;
    use crate::certify::certificate::{self, Checked};
    use crate::certify::found::{Found, sample};
    use std::fs;
    use std::path::PathBuf;

    /// A bundle of one program and a tokenizer, with a certificate of one check.
    fn bundle(folder: &Path) -> PathBuf {
        let [artifact, checkpoint] = ["artifact", "checkpoint"].map(|name| folder.join(name));
        fs::create_dir_all(&artifact).unwrap();
        fs::create_dir_all(checkpoint.join("1_Pooling")).unwrap();
        let programs = ["program.pt", "program.bfloat16.pt"].map(str::to_owned);
        programs.iter().for_each(|program| fs::write(artifact.join(program), "weights").unwrap());
        let names = ["tokenizer.json", "1_Pooling/config.json", "model.safetensors"];
        names.iter().for_each(|name| fs::write(checkpoint.join(name), "{}").unwrap());
        let files = names.map(|name| (name.to_owned(), String::new())).into();
        let found = Found { root: checkpoint, files, ..sample() };
        let mut certificate = certificate::sample();
        let out = folder.join("certified/mine");
        let draft = Draft::new(&out, &artifact, &programs, &found).unwrap();
        draft.finish(&out, &mut certificate).unwrap();
        out
    }

    /// What is wrong with a bundle after `spoil` was done to it.
    fn problems(spoil: impl Fn(&Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let out = bundle(folder.path());
        spoil(&out);
        let (_, problems) = verify(&out, Some("2.11.0")).unwrap();
        problems.iter().map(ToString::to_string).collect()
    }

    /// Changes what a certificate says.
    fn certified(out: &Path, change: impl Fn(&mut Certificate)) {
        let mut certificate = read(out).unwrap();
        change(&mut certificate);
        fs::write(out.join(FILE), serde_json::to_string(&certificate).unwrap()).unwrap();
    }

    #[test]
    fn a_bundle_is_whole_and_holds_no_weights_twice() {
        let folder = tempfile::tempdir().unwrap();
        let out = bundle(folder.path());
        let files = [
            "1_Pooling/config.json",
            "certificate.html",
            "program.bfloat16.pt",
            "program.pt",
            "tokenizer.json",
        ];
        let (certificate, problems) = verify(&out, Some("2.11.0+cpu")).unwrap();
        assert_eq!(certificate.files.keys().collect::<Vec<_>>(), files);
        assert_eq!(problems, []);
        assert_eq!(verify(&out, None).unwrap().1, [], "no torch to compare with is no problem");
    }

    #[test]
    fn whatever_is_not_as_it_was_certified_is_found() {
        let changed = problems(|out| fs::write(out.join("program.pt"), "weighty").unwrap());
        assert_eq!(changed, ["program.pt is not the file that was certified: its sha256 differs"]);
        let missing = problems(|out| fs::remove_file(out.join("1_Pooling/config.json")).unwrap());
        assert_eq!(missing, ["1_Pooling/config.json is missing"]);
        let strange = problems(|out| fs::write(out.join("added_tokens.json"), "{}").unwrap());
        assert_eq!(strange, ["added_tokens.json is no part of the bundle"]);
        let built = problems(|out| {
            fs::create_dir_all(out.join("example/target/debug")).unwrap();
            fs::write(out.join("example/target/debug/example"), "machine code").unwrap();
            fs::write(out.join("example/build.rs"), "fn main() {}").unwrap();
        });
        assert_eq!(
            built,
            ["example/build.rs is no part of the bundle"],
            "what cargo makes of it is no problem"
        );
        let failed = |certificate: &mut Certificate| {
            let half =
                Checked { check: "half".to_owned(), status: Status::Failed, ..certificate.checks[0].clone() };
            certificate.checks.push(half);
        };
        assert_eq!(problems(|out| certified(out, failed)), ["half failed"]);
        let older = |certificate: &mut Certificate| {
            certificate.versions.insert("torch".to_owned(), "2.10.0".to_owned());
        };
        assert_eq!(problems(|out| certified(out, older)), ["proved with torch 2.10.0, and 2.11.0 is here"]);
    }

    #[test]
    fn a_folder_that_is_no_bundle_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "years").unwrap();
        let failure = verify(folder.path(), None).unwrap_err();
        assert!(failure.message.contains("is no bundle: certificate.json"), "{failure}");
        let failure = super::bundle::may_replace(folder.path()).unwrap_err();
        assert!(failure.message.ends_with("holds no bundle: it is left as it is"), "{failure}");
        let out = bundle(folder.path());
        assert!(super::bundle::may_replace(&out).is_ok());
        certified(&out, |certificate| certificate.format += 1);
        assert!(verify(&out, None).unwrap_err().message.contains("it has format 2, this program reads 1"));
    }
}
