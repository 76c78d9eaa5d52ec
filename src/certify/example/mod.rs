//! Text in, answer out: a small crate in the bundle, compiled, run and held to Python before anybody gets it.
//!
//! In: a bundle's folder with programs and tokenizer. Out: `example/` in it, and what was compared: the tokenizer of the
//! crate `tokenizers` on texts that tokenizers stumble over, token by token, and answers to a few texts.

mod answers;
mod code;
mod compare;
mod corpus;
mod heads;
mod media;
mod text;
mod writing;

use super::certificate::{Answered, Certificate, Example, Processed, Texts};
use super::found::Found;
use super::subject::{EMBEDDING, Subject};
use crate::artifact::{Decoding, Manifest, StepProgram};
use crate::failure::{At, Failure, Stage};
use crate::numerics::Tensor;
use crate::process;
use crate::spec::NEW_TOKENS;
use answers::{Answers, Rows, Rules, Steps};
use code::{Kind, Plan};
use corpus::{QUESTION, SAMPLES};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where examples are built: dependencies are compiled once for all bundles.
const TARGET: &str = "target/certified";
/// The versions of this project's dependencies, to begin with.
const LOCK: &str = "Cargo.lock";
/// How many steps it takes to [`make`] one.
pub const STEPS: usize = 4;
/// Classes whose outputs are letters and blanks.
const CTC: &str = "ForCTC";
/// An answer is made by libtorch and by eager Python, each of which may be off by what is allowed.
const BOTH: f64 = 2.0;

/// What examples are made for: a bundle that is not yet finished.
pub struct Proved<'a> {
    pub folder: &'a Path,
    pub subject: &'a Subject,
    pub found: &'a Found,
    pub manifest: &'a Manifest,
    pub certificate: &'a Certificate,
}

/// Writes `example/` into a bundle's folder and compares it with Python; the inner error says why there is none. `hear` is
/// told what is done next.
///
/// # Errors
/// Stage `export`: it cannot be compiled or run. Stage `compare`: its tokens, pixels, samples or answers are not Python's.
pub fn make(proved: &Proved, hear: &dyn Fn(&str)) -> Result<Result<Example, String>, Failure> {
    match kind(proved.found) {
        None => Ok(Err(format!("there is none for {} yet", proved.found.task))),
        Some((Medium::Text, kind, reads)) => of_texts(proved, kind, reads, hear),
        Some((Medium::Other, kind, reads)) => of_media(proved, kind, reads, hear),
    }
}

fn of_texts(
    proved: &Proved,
    kind: Kind,
    reads: &[&str],
    hear: &dyn Fn(&str),
) -> Result<Result<Example, String>, Failure> {
    let (entry, found) = (proved.subject.entry(), proved.found);
    if let Some(name) = text::foreign(&entry.inputs) {
        return Ok(Err(format!("no text is made into the input {name}")));
    }
    hear("asking Python");
    let answers = match answers::ask(&proved.subject.spec, found, &samples(kind))? {
        Ok(answers) => answers,
        Err(none) => return Ok(Err(none)),
    };
    let tokenizer = tokenizer(found);
    let cache = cache(kind, proved.manifest);
    let plan = Plan { tokenizer: &tokenizer, cache, ..plan(proved, kind, reads, &answers.rules) };
    let program = built(proved, &plan, hear)?;
    hear("comparing tokens");
    tokens(&program, &answers)?;
    hear("comparing answers");
    let names: Vec<String> = answers.samples.iter().map(|sample| sample.join(" | ")).collect();
    let limit = allowed(proved.certificate, reads);
    let answered = answered(&program, &names, &answers.samples, &answers.answers, limit)?;
    let compared = corpus::corpus().len();
    let texts = Texts {
        max_length: answers.rules.max_length,
        notes: answers.rules.notes,
        cached: cache.is_some(),
        compared,
        pairs: compared,
    };
    Ok(Ok(Example { texts: Some(texts), processed: Vec::new(), answers: answered }))
}

