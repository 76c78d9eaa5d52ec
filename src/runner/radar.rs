//! Other versions of a package, tried beside the pinned one: what would an upgrade break?
//!
//! In: the spec, the version to try, what is known under the pins and what came of the other version. Out: what became of
//! every model, and whose fault it is where it broke. Nothing that is pinned is touched: the other version is an overlay
//! of its own, with artifacts and results of its own.

use super::moved::Moved;
use crate::export::environment::TORCH;
use crate::failure::Stage;
use crate::report::Record;
use crate::report::compare::{Change, Finding, compare};
use crate::report::latest::latest;
use crate::spec::{Spec, Versions, package};
use crate::verdict::Status;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// The pins under which the models of `source` come from other packages: those of `overlay` are laid over the base
/// environment, and one of them is the source's own.
///
/// # Errors
/// There is no such source, or the overlay lacks its package.
pub fn versions(
    spec: &Spec,
    source: &str,
    overlay: BTreeMap<String, String>,
) -> Result<Versions, RadarError> {
    let mut versions = spec.versions.clone();
    let pinned = versions.sources.get_mut(source).ok_or_else(|| RadarError::Source(source.to_owned()))?;
    let version = overlay.get(&pinned.package).ok_or_else(|| RadarError::Same(pinned.package.clone()))?;
    pinned.version.clone_from(version);
    pinned.overlay = overlay;
    pinned.tried = Some(source.to_owned());
    Ok(versions)
}

/// The pins under which the models of `source` run with another torch: with the packages of `overlay`, laid over the base
/// environment in a folder of their own.
///
/// # Errors
/// There is no such source, or the overlay lacks torch.
pub fn torch(spec: &Spec, source: &str, overlay: BTreeMap<String, String>) -> Result<Versions, RadarError> {
    let mut versions = spec.versions.clone();
    let pinned = versions.sources.get_mut(source).ok_or_else(|| RadarError::Source(source.to_owned()))?;
    let version = overlay.get(TORCH).ok_or_else(|| RadarError::Same(TORCH.to_owned()))?;
    pinned.tried = Some(format!("{TORCH}-{version}"));
    pinned.overlay = overlay;
    Ok(versions)
}

/// The pins under which the models of `source` come from a folder or wheel: a copy of the package, with changes.
///
/// # Errors
/// There is no such source.
pub fn local(spec: &Spec, source: &str, path: &Path) -> Result<Versions, RadarError> {
    let mut versions = spec.versions.clone();
    let pinned = versions.sources.get_mut(source).ok_or_else(|| RadarError::Source(source.to_owned()))?;
    pinned.version = package::version(path);
    pinned.path = Some(path.to_owned());
    Ok(versions)
}

/// Why a version cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum RadarError {
    #[error("spec/versions.yaml has no source '{0}'")]
    Source(String),
    #[error("that version of {0} is the pinned one; name another")]
    Same(String),
}

/// Whose fault it is that a model no longer passes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "whose", content = "place")]
pub enum Whose {
    /// This project's exporter, at that line: a mistake of ours, whatever the model.
    Exporter(String),
    /// A patch of ours that no longer fits the class, by its name or line.
    Adapter(String),
    /// The entry: it says of the class what is no longer so.
    Entry,
    /// The class, at that line.
    Class(String),
    /// The engine, or libtorch below it: it does not run the program.
    Engine,
    /// The numbers: the program is not what eager Python is.
    Numbers,
    /// The version: eager Python itself is not what it was.
    Version,
}

impl Whose {
    /// What the record of a failure says: an exception's innermost frame that is in the exporter or in the package.
    fn of(record: &Record) -> Self {
        let reason = record.reason.as_deref().unwrap_or_default();
        if let Some((name, _)) = reason.strip_prefix(ADAPTER).and_then(|rest| rest.split_once(':')) {
            return Self::Adapter(name.to_owned());
        }
        match record.stage {
            Some(Stage::Export) => {}
            Some(Stage::Compare) => return Self::Numbers,
            _ => return Self::Engine,
        }
        match record.details.iter().rev().find_map(|line| frame(line)) {
            None => Self::Entry,
            Some(Frame { file, line }) => match file.split_once("exporter/") {
                Some((_, own)) if own.starts_with("adapters/") => Self::Adapter(format!("{own}:{line}")),
                Some((_, own)) => Self::Exporter(format!("{own}:{line}")),
                None => Self::Class(format!("{}:{line}", below_packages(file))),
            },
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exporter(place) => write!(f, "this project, {place}"),
            Self::Adapter(place) => write!(f, "adapter {place}"),
            Self::Entry => f.write_str("the entry"),
            Self::Class(place) => write!(f, "the class, {place}"),
            Self::Engine => f.write_str("the engine"),
            Self::Numbers => f.write_str("the numbers"),
            Self::Version => f.write_str("the version tried"),
        }
    }
}

