//! What is missing or stale on this machine, and what to type about it.
//!
//! In: the spec, the working directory, the machine. Out: [`Finding`]s, in the order in which things are needed.

use crate::artifact;
use crate::device::Found;
use crate::engine;
use crate::export::{self, environment::Environment};
use crate::report::{self, Record};
use crate::spec::{Spec, Versions};
use crate::typed::Typed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use sysinfo::Disks;

/// Less free disk space than this stops exports and builds.
const SPACE: u64 = 2 << 30;
/// Most models that advice lists by name.
const NAMED: usize = 8;
/// Prints a JSON object of installed versions of the packages it is given.
const ASK_VERSIONS: &str = "\
import importlib.metadata as m, json, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))";

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    pub said: String,
    pub state: Health,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Nothing is broken; with what to type for more, if anything.
    Note(Option<String>),
    /// Needs repair, with what to type.
    Repair(String),
}

impl Finding {
    fn new(subject: impl Into<String>, said: impl Into<String>, state: Health) -> Self {
        Self { subject: subject.into(), said: said.into(), state }
    }

    /// Whether something must be done.
    pub fn needs_repair(&self) -> bool {
        matches!(self.state, Health::Repair(_))
    }
}

/// Looks at everything.
#[must_use]
pub fn examine(spec: &Spec) -> Vec<Finding> {
    let artifacts = artifact::root();
    let mut findings = vec![rust()];
    findings.extend(python(&spec.versions));
    findings.push(libtorch(&spec.versions));
    findings.extend(devices(&engine::devices(), engine::real().is_some()));
    findings.extend([space("disk of artifacts", &artifacts), space("disk of target", Path::new("target"))]);
    findings.extend(cache(spec, &artifacts));
    findings.push(results());
    findings
}

fn rust() -> Finding {
    let said = Command::new("rustc").arg("--version").output().ok();
    let version = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    match version {
        Some(version) => {
            Finding::new("rust", format!("{version}, {oldest} or later is needed"), Health::Good)
        }
        None => {
            Finding::new("rust", "no rustc on the PATH", Health::Repair("see https://rustup.rs".to_owned()))
        }
    }
}

/// The environment as a whole, then every pin.
fn python(versions: &Versions) -> Vec<Finding> {
    let environment = match Environment::ready(versions) {
        Ok(environment) => environment,
        Err(error) => {
            return vec![Finding::new("python", error.to_string(), Health::Repair("just setup".to_owned()))];
        }
    };
    let mut command = Command::new(environment.python());
    command.args(["-c", ASK_VERSIONS]).args(versions.python.keys());
    let output = command.output().ok();
    let installed: Option<BTreeMap<String, Option<String>>> =
        output.and_then(|output| serde_json::from_slice(&output.stdout).ok());
    match installed {
        Some(installed) => pins(&versions.python, &installed),
        None => vec![Finding::new("python", "the interpreter does not start", rebuild())],
    }
}

/// What to type when the environment is not what it says it is.
fn rebuild() -> Health {
    Health::Repair("rm -r .venv && just setup".to_owned())
}

fn pins(pinned: &BTreeMap<String, String>, installed: &BTreeMap<String, Option<String>>) -> Vec<Finding> {
    let finding = |(name, pin): (&String, &String)| match installed.get(name).cloned().flatten() {
        Some(version) if is_release(&version, pin) => Finding::new(name, version, Health::Good),
        Some(version) => Finding::new(name, format!("{version}, the pin is {pin}"), rebuild()),
        None => Finding::new(name, format!("not installed, the pin is {pin}"), rebuild()),
    };
    pinned.iter().map(finding).collect()
}

/// Whether a version is the pinned one; `2.11.0+cu130` is a build of `2.11.0`.
fn is_release(version: &str, pin: &str) -> bool {
    version.split('+').next() == Some(pin)
}

/// The libtorch that builds link.
fn libtorch(versions: &Versions) -> Finding {
    let folder = std::env::var("LIBTORCH").unwrap_or_else(|_| ".venv/torch".to_owned());
    let pin = versions.python.get("torch").map_or("", String::as_str);
    let text = std::fs::read_to_string(Path::new(&folder).join("version.py")).unwrap_or_default();
    let version =
        text.lines().find_map(|line| line.strip_prefix("__version__ = ")).map(|text| text.trim_matches('\''));
    let setup = Health::Repair("just setup".to_owned());
    match version {
        Some(version) if is_release(version, pin) => {
            Finding::new("libtorch", format!("{version} in {folder}"), Health::Good)
        }
        Some(version) => Finding::new("libtorch", format!("{version} in {folder}, the pin is {pin}"), setup),
        None => Finding::new("libtorch", format!("none in {folder}"), setup),
    }
}