fn of_media(
    proved: &Proved,
    kind: Kind,
    reads: &[&str],
    hear: &dyn Fn(&str),
) -> Result<Result<Example, String>, Failure> {
    hear("asking Python");
    let scratch = tempfile::tempdir().at(Stage::Export, "a folder for samples")?;
    let python = match answers::processed(&proved.subject.spec, proved.found, scratch.path())? {
        Ok(python) => python,
        Err(none) => return Ok(Err(none)),
    };
    if let Some(name) = python.steps.foreign(&proved.subject.entry().inputs) {
        return Ok(Err(format!("no picture or sound is made into the input {name}")));
    }
    let rules = Rules { meanings: python.meanings, ..python.steps.rules() };
    let tokenizer = tokenizer(proved.found);
    let plan =
        Plan { steps: Some(&python.steps), tokenizer: &tokenizer, ..plan(proved, kind, reads, &rules) };
    let program = built(proved, &plan, hear)?;
    let name = |sample: &Vec<String>| {
        let name = sample.first().and_then(|path| Path::new(path).file_name());
        name.unwrap_or_default().to_string_lossy().into_owned()
    };
    let names: Vec<String> = python.samples.iter().map(name).collect();
    hear("comparing what the model is given");
    let paths: Vec<&String> = python.samples.iter().flatten().collect();
    let processed = processed(&program, &names, &paths, &python.steps, scratch.path())?;
    hear("comparing answers");
    let limit = allowed(proved.certificate, reads);
    let answered = answered(&program, &names, &python.samples, &python.answers, limit)?;
    Ok(Ok(Example { texts: None, processed, answers: answered }))
}

/// The tokenizer's file, from the bundle's folder.
fn tokenizer(found: &Found) -> String {
    let inner = found.folder.strip_prefix(&found.root).unwrap_or(Path::new(""));
    inner.join("tokenizer.json").to_string_lossy().into_owned()
}

/// What all examples are made from.
fn plan<'a>(proved: &Proved<'a>, kind: Kind, reads: &[&str], rules: &'a Rules) -> Plan<'a> {
    let entry = proved.subject.entry();
    let place = |read: &&str| entry.outputs.iter().position(|output| output.name == **read);
    Plan {
        name: proved.subject.name.as_str(),
        kind,
        inputs: &entry.inputs,
        reads: reads.iter().filter_map(place).collect(),
        rules,
        steps: None,
        tokenizer: "",
        cache: None,
        outputs: entry.outputs.len(),
        new_tokens: NEW_TOKENS,
    }
}

/// Writes and compiles an example; the program.
fn built(proved: &Proved, plan: &Plan, hear: &dyn Fn(&str)) -> Result<PathBuf, Failure> {
    let package = format!("example_{}", proved.subject.name.module());
    let folder = proved.folder.join("example");
    write(&folder, &package, plan).at(Stage::Export, "writing the example")?;
    hear("compiling it");
    build(&folder, &package)
}

/// What goes into an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Text,
    /// Pictures or sounds, as the checkpoint's processor says.
    Other,
}

/// What goes into an example for the checkpoint, what it prints, and the outputs that it reads.
fn kind(found: &Found) -> Option<(Medium, Kind, &'static [&'static str])> {
    use Medium::{Other, Text};
    match (&found.embedding, found.task.as_str()) {
        (Some(_), _) => Some((Text, Kind::Embedding, &[EMBEDDING])),
        (None, "text-classification") => Some((Text, Kind::Label, &["logits"])),
        (None, "token-classification") => Some((Text, Kind::Entities, &["logits"])),
        (None, "fill-mask") => Some((Text, Kind::Masks, &["logits"])),
        (None, "question-answering") => Some((Text, Kind::Span, &["start_logits", "end_logits"])),
        (None, "text-generation") => Some((Text, Kind::Text, &["logits"])),
        (None, "image-classification" | "audio-classification") => Some((Other, Kind::Label, &["logits"])),
        (None, "automatic-speech-recognition") if found.class_name.ends_with(CTC) => {
            Some((Other, Kind::Heard, &["logits"]))
        }
        (None, "automatic-speech-recognition") => Some((Other, Kind::Written, &["logits"])),
        _ => None,
    }
}

