//! Drafts on trial: the ordinary spec, export and checks, before a file is written.

use super::suggest::{AddRequest, Answer, suggest};
use super::{Draft, Refusal, SpecFiles, draft};
use crate::artifact::{self, Lane};
use crate::check::{self, Session, every_parameter};
use crate::device::Device;
use crate::engine::{self, Engine};
use crate::export::{self, Anew, ExportPlan, Exported, FaultOf, Order, Progress};
use crate::failure::{At, Failure, Stage};
use crate::model::RuntimeSpec;
use crate::roster::plain;
use crate::spec::{Base, Check, Entry, Place, Source, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The source of classes unless a request names another.
const SOURCE: &str = "transformers";

/// How many seeds a draft is tried with, where rounding alone moves it too far.
const SEEDS: u64 = 4;

/// How drafts are tried.
pub struct Trial<'a> {
    /// Where checks run; without one a draft is proved by its export alone.
    pub engine: Option<(&'static dyn Engine, Device)>,
    /// The folder of artifacts, to which those of good drafts go.
    pub artifacts: &'a Path,
    pub progress: &'a dyn Progress,
}

/// What became of a request.
#[derive(Debug)]
pub enum Tried {
    /// There is such an entry.
    Already {
        name: String,
        place: Place,
    },
    Added(Box<Added>),
    Refused(Refusal),
}

/// An entry among the spec's files, and what speaks for it.
#[derive(Debug)]
pub struct Added {
    pub name: String,
    pub draft: Draft,
    /// The entry's YAML.
    pub lines: Vec<String>,
    /// Checks that passed; none were run where there is no engine.
    pub passed: Vec<Check>,
    /// What the entry inherits.
    base: Base,
}

impl Tried {
    /// The name of an entry that is being added.
    fn added(&self) -> Option<String> {
        match self {
            Self::Added(added) => Some(added.name.clone()),
            Self::Already { .. } | Self::Refused(_) => None,
        }
    }
}

fn refused(stage: &str, reason: impl ToString) -> Tried {
    Tried::Refused(Refusal::new(stage, reason))
}

impl Trial<'_> {
    /// Puts an entry into the files for every request that can be met; they hold no other trace of the rest.
    ///
    /// # Errors
    /// Only what stops all of them: a spec with problems, no Python environment, a disk that cannot be written.
    pub fn run(&self, files: &mut SpecFiles, requests: &[AddRequest]) -> Result<Vec<Tried>, Failure> {
        let spec = files.spec().at(Stage::Spec, "before anything is added")?;
        let mut tried = self.drafts(files, &spec, requests)?;
        self.export(files, &mut tried)?;
        Ok(tried)
    }

    fn drafts(
        &self,
        files: &mut SpecFiles,
        spec: &Spec,
        requests: &[AddRequest],
    ) -> Result<Vec<Tried>, Failure> {
        let bases = files.bases();
        let mut tried: Vec<Option<Tried>> = requests.iter().map(|request| already(spec, request)).collect();
        let mut sources: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate().filter(|(index, _)| tried[*index].is_none()) {
            sources.entry(source(spec, request)).or_default().push(index);
        }
        self.progress.begin(sources.values().map(Vec::len).sum());
        for (source, indices) in sources {
            let due: Vec<&AddRequest> = indices.iter().map(|index| &requests[*index]).collect();
            suggest(spec, &bases, source, &due, |number, answer| {
                let request = due[number];
                self.progress.started(&request.asked);
                tried[indices[number]] = Some(match answer {
                    Answer::Refused { stage, reason, copy } => {
                        Tried::Refused(Refusal { copy, ..Refusal::new(&stage, reason) })
                    }
                    Answer::Draft { draft } => place(files, spec, &bases, request, *draft),
                });
                let (model, outcome) = (request.asked.clone(), Ok(None));
                self.progress.finished(&Exported { model, fault: None, outcome, fault_of: FaultOf::Model });
            })?;
        }
        Ok(tried.into_iter().map(|one| one.unwrap_or_else(|| refused("find", "no answer"))).collect())
    }

    /// Exports the drafts among the files and puts them to their checks; whoever fails is taken out again, unless another seed
    /// may do.
    fn export(&self, files: &mut SpecFiles, tried: &mut [Tried]) -> Result<(), Failure> {
        std::fs::create_dir_all(self.artifacts).at(Stage::Export, self.artifacts.display())?;
        let folder = tempfile::Builder::new().prefix(".drafts-").tempdir_in(self.artifacts);
        let folder = folder.at(Stage::Export, self.artifacts.display())?;
        let mut due: BTreeSet<String> = tried.iter().filter_map(Tried::added).collect();
        for again in 1..=SEEDS {
            if due.is_empty() {
                break;
            }
            let exported = self.made(files, folder.path(), &due)?;
            let mut left = BTreeSet::new();
            for one in tried.iter_mut() {
                let Tried::Added(added) = one else { continue };
                if !due.contains(&added.name) {
                    continue;
                }
                let is_last = again == SEEDS;
                let Err(Unproved { stage, failure, by_seed }) =
                    self.prove(files, folder.path(), added, &exported, is_last)
                else {
                    keep(folder.path(), self.artifacts, &added.name)?;
                    continue;
                };
                if by_seed && !is_last {
                    let seed = added.draft.seed.map_or(again, |seed| seed + 1);
                    added.draft.seed = Some(seed);
                    added.draft.reasons.push(format!("seed {seed}: {}", failure.message));
                    rewrite(files, added)?;
                    left.insert(added.name.clone());
                    continue;
                }
                files.remove(&added.draft.family, &added.name).at(Stage::Spec, &added.name)?;
                let Failure { message, details, .. } = failure;
                let copy = added.draft.near.clone();
                *one = Tried::Refused(Refusal { details, copy, ..Refusal::new(stage, message) });
            }
            due = left;
        }
        Ok(())
    }

    /// Exports those of these names.
    fn made(
        &self,
        files: &SpecFiles,
        folder: &Path,
        names: &BTreeSet<String>,
    ) -> Result<Vec<Exported>, Failure> {
        let spec = files.spec().at(Stage::Spec, "with the drafts")?;
        let entries = spec.entries.iter().filter(|entry| names.contains(entry.name.as_str()));
        let orders = entries.map(Order::plain).collect();
        let lane =
            self.engine.map_or_else(Lane::default, |(engine, device)| Lane::new(engine.format(), device));
        let plan = ExportPlan { spec: &spec, orders, lane, anew: Anew::All, root: folder.to_owned() };
        export::export(&plan, self.progress)
    }

    /// Whether a draft was exported and passes its checks.
    fn prove(
        &self,
        files: &mut SpecFiles,
        folder: &Path,
        added: &mut Added,
        exported: &[Exported],
        is_last: bool,
    ) -> Result<(), Unproved> {
        let outcome = exported.iter().find(|exported| exported.model == added.name);
        match outcome.map(|exported| &exported.outcome) {
            Some(Ok(_)) => self.check(files, folder, added, is_last),
            Some(Err(failure)) => Err(Unproved {
                by_seed: failure.lacks_yardstick(),
                ..Unproved::at("export", failure.clone())
            }),
            None => {
                let failure = Failure::new(Stage::Export, "the exporter said nothing of it");
                Err(Unproved::at("export", failure))
            }
        }
    }

    /// Runs the checks: a draft that fails one is no entry, whatever the reason. Only what the class itself does is written into
    /// the entry instead: half precision that no seed makes a yardstick of, and parameters that move no output.
    fn check(
        &self,
        files: &mut SpecFiles,
        folder: &Path,
        added: &mut Added,
        is_last: bool,
    ) -> Result<(), Unproved> {
        let Some((engine, device)) = self.engine else { return Ok(()) };
        let unread = |failure| Unproved::at("spec", failure);
        let spec = files.spec().at(Stage::Spec, &added.name).map_err(unread)?;
        let entry = spec.entries.iter().find(|entry| entry.name.as_str() == added.name);
        let entry = entry.expect("the draft is among the entries");
        let own = &folder.join(&added.name);
        let mut failures = checks(&spec, entry, own, engine, device);
        if let Some(failure) = by_seed(&failures)
            && !is_last
        {
            return Err(Unproved { by_seed: true, ..Unproved::at("check", failure.clone()) });
        }
        added.passed = engine.format().due(entry).filter(|check| !failures.contains_key(check)).collect();
        inherit(added, &mut failures);
        if failures.get(&Check::Half).is_some_and(Failure::lacks_yardstick) {
            let why = failures.remove(&Check::Half).map(|failure| failure.message).unwrap_or_default();
            added.draft.reasons.push(format!("check half is left out: {why}"));
            added.draft.omit.insert(Check::Half.name().to_owned(), Some(why));
        }
        if failures.len() == 1 && failures.remove(&Check::EveryParameter).is_some() {
            excuse(entry, own, added).map_err(unchecked)?;
            added.passed.push(Check::EveryParameter);
        }
        if !failures.is_empty() {
            return Err(unchecked(all(failures)));
        }
        rewrite(files, added).map_err(unchecked)
    }
}