/// Which devices can be used, and why not the others.
fn devices(found: &Found, built_in: bool) -> Vec<Finding> {
    if !built_in {
        let said = "not looked for: this build has no libtorch";
        return vec![Finding::new(
            "devices",
            said,
            Health::Note(Some("just setup && just doctor".to_owned())),
        )];
    }
    let cuda = match &found.cuda {
        Ok(count) => {
            let names = (0..*count).filter_map(engine::gpu_name);
            Finding::new("cuda", format!("{count}: {}", Vec::from_iter(names).join(", ")), Health::Good)
        }
        // A driver is there, and a libtorch without CUDA was installed.
        Err(reason) if reason.starts_with("this libtorch") => {
            let again =
                "unset HF_CONFORMANCE_TORCH_INDEX; rm -r .venv && just setup && cargo clean -p torch-sys";
            Finding::new("cuda", reason, Health::Repair(again.to_owned()))
        }
        Err(reason) => Finding::new("cuda", format!("not usable: {reason}"), Health::Note(None)),
    };
    let mps = match &found.mps {
        Ok(()) => Finding::new("mps", "usable", Health::Good),
        Err(reason) => Finding::new("mps", format!("not usable: {reason}"), Health::Note(None)),
    };
    vec![Finding::new("cpu", "usable", Health::Good), cuda, mps]
}