/// The texts of each answer.
fn samples(kind: Kind) -> Vec<Vec<&'static str>> {
    let asked = (kind == Kind::Span).then_some(QUESTION);
    SAMPLES.iter().map(|text| asked.into_iter().chain([*text]).collect()).collect()
}

/// What a text is written with beside tokens; none where each step reads the whole row again.
fn cache(kind: Kind, manifest: &Manifest) -> Option<&StepProgram> {
    match &manifest.decoding {
        Some(Decoding::Program(about)) if kind == Kind::Text && about.prefill.is_none() => Some(about),
        _ => None,
    }
}

fn write(folder: &Path, package: &str, plan: &Plan) -> std::io::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), code::manifest(package, plan.steps))?;
    fs::write(folder.join("src/main.rs"), code::main_rs(plan))
}

/// Compiles the example; the program.
fn build(folder: &Path, package: &str) -> Result<PathBuf, Failure> {
    let target = std::path::absolute(TARGET).at(Stage::Export, TARGET)?;
    // The versions that this project is tested with; and torch-sys is compiled once, not with each new release of some crate.
    fs::copy(LOCK, folder.join(LOCK)).at(Stage::Export, LOCK)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    let built = process::output(command.arg("--target-dir").arg(&target));
    let built = built.at(Stage::Export, "starting cargo, which compiles the example")?;
    match built.status.success() {
        true => Ok(target.join("debug").join(format!("{package}{}", std::env::consts::EXE_SUFFIX))),
        false => Err(Failure::new(Stage::Export, "the example does not compile")
            .with_end_of(&String::from_utf8_lossy(&built.stderr))),
    }
}

/// What the example prints.
fn run(program: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let libtorch = std::env::var_os("LIBTORCH").map_or_else(|| ".venv/torch".into(), PathBuf::from);
    let libraries = std::path::absolute(libtorch.join("lib")).at(Stage::Run, "libtorch")?;
    let variable = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
    let mut command = Command::new(program);
    let ran = process::output(command.args(arguments).env(variable, libraries));
    let ran = ran.at(Stage::Run, "starting the example")?;
    match ran.status.success() {
        true => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        false => Err(Failure::new(Stage::Run, format!("the example ended with {}", ran.status))
            .with_end_of(&String::from_utf8_lossy(&ran.stderr))),
    }
}

/// Whether the corpus and its pairs become exactly Python's rows.
fn tokens(program: &Path, answers: &Answers) -> Result<(), Failure> {
    let corpus = corpus::corpus();
    let single: Vec<Vec<String>> = corpus.iter().map(|text| vec![text.clone()]).collect();
    let pairs = corpus::pairs(&corpus).into_iter().map(|(a, b)| vec![a, b]).collect();
    for (texts, expected) in [(single, &answers.corpus), (pairs, &answers.pairs)] {
        let file = listed(&texts)?;
        let said = run(program, &["--encode", &file.path().to_string_lossy()])?;
        let rows: Rows = serde_json::from_str(&said).at(Stage::Run, "the example's tokens")?;
        compare::same(&texts, expected, &rows)?;
    }
    Ok(())
}

/// How far an answer may be from Python's: the most that any case allows those outputs.
fn allowed(certificate: &Certificate, outputs: &[&str]) -> f64 {
    let figures = certificate.checks.iter().filter(|checked| checked.check != "half");
    let figures = figures.flat_map(|checked| &checked.figures);
    let figures = figures.filter(|figure| outputs.contains(&figure.output.as_str()));
    BOTH * figures.map(|figure| figure.limit).fold(0.0, f64::max)
}