/// Why a draft is no entry yet.
struct Unproved {
    stage: &'static str,
    failure: Failure,
    /// Whether another seed may do.
    by_seed: bool,
}

impl Unproved {
    fn at(stage: &'static str, failure: Failure) -> Self {
        Self { stage, failure, by_seed: false }
    }
}

fn unchecked(failure: Failure) -> Unproved {
    Unproved::at("check", failure)
}

/// The failure that another seed may mend: a rounding too large for a yardstick, or a text that is written otherwise, alone.
fn by_seed(failures: &BTreeMap<Check, Failure>) -> Option<&Failure> {
    let rounded = failures.values().find(|failure| failure.lacks_yardstick());
    rounded.or_else(|| failures.get(&Check::Generates).filter(|_| failures.len() == 1))
}

/// Leaves out what the entry that the draft is like leaves out, where the draft fails it too.
fn inherit(added: &mut Added, failures: &mut BTreeMap<Check, Failure>) {
    let draft = &mut added.draft;
    failures.retain(|check, failure| {
        let is_left_out = draft.omit.get(check.name()) == Some(&None);
        if is_left_out {
            draft.omit.remove(check.name());
            let like = draft.like.as_deref().unwrap_or_default();
            draft.reasons.push(format!(
                "check {} is left out, as in {like}: {}",
                check.name(),
                failure.message
            ));
        }
        !is_left_out
    });
}