/// Free space where `path` is, or will be.
fn space(subject: &str, path: &Path) -> Finding {
    let existing = std::path::absolute(path).unwrap_or_default();
    let existing = existing.ancestors().find_map(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let disks = Disks::new_with_refreshed_list();
    let holding = disks.iter().filter(|disk| existing.starts_with(disk.mount_point()));
    match holding.max_by_key(|disk| disk.mount_point().as_os_str().len()) {
        Some(disk) => free(subject, disk.available_space()),
        None => Finding::new(subject, "free space is not known", Health::Note(None)),
    }
}

fn free(subject: &str, bytes: u64) -> Finding {
    let said = format!("{} free", size(bytes));
    let state = match bytes < SPACE {
        true => Health::Repair("just clean, or set HF_CONFORMANCE_ARTIFACTS to a larger disk".to_owned()),
        false => Health::Good,
    };
    Finding::new(subject, said, state)
}

/// The artifact cache: how much there is, what is stale, what belongs to no entry.
fn cache(spec: &Spec, root: &Path) -> Vec<Finding> {
    let (mut fresh, mut stale, mut missing, mut foreign) = (0, Vec::new(), 0, 0);
    for entry in &spec.entries {
        match export::state(entry, &spec.versions, root) {
            export::Freshness::Fresh => fresh += 1,
            export::Freshness::Missing => missing += 1,
            export::Freshness::Foreign => foreign += 1,
            export::Freshness::Stale => stale.push(entry.name.to_string()),
        }
    }
    let said = format!(
        "{fresh} up to date, {missing} not exported, {} in {}",
        size(bytes_below(root)),
        root.display()
    );
    let more = (missing > 0).then(|| "just export".to_owned());
    let mut findings =
        vec![Finding::new("artifacts", said, more.map_or(Health::Good, |more| Health::Note(Some(more))))];
    findings.extend(outdated(&stale));
    if foreign > 0 {
        let said = format!("{foreign} made elsewhere; the next test makes them anew, or takes them after");
        let take = Typed::export([]).flag("--trust", true).to_string();
        findings.push(Finding::new("artifacts", said, Health::Note(Some(take))));
    }
    let names: BTreeSet<&str> = spec.entries.iter().map(|entry| entry.name.as_str()).collect();
    let orphans = orphans(root, &names);
    if !orphans.is_empty() {
        let said = format!("{} of no entry: {}", orphans.len(), few(&orphans));
        let paths = orphans.iter().map(|name| root.join(name).display().to_string());
        let remove = (orphans.len() <= NAMED).then(|| format!("rm -r {}", Vec::from_iter(paths).join(" ")));
        findings.push(Finding::new("artifacts", said, Health::Note(remove)));
    }
    findings
}

/// Artifacts that are stale: nothing to repair, since whatever uses them exports them first. Many are told by number.
fn outdated(stale: &[String]) -> Option<Finding> {
    let said = format!(
        "{} stale: the entry, a pin or the exporter changed since; the next test exports them",
        stale.len()
    );
    let again = match stale.len() {
        0 => return None,
        1..=NAMED => format!("just export {}", stale.join(" ")),
        _ => "just export".to_owned(),
    };
    Some(Finding::new("artifacts", said, Health::Note(Some(again))))
}

/// Folders of models that the spec does not name; what begins with a dot is the exporter's own.
fn orphans(root: &Path, names: &BTreeSet<&str>) -> Vec<String> {
    let folders = std::fs::read_dir(root).into_iter().flatten().flatten();
    let found = folders.filter_map(|folder| folder.file_name().into_string().ok());
    let mut orphans: Vec<String> =
        found.filter(|name| !name.starts_with('.') && !names.contains(name.as_str())).collect();
    orphans.sort();
    orphans
}

/// The first of many names.
fn few(names: &[String]) -> String {
    match names.len() {
        0..=NAMED => names.join(", "),
        count => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
    }
}

fn results() -> Finding {
    let path = report::path();
    match report::lines::<Record>(&path) {
        Ok(lines) => {
            let said = format!("{} outcomes", lines.read.len());
            match lines.complaint() {
                Some(complaint) => {
                    Finding::new("results", format!("{said}; {complaint}"), Health::Note(None))
                }
                None => Finding::new("results", said, Health::Good),
            }
        }
        Err(error) => Finding::new(
            "results",
            format!("{}: {error}", path.display()),
            Health::Repair(format!("ls -l {}", path.display())),
        ),
    }
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let items = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |item: std::fs::DirEntry| match item.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&item.path()),
        Ok(_) => item.metadata().map_or(0, |file| file.len()),
        Err(_) => 0,
    };
    items.map(bytes).sum()
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_build_of_the_pinned_release_is_good_and_anything_else_needs_repair() {
        let pinned =
            map(&[("numpy", "2.2.6".to_owned()), ("torch", "2.11.0".to_owned()), ("zlib", "1".to_owned())]);
        let installed =
            map(&[("numpy", Some("2.3.0".to_owned())), ("torch", Some("2.11.0+cu130".to_owned()))]);
        let found = pins(&pinned, &installed);
        let said: Vec<_> =
            found.iter().map(|finding| (finding.said.as_str(), finding.needs_repair())).collect();
        assert_eq!(
            said,
            [
                ("2.3.0, the pin is 2.2.6", true),
                ("2.11.0+cu130", false),
                ("not installed, the pin is 1", true)
            ]
        );
    }

    #[test]
    fn a_device_that_this_machine_cannot_have_is_a_note_and_a_libtorch_without_cuda_needs_repair() {
        let found = |cuda: &str| Found { cuda: Err(cuda.to_owned()), mps: Err("not a Mac".to_owned()) };
        let repairs =
            |found: &Found| devices(found, true).iter().filter(|finding| finding.needs_repair()).count();
        assert_eq!(repairs(&found("no NVIDIA driver (libcuda.so.1)")), 0);
        assert_eq!(repairs(&found("this libtorch has no CUDA (libtorch_cuda.so)")), 1);
    }

    #[test]
    fn stale_artifacts_are_a_note_that_lists_a_few_names_and_not_hundreds() {
        let advice = |count: usize| {
            let stale: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
            outdated(&stale).map(|finding| finding.state)
        };
        let note = |text: &str| Some(Health::Note(Some(text.to_owned())));
        assert_eq!(
            [advice(0), advice(2), advice(500)],
            [None, note("just export m0 m1"), note("just export")]
        );
    }

    #[test]
    fn a_full_disk_needs_repair() {
        assert!(free("disk", 1 << 30).needs_repair());
        assert_eq!(free("disk", 3 << 30).said, "3.00 GiB free");
    }

    #[test]
    fn folders_of_no_entry_are_found_and_the_exporters_own_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        for name in ["bert", "gone", ".faults"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("bert/program.pt"), "1234").unwrap();
        assert_eq!(orphans(root.path(), &["bert"].into()), ["gone"]);
        assert_eq!(bytes_below(root.path()), 4);
    }
}