/// A file with a list in it.
fn listed(list: &impl serde::Serialize) -> Result<tempfile::NamedTempFile, Failure> {
    let file = tempfile::NamedTempFile::new().at(Stage::Run, "a list for the example")?;
    serde_json::to_writer(file.as_file(), list).at(Stage::Run, "a list for the example")?;
    Ok(file)
}

/// What the example makes of pictures or sounds, each held to what Python made of it, which is in the folder.
fn processed(
    program: &Path,
    names: &[String],
    paths: &[&String],
    steps: &Steps,
    folder: &Path,
) -> Result<Vec<Processed>, Failure> {
    let (list, out) = (listed(&paths)?, folder.join("example.safetensors"));
    run(program, &["--encode", &list.path().to_string_lossy(), &out.to_string_lossy()])?;
    let read = |file: &Path| std::fs::read(file).at(Stage::Run, file.display());
    let (own, python) = (read(&out)?, read(&folder.join("python.safetensors"))?);
    let both = [&own, &python]
        .map(|bytes| SafeTensors::deserialize(bytes).at(Stage::Run, "what the model is given"));
    let [own, python] = both;
    let (own, python) = (own?, python?);
    let tensor = |file: &SafeTensors, place: usize| {
        let view = file.tensor(&place.to_string()).at(Stage::Run, "what the model is given")?;
        Tensor::try_from(view).at(Stage::Run, "what the model is given")
    };
    let each = names.iter().enumerate();
    each.map(|(place, name)| compare::processed(name, steps, &tensor(&own, place)?, &tensor(&python, place)?))
        .collect()
}

/// What the example answers to the samples, each held to Python's answer.
fn answered(
    program: &Path,
    names: &[String],
    samples: &[Vec<String>],
    python: &[Value],
    limit: f64,
) -> Result<Vec<Answered>, Failure> {
    let arguments: Vec<&str> = samples.iter().flatten().map(String::as_str).collect();
    let said = run(program, &arguments)?;
    let lines = said.lines().map(serde_json::from_str);
    let found: Vec<Value> = lines.collect::<Result<_, _>>().at(Stage::Run, "the example's answers")?;
    if [found.len(), python.len()] != [samples.len(); 2] {
        let counts = format!("the example answered {} of {} samples", found.len(), samples.len());
        return Err(Failure::new(Stage::Run, counts));
    }
    let pairs = names.iter().zip(found.iter().zip(python));
    pairs
        .map(|(name, (found, expected))| {
            compare::answered(name, found, expected, compare::limit(name, limit))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::found::sample;

    #[test]
    fn what_an_example_prints_follows_from_what_was_found() {
        let of = |task: &str| {
            kind(&Found { task: task.to_owned(), ..sample() }).map(|(medium, kind, _)| (medium, kind))
        };
        assert_eq!(of("text-classification"), Some((Medium::Text, Kind::Label)));
        assert_eq!(of("question-answering"), Some((Medium::Text, Kind::Span)));
        assert_eq!(samples(Kind::Span)[0], [QUESTION, SAMPLES[0]]);
        assert_eq!(samples(Kind::Masks)[0], [SAMPLES[0]]);
        assert_eq!(of("text-generation"), Some((Medium::Text, Kind::Text)));
        assert_eq!(of("image-classification"), Some((Medium::Other, Kind::Label)));
        assert_eq!(of("automatic-speech-recognition"), Some((Medium::Other, Kind::Written)));
        assert_eq!(of("object-detection"), None);
        let corpus = corpus::corpus();
        assert!(corpus.iter().any(|text| text.chars().count() == 10_000));
        let is_long = |text: &str| text.chars().count() > 500;
        let both = corpus::pairs(&corpus).into_iter().filter(|(a, b)| is_long(a) && is_long(b)).count();
        assert_eq!(both, 0, "pieces of one would be multiplied by pieces of the other");
    }
}