/// What the exporter's message begins with where one of its patches does not fit.
const ADAPTER: &str = "adapter ";

/// A line of a Python traceback.
struct Frame<'a> {
    file: &'a str,
    line: &'a str,
}

/// `File "…/modeling_bert.py", line 12, in forward`, where that is the exporter's or the package's code: what Python,
/// torch and other packages raise, their callers have asked for.
fn frame(text: &str) -> Option<Frame<'_>> {
    let (file, rest) = text.trim().strip_prefix("File \"")?.split_once("\", line ")?;
    let line = rest.split(',').next()?;
    let is_ours = file.contains("/exporter/");
    let is_package = file.contains("/transformers/");
    (is_ours || is_package).then_some(Frame { file, line })
}

fn below_packages(file: &str) -> &str {
    file.rsplit_once("/transformers/").map_or(file, |(_, below)| below)
}

/// What became of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub model: String,
    /// The engine that its programs are for: `torchscript`, `pt2`.
    pub engine: String,
    pub standing: Standing,
    /// The checks that the standing is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub whose: Option<Whose>,
    /// One line; empty where all is as it was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The first line in which the class's file is another than under the pins, where the model is worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

/// How a model stands under the other version, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was green under the pins.
    NewlyBroken,
    /// Under the pins nothing is known of it.
    Broken,
    /// It was not green under the pins either.
    StillBroken,
    /// Green by its own version's eager Python, which computes something else than that of the pins.
    Moved,
    /// Green, with an error that has grown more than twofold as a share of what is allowed.
    Grown,
    NewlyFixed,
    /// Green, and under the pins nothing is known of it.
    Green,
    StillGreen,
}

impl Standing {
    /// All of them, the worst first.
    pub const ALL: [Self; 8] = [
        Self::NewlyBroken,
        Self::Broken,
        Self::StillBroken,
        Self::Moved,
        Self::Grown,
        Self::NewlyFixed,
        Self::Green,
        Self::StillGreen,
    ];

    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::NewlyBroken => "newly broken",
            Self::Broken => "broken",
            Self::StillBroken => "still broken",
            Self::Moved => "other outputs",
            Self::Grown => "figures grown more than 2×",
            Self::NewlyFixed => "newly fixed",
            Self::Green => "green",
            Self::StillGreen => "still green",
        }
    }

    /// Whether an upgrade should wait for it.
    pub fn is_worse(self) -> bool {
        matches!(self, Self::NewlyBroken | Self::Broken | Self::Moved | Self::Grown)
    }
}

/// What became of every model that was tried, on every engine, the worst first. Both sets of records are oldest first; `moved`
/// has the models that compute something else.
#[must_use]
pub fn rows(pinned: &[Record], tried: &[Record], moved: &BTreeMap<String, Moved>) -> Vec<Row> {
    let known: BTreeMap<OnEngine, bool> =
        by_engine(pinned).into_iter().map(|(one, own)| (one, is_green(&own))).collect();
    let findings = compare(pinned, tried);
    let mut rows: Vec<Row> = by_engine(tried)
        .into_iter()
        .map(|(one, own)| match is_green(&own) {
            true => match moved.get(one.model) {
                Some(moved) => other(one, moved),
                None => green(one, known.get(&one).copied(), &findings),
            },
            false => broken(one, known.get(&one).copied(), &own),
        })
        .collect();
    rows.sort_by(|a, b| {
        (a.standing, &a.whose, &a.model, &a.engine).cmp(&(b.standing, &b.whose, &b.model, &b.engine))
    });
    rows
}

/// A model on an engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OnEngine<'a> {
    model: &'a str,
    engine: &'a str,
}

impl OnEngine<'_> {
    /// Its row, of which nothing is told but where it stands.
    fn stands(self, standing: Standing) -> Row {
        Row {
            model: self.model.to_owned(),
            engine: self.engine.to_owned(),
            standing,
            checks: Vec::new(),
            stage: None,
            whose: None,
            reason: String::new(),
            changed: None,
        }
    }
}

/// The last word on each check of each model on each engine.
fn by_engine(records: &[Record]) -> BTreeMap<OnEngine<'_>, Vec<&Record>> {
    let mut models: BTreeMap<OnEngine, Vec<&Record>> = BTreeMap::new();
    for record in latest(records).into_values() {
        let one = OnEngine { model: &record.model, engine: &record.engine };
        models.entry(one).or_default().push(record);
    }
    models
}