/// Writes the parameters that move no output into the draft, as what was measured: why is for people to say.
fn excuse(entry: &Entry, folder: &Path, added: &mut Added) -> Result<(), Failure> {
    let nothing = || Failure::new(Stage::Export, format!("no artifact at {}", folder.display()));
    let manifest = artifact::manifest(folder)?.ok_or_else(nothing)?;
    let names = every_parameter::unexcused(&manifest.idle, &entry.idle);
    let all =
        Vec::from_iter(manifest.parameters.tensors.keys().map(|name| every_parameter::eager_name(name)));
    added.draft.idle = draft::idle(&names, &all);
    added
        .draft
        .reasons
        .push(format!("idle: {} parameters move no output; say why in the entry", names.len()));
    Ok(())
}

/// Brings the files in step with a draft that has changed since it was put there.
fn rewrite(files: &mut SpecFiles, added: &mut Added) -> Result<(), Failure> {
    let lines = added.draft.lines(&added.name, &added.base);
    if lines == added.lines {
        return Ok(());
    }
    let (family, name) = (&added.draft.family, &added.name);
    files.remove(family, name).at(Stage::Spec, name)?;
    added.lines = lines;
    files.insert(family, name, &added.lines).at(Stage::Spec, name).map(drop)
}

/// All failed checks as one failure: the first and the names of the others in one line, what these say below.
fn all(mut failures: BTreeMap<Check, Failure>) -> Failure {
    // Parameters that move no output tell least: what else failed may be why.
    let idle = failures.remove_entry(&Check::EveryParameter);
    let mut failures = failures.into_iter().chain(idle);
    let (check, first) = failures.next().expect("some check failed");
    let others = Vec::from_iter(failures);
    let names = Vec::from_iter(others.iter().map(|(check, _)| check.name()));
    let too = if names.is_empty() { String::new() } else { format!(" (and {})", names.join(", ")) };
    let told = others.iter().map(|(check, failure)| format!("{}: {}", check.name(), failure.message));
    let details = first.details.iter().take(4).cloned().chain(told).collect();
    Failure { message: format!("{}{too}: {}", check.name(), first.message), details, ..first }
}

/// The entry of that name, in any spelling, or why it is listed as missing.
fn already(spec: &Spec, request: &AddRequest) -> Option<Tried> {
    let asked = plain(request.name.as_ref().unwrap_or(&request.asked));
    if let Some(entry) = spec.entries.iter().find(|entry| plain(entry.name.as_str()) == asked) {
        return Some(Tried::Already { name: entry.name.to_string(), place: entry.place.clone() });
    }
    let missing = spec.missing.iter().find(|missing| plain(missing.name.as_str()) == asked)?;
    let reason = format!("{}: listed as missing: {}", missing.place, missing.reason);
    Some(refused(missing.stage, reason))
}

/// The source that the request names, else the one with the roster's package and version, else the usual one.
fn source<'a>(spec: &'a Spec, request: &'a AddRequest) -> &'a str {
    let pinned = request.row.as_ref().map(|row| row.source.as_str());
    let of = |source: &Source| format!("{}=={}", source.package, source.version);
    let known = spec.versions.sources.iter().find(|(_, source)| Some(of(source).as_str()) == pinned);
    request.source.as_deref().or(known.map(|(name, _)| name.as_str())).unwrap_or(SOURCE)
}

/// Puts a draft into the files.
fn place(
    files: &mut SpecFiles,
    spec: &Spec,
    bases: &BTreeMap<String, Base>,
    request: &AddRequest,
    mut draft: Draft,
) -> Tried {
    let name = entry_name(request, &draft);
    draft.priority = request.row.as_ref().map(|row| row.priority.clone());
    draft.source = Some(source(spec, request)).filter(|source| *source != SOURCE).map(str::to_owned);
    let like = spec.entries.iter().find(|entry| draft.like.as_deref() == Some(entry.name.as_str()));
    let base = like.map(Base::of).or_else(|| bases.get(&draft.family).cloned());
    let Some(base) = base else { return refused("spec", format!("no family is called '{}'", draft.family)) };
    let lines = draft.lines(&name, &base);
    match files.insert(&draft.family, &name, &lines) {
        Ok(_) => Tried::Added(Box::new(Added { name, draft, lines, passed: Vec::new(), base })),
        Err(error) => refused("spec", error),
    }
}

/// The name as it was wished for; else as the roster, else as transformers spells it, with hyphens.
fn entry_name(request: &AddRequest, draft: &Draft) -> String {
    let row = request.row.as_ref().map(|row| row.name.clone());
    let hyphened = || {
        let same = plain(&request.asked) == plain(&draft.model_type);
        if same { &draft.model_type } else { &request.asked }.replace('_', "-")
    };
    request.name.clone().or(row).unwrap_or_else(hyphened)
}

/// The checks that the entry fails.
fn checks(
    spec: &Spec,
    entry: &Entry,
    folder: &Path,
    engine: &'static dyn Engine,
    device: Device,
) -> BTreeMap<Check, Failure> {
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let model = subject.model();
    match Session::open(folder, &model, engine, Lane::new(engine.format(), device)) {
        Err(failure) => BTreeMap::from([(Check::Loads, failure)]),
        Ok(session) => {
            let context = session.context(&model, entry.task);
            let failure = |check: Check| Some((check, check::body(check)(&context).err()?));
            engine.format().due(entry).filter_map(failure).collect()
        }
    }
}