fn is_green(own: &[&Record]) -> bool {
    own.iter().all(|record| record.status == Status::Passed)
}

/// A model whose class computes something else.
fn other(one: OnEngine, moved: &Moved) -> Row {
    Row {
        stage: Some(Stage::Compare.to_string()),
        whose: Some(Whose::Version),
        reason: moved.to_string(),
        ..one.stands(Standing::Moved)
    }
}

fn green(one: OnEngine, was: Option<bool>, findings: &[Finding]) -> Row {
    let grown: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.model == one.model && finding.engine == one.engine)
        .filter(|finding| matches!(finding.change, Change::Drifted { .. }))
        .collect();
    let standing = match (was, grown.is_empty()) {
        (None, _) => Standing::Green,
        (Some(_), false) => Standing::Grown,
        (Some(true), true) => Standing::StillGreen,
        (Some(false), true) => Standing::NewlyFixed,
    };
    let checks: BTreeSet<String> = grown.iter().map(|finding| finding.check.clone()).collect();
    let reason =
        grown.iter().max_by(|a, b| growth(a).total_cmp(&growth(b))).map(|finding| finding.to_string());
    Row { checks: checks.into_iter().collect(), reason: reason.unwrap_or_default(), ..one.stands(standing) }
}

fn growth(finding: &Finding) -> f64 {
    match finding.change {
        Change::Drifted { before, after, .. } => after / before.max(f64::MIN_POSITIVE),
        _ => 0.0,
    }
}