/// Moves a good draft's artifact to where the next test looks for it.
fn keep(drafts: &Path, artifacts: &Path, model: &str) -> Result<(), Failure> {
    let target = artifacts.join(model);
    if target.exists() {
        std::fs::remove_dir_all(&target).at(Stage::Export, target.display())?;
    }
    std::fs::rename(drafts.join(model), &target).at(Stage::Export, target.display())
}

/// The best device for trials; none in a build without a real engine.
///
/// # Errors
/// Stage `move`.
pub fn device() -> Result<Option<(&'static dyn Engine, Device)>, Failure> {
    let Some(engine) = engine::real() else { return Ok(None) };
    Ok(Some((engine, engine::choose("auto")?.0)))
}

/// The folder of the project's artifacts.
pub fn artifacts() -> std::path::PathBuf {
    artifact::root()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(asked: &str) -> AddRequest {
        AddRequest { asked: asked.to_owned(), ..AddRequest::default() }
    }

    fn of_type(model_type: &str) -> Draft {
        Draft { model_type: model_type.to_owned(), ..Draft::default() }
    }

    #[test]
    fn an_entry_is_named_as_wished_then_as_the_roster_then_with_hyphens() {
        assert_eq!(entry_name(&request("Qwen3VL"), &of_type("qwen3_vl")), "qwen3-vl");
        assert_eq!(entry_name(&request("my_llama"), &of_type("llama")), "my-llama");
        let row = crate::roster::Row { name: "qwen2.5-vl".to_owned(), ..Default::default() };
        let known = AddRequest { row: Some(row), ..request("qwen25vl") };
        assert_eq!(entry_name(&known, &of_type("qwen2_5_vl")), "qwen2.5-vl");
        let named = AddRequest { name: Some("command_r".to_owned()), ..known };
        assert_eq!(entry_name(&named, &of_type("cohere")), "command_r");
    }

    #[test]
    fn an_entry_is_there_already_in_any_spelling() {
        let spec = crate::spec::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        for asked in ["gpt2", "GPT-2", "gpt_2"] {
            assert!(
                matches!(already(&spec, &request(asked)), Some(Tried::Already { name, .. }) if name == "gpt2")
            );
        }
        assert!(already(&spec, &request("gpt3")).is_none());
    }

    #[test]
    fn a_batch_of_what_was_planned_finds_everything_there_or_listed_as_missing() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (spec, rows) = (crate::spec::load(root).unwrap(), crate::roster::read(root).unwrap());
        let planned: Vec<_> = rows.iter().filter(|row| row.tier == "plan").collect();
        let mut families: BTreeMap<String, Vec<serde_json::Value>> = BTreeMap::new();
        for row in &planned {
            let name = row.name.replace(['-', '.'], "_");
            let item = serde_json::json!({"name": name, "task": row.task, "original_name": row.name});
            families.entry(row.category.replace('-', "_")).or_default().push(item);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        std::fs::write(&path, serde_json::to_string(&families).unwrap()).unwrap();
        let requests = crate::author::batch::read(&path, &rows).unwrap();
        assert_eq!(requests.len(), planned.len());
        for request in requests {
            match already(&spec, &request) {
                Some(Tried::Already { name, .. }) => assert_eq!(name, request.asked),
                Some(Tried::Refused(why)) => assert!(why.reason.contains("listed as missing"), "{why:?}"),
                other => panic!("{}: {other:?}", request.asked),
            }
        }
    }

    #[test]
    fn all_failed_checks_are_told_the_first_of_them_in_one_line() {
        let failure = |message: &str| Failure::new(Stage::Compare, message);
        let failures = [
            (Check::EveryParameter, failure("1 of 2")),
            (Check::Half, failure("far off")),
            (Check::Causal, failure("looks ahead").with("at 3")),
        ];
        let told = all(BTreeMap::from(failures));
        assert_eq!(told.message, "causal (and half, every_parameter): looks ahead");
        assert_eq!(told.details, ["at 3", "half: far off", "every_parameter: 1 of 2"]);
    }
}