fn broken(one: OnEngine, was: Option<bool>, own: &[&Record]) -> Row {
    let failed: Vec<&Record> = own.iter().copied().filter(|record| record.status != Status::Passed).collect();
    let first = failed[0];
    let standing = match was {
        Some(true) => Standing::NewlyBroken,
        Some(false) => Standing::StillBroken,
        None => Standing::Broken,
    };
    // Where there is no artifact every check has failed, and their names say nothing.
    let checks = match failed.len() == own.len() {
        true => Vec::new(),
        false => failed.iter().map(|record| record.check.clone()).collect(),
    };
    Row {
        checks,
        stage: first.stage.map(|stage| stage.to_string()),
        whose: Some(Whose::of(first)),
        reason: first.reason.clone().unwrap_or_default(),
        ..one.stands(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(model: &str, check: &str, status: Status, error: f64) -> Record {
        let metric = serde_json::json!({
            "situation": "traced", "output": "logits", "error": error, "eager_error": 0.4, "limit": 1.0,
            "scale": 1.0, "max_abs": 0.0, "relative_l2": 0.0, "cosine": 1.0,
        });
        let metrics = vec![serde_json::from_value(metric).unwrap()];
        Record { status, metrics, ..Record::sample(model, check) }
    }

    fn failed(model: &str, stage: Stage, reason: &str, details: &[&str]) -> Record {
        Record {
            stage: Some(stage),
            reason: Some(reason.to_owned()),
            details: details.iter().map(|line| (*line).to_owned()).collect(),
            ..record(model, "loads", Status::Failed, 0.1)
        }
    }

    const TORCH: &str = r#"File "/v/lib/site-packages/torch/nn/modules/module.py", line 7, in forward"#;

    #[test]
    fn the_innermost_frame_of_the_exporter_or_the_package_says_whose_fault_it_is() {
        let of = |reason: &str, details: &[&str]| Whose::of(&failed("m", Stage::Export, reason, details));
        let class = r#"File "/v/lib/site-packages/transformers/models/bert/modeling_bert.py", line 12, in f"#;
        let own = r#"File "/tmp/x/exporter/model.py", line 34, in build"#;
        let adapter = r#"File "/tmp/x/exporter/adapters/speech.py", line 5, in patched"#;
        let at_class = Whose::Class("models/bert/modeling_bert.py:12".to_owned());
        assert_eq!(of("TypeError", &[own, class, TORCH, "TypeError: x"]), at_class);
        assert_eq!(of("StopIteration", &[class, own]), Whose::Exporter("model.py:34".to_owned()));
        assert_eq!(of("KeyError", &[class, adapter]), Whose::Adapter("adapters/speech.py:5".to_owned()));
        assert_eq!(of("adapter rope: Bert has no 'f' to replace", &[]), Whose::Adapter("rope".to_owned()));
        assert_eq!(of("forward takes no 'x'", &[]), Whose::Entry);
        assert_eq!(Whose::of(&failed("m", Stage::Compare, "logits are off", &[])), Whose::Numbers);
        assert_eq!(Whose::of(&failed("m", Stage::Run, "aten::x: no such operator", &[])), Whose::Engine);
    }

    #[test]
    fn every_model_stands_where_both_results_put_it_and_the_worst_comes_first() {
        let pinned = [
            record("a", "loads", Status::Passed, 0.1),
            record("b", "loads", Status::Passed, 0.1),
            record("c", "loads", Status::Failed, 0.1),
            record("d", "loads", Status::Passed, 0.1),
            record("e", "loads", Status::Failed, 0.1),
        ];
        let tried = [
            record("a", "loads", Status::Passed, 0.1),
            failed("b", Stage::Export, "forward takes no 'x'", &[]),
            record("c", "loads", Status::Passed, 0.1),
            record("d", "loads", Status::Passed, 0.9),
            failed("e", Stage::Compare, "logits are off", &[]),
            record("f", "loads", Status::Passed, 0.1),
            record("h", "loads", Status::Passed, 0.1),
            failed("g", Stage::Compare, "logits are off", &[]),
        ];
        let moved = Moved { output: "logits".to_owned(), case: "traced".to_owned(), share: 0.01 };
        let rows = rows(&pinned, &tried, &BTreeMap::from([("h".to_owned(), moved)]));
        let standings: Vec<(&str, &str)> =
            rows.iter().map(|row| (row.model.as_str(), row.standing.words())).collect();
        assert_eq!(
            standings,
            [
                ("b", "newly broken"),
                ("g", "broken"),
                ("e", "still broken"),
                ("h", "other outputs"),
                ("d", "figures grown more than 2×"),
                ("c", "newly fixed"),
                ("f", "green"),
                ("a", "still green"),
            ]
        );
        assert_eq!(rows[0].reason, "forward takes no 'x'");
        assert_eq!(
            rows[3].reason,
            "logits (traced) is another by 1.0e-2 of its size, at the same inputs and weights"
        );
        assert!(rows[4].reason.contains("0.100 → 0.900"), "{}", rows[4].reason);
    }

    #[test]
    fn a_model_stands_on_each_engine_by_itself() {
        let on = |engine: &str, status, error| Record {
            engine: engine.to_owned(),
            ..record("a", "matches_reference", status, error)
        };
        let pinned = [on("torchscript", Status::Passed, 0.1), on("pt2", Status::Passed, 0.1)];
        let tried = [on("torchscript", Status::Passed, 0.9), on("pt2", Status::Passed, 0.1)];
        let rows = rows(&pinned, &tried, &BTreeMap::new());
        let standings: Vec<_> =
            rows.iter().map(|row| (row.model.as_str(), row.engine.as_str(), row.standing)).collect();
        assert_eq!(standings, [("a", "torchscript", Standing::Grown), ("a", "pt2", Standing::StillGreen)]);
    }

    #[test]
    fn another_torch_is_laid_over_the_same_package_in_a_folder_of_its_own() {
        let spec = crate::report::samples::spec();
        let overlay = |name: &str| BTreeMap::from([(name.to_owned(), "9.9.9".to_owned())]);
        let tried = torch(&spec, "transformers", overlay("torch")).unwrap();
        let (before, after) = (&spec.versions.sources["transformers"], &tried.sources["transformers"]);
        assert_eq!((&after.version, after.tried.as_deref()), (&before.version, Some("torch-9.9.9")));
        assert_ne!(spec.entries[0].digest(&tried), spec.entries[0].digest(&spec.versions));
        let same = torch(&spec, "transformers", overlay("triton")).unwrap_err();
        assert_eq!(same.to_string(), "that version of torch is the pinned one; name another");
    }

    #[test]
    fn only_an_overlay_that_changes_the_package_can_be_tried() {
        let spec = crate::report::samples::spec();
        let overlay = |pins: &[(&str, &str)]| -> BTreeMap<String, String> {
            pins.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
        };
        let tried = versions(&spec, "transformers", overlay(&[("transformers", "9.9.9")])).unwrap();
        assert_eq!(tried.sources["transformers"].version, "9.9.9");
        assert_ne!(spec.entries[0].digest(&tried), spec.entries[0].digest(&spec.versions));
        let same = versions(&spec, "transformers", overlay(&[])).unwrap_err();
        assert_eq!(same.to_string(), "that version of transformers is the pinned one; name another");
        assert!(matches!(versions(&spec, "nowhere", overlay(&[])), Err(RadarError::Source(_))));
        let folder = tempfile::tempdir().unwrap();
        let copy = local(&spec, "transformers", folder.path()).unwrap();
        assert_ne!(spec.entries[0].digest(&copy), spec.entries[0].digest(&spec.versions));
    }
}
