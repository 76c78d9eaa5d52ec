//! Text in, answer out: a small crate in the bundle, compiled, run and held to Python before anybody gets it.
//!
//! In: a bundle's folder with programs and tokenizer. Out: `example/` in it, and what was compared: the tokenizer of the
//! crate `tokenizers` on texts that tokenizers stumble over, token by token, and answers to a few texts.

mod answers;
mod code;
mod corpus;
mod writing;

use super::certificate::{Answered, Certificate, Texts};
use super::found::Found;
use super::subject::{EMBEDDING, Subject};
use crate::artifact::{Decoding, Manifest, StepProgram};
use crate::failure::{At, Failure, Stage};
use crate::process;
use crate::spec::NEW_TOKENS;
use answers::{Answer, Answers, Rows};
use code::{Kind, Plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where examples are built: dependencies are compiled once for all bundles.
const TARGET: &str = "target/certified";
/// The versions of this project's dependencies, to begin with.
const LOCK: &str = "Cargo.lock";
/// An answer is made by libtorch and by eager Python, each of which may be off by what is allowed.
const BOTH: f64 = 2.0;

/// Writes `example/` into a bundle's folder and compares it with Python; the inner error says why there is none.
///
/// # Errors
/// Stage `export`: it cannot be compiled or run. Stage `compare`: its tokens or answers are not Python's.
pub fn make(
    folder: &Path,
    subject: &Subject,
    found: &Found,
    manifest: &Manifest,
    certificate: &Certificate,
) -> Result<Result<Texts, String>, Failure> {
    let entry = subject.entry();
    let Some((kind, read)) = kind(found) else {
        return Ok(Err(format!("there is none for {} yet", found.task)));
    };
    if let Some(name) = code::foreign(&entry.inputs) {
        return Ok(Err(format!("no text is made into the input {name}")));
    }
    let answers = match answers::ask(&subject.spec, found)? {
        Ok(answers) => answers,
        Err(none) => return Ok(Err(none)),
    };
    let inner = found.folder.strip_prefix(&found.root).unwrap_or(Path::new(""));
    let tokenizer = inner.join("tokenizer.json").to_string_lossy().into_owned();
    let cache = cache(kind, manifest);
    let plan = Plan {
        name: subject.name.as_str(),
        kind,
        inputs: &entry.inputs,
        output: entry.outputs.iter().position(|output| output.name == read).unwrap_or(0),
        rules: &answers.rules,
        tokenizer: &tokenizer,
        cache,
        outputs: entry.outputs.len(),
        new_tokens: NEW_TOKENS,
    };
    let (folder, package) = (folder.join("example"), format!("example_{}", subject.name.module()));
    write(&folder, &package, &plan).at(Stage::Export, "writing the example")?;
    let program = build(&folder, &package)?;
    tokens(&program, &answers)?;
    let answered = samples(&program, kind, &answers, allowed(certificate, read))?;
    let compared = corpus::corpus().len();
    Ok(Ok(Texts {
        max_length: answers.rules.max_length,
        notes: answers.rules.notes,
        cached: cache.is_some(),
        compared,
        pairs: compared,
        answers: answered,
    }))
}

/// What an example for the checkpoint prints, and the output that it reads.
fn kind(found: &Found) -> Option<(Kind, &'static str)> {
    match (&found.embedding, found.task.as_str()) {
        (Some(_), _) => Some((Kind::Embedding, EMBEDDING)),
        (None, "text-classification") => Some((Kind::Label, "logits")),
        (None, "text-generation") => Some((Kind::Text, "logits")),
        _ => None,
    }
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
    fs::write(folder.join("Cargo.toml"), code::manifest(package))?;
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
        let file = tempfile::NamedTempFile::new().at(Stage::Run, "texts for the example")?;
        serde_json::to_writer(file.as_file(), &texts).at(Stage::Run, "texts for the example")?;
        let said = run(program, &["--encode", &file.path().to_string_lossy()])?;
        let rows: Rows = serde_json::from_str(&said).at(Stage::Run, "the example's tokens")?;
        same(&texts, expected, &rows)?;
    }
    Ok(())
}

/// The first token that is another than Python's.
fn same(texts: &[Vec<String>], expected: &Rows, found: &Rows) -> Result<(), Failure> {
    for (name, rows) in expected {
        // What the program does not take is not among them.
        let Some(own) = found.get(name) else { continue };
        for (place, text) in texts.iter().enumerate() {
            if own.get(place) != rows.get(place) {
                let told: String = format!("{text:?}").chars().take(80).collect();
                let message = format!("{name} of text {place} differ from Python's: {told}");
                let line = |rows: &[Vec<i64>]| {
                    let row = rows.get(place).map_or("no row".to_owned(), |row| format!("{row:?}"));
                    row.chars().take(200).collect::<String>()
                };
                return Err(Failure::new(Stage::Compare, message)
                    .with(format!("got      {}", line(own)))
                    .with(format!("expected {}", line(rows))));
            }
        }
    }
    Ok(())
}

/// How far an answer may be from Python's: the most that any case allows that output.
fn allowed(certificate: &Certificate, output: &str) -> f64 {
    let figures = certificate.checks.iter().filter(|checked| checked.check != "half");
    let figures = figures.flat_map(|checked| &checked.figures).filter(|figure| figure.output == output);
    BOTH * figures.map(|figure| figure.limit).fold(0.0, f64::max)
}

/// Whether the samples are answered as in Python.
fn samples(program: &Path, kind: Kind, python: &Answers, limit: f64) -> Result<Vec<Answered>, Failure> {
    let texts: Vec<&str> = python.samples.iter().map(String::as_str).collect();
    let said = run(program, &texts)?;
    let lines = said.lines().map(serde_json::from_str);
    let found: Vec<Answer> = lines.collect::<Result<_, _>>().at(Stage::Run, "the example's answers")?;
    if [found.len(), python.answers.len()] != [texts.len(); 2] {
        let counts = format!("the example answered {} of {} texts", found.len(), texts.len());
        return Err(Failure::new(Stage::Run, counts));
    }
    let pairs = texts.into_iter().zip(found.iter().zip(&python.answers));
    pairs.map(|(text, (found, expected))| answered(text, kind, found, expected, limit)).collect()
}

fn answered(
    text: &str,
    kind: Kind,
    found: &Answer,
    expected: &Answer,
    limit: f64,
) -> Result<Answered, Failure> {
    let (told, python, error) = match kind {
        Kind::Embedding => {
            let vectors = (&found.sentence_embedding, &expected.sentence_embedding);
            let told = |vector: &[f64]| format!("{:.4?}…", &vector[..vector.len().min(4)]);
            (told(vectors.0), told(vectors.1), rmse(vectors.0, vectors.1))
        }
        Kind::Label => (found.label.clone(), expected.label.clone(), rmse(&found.scores, &expected.scores)),
        Kind::Text => (found.text.clone(), expected.text.clone(), 0.0),
    };
    let is_same = match kind {
        Kind::Embedding => true,
        Kind::Label => found.label == expected.label,
        Kind::Text => found.text == expected.text && found.tokens == expected.tokens,
    };
    match is_same && error <= limit {
        true => Ok(Answered { text: text.to_owned(), answer: told, error, limit }),
        false => {
            Err(Failure::new(Stage::Compare, format!("the example's answer to {text:?} is not Python's"))
                .with(format!("got      {told}"))
                .with(format!("expected {python}"))
                .with(format!("off by {error:.2e}, allowed {limit:.2e}")))
        }
    }
}

/// Infinite where one is longer.
fn rmse(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() || found.is_empty() {
        return f64::INFINITY;
    }
    let squares: f64 = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / found.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::found::sample;

    fn rows(ids: &[&[i64]]) -> Rows {
        Rows::from([("input_ids".to_owned(), ids.iter().map(|row| row.to_vec()).collect())])
    }

    #[test]
    fn one_token_that_is_another_is_told_with_its_text() {
        let texts = [vec!["one".to_owned()], vec!["two".to_owned(), "\u{7}".to_owned()]];
        let python = rows(&[&[1, 2], &[3, 4]]);
        assert!(same(&texts, &python, &python).is_ok());
        let failure = same(&texts, &python, &rows(&[&[1, 2], &[3, 5]])).unwrap_err();
        assert_eq!(failure.message, r#"input_ids of text 1 differ from Python's: ["two", "\u{7}"]"#);
        assert_eq!(failure.details, ["got      [3, 5]", "expected [3, 4]"]);
        assert!(same(&texts, &python, &rows(&[&[1, 2]])).is_err(), "a row is missing");
        let more = python.values().map(|rows| ("of_no_program".to_owned(), rows.clone())).collect();
        assert!(same(&texts, &more, &python).is_ok(), "what the program does not take is not compared");
    }

    #[test]
    fn an_answer_is_pythons_or_told_beside_it() {
        let embedding = |vector: &[f64]| Answer { sentence_embedding: vector.to_vec(), ..Answer::default() };
        let held =
            |found: &[f64]| answered("a", Kind::Embedding, &embedding(found), &embedding(&[0.6, 0.8]), 1e-3);
        assert!(held(&[0.6, 0.8001]).is_ok());
        assert!(held(&[0.6, 0.9]).unwrap_err().details[2].ends_with("allowed 1.00e-3"));
        assert!(held(&[0.6]).is_err(), "a vector that is too short");
        let label =
            |label: &str| Answer { label: label.to_owned(), scores: vec![0.5, 0.5], ..Answer::default() };
        assert!(answered("a", Kind::Label, &label("good"), &label("good"), 0.0).is_ok());
        assert!(answered("a", Kind::Label, &label("good"), &label("bad"), 1.0).is_err());
        let text = |tokens: &[i64]| Answer {
            text: "Paris".to_owned(),
            tokens: tokens.to_vec(),
            ..Answer::default()
        };
        assert!(answered("a", Kind::Text, &text(&[7]), &text(&[7]), 0.0).is_ok());
        assert!(answered("a", Kind::Text, &text(&[7]), &text(&[8]), 0.0).is_err());
    }

    #[test]
    fn what_an_example_prints_follows_from_what_was_found() {
        let of = |task: &str| kind(&Found { task: task.to_owned(), ..sample() }).map(|(kind, _)| kind);
        assert_eq!(of("text-classification"), Some(Kind::Label));
        assert_eq!(of("text-generation"), Some(Kind::Text));
        assert_eq!(of("image-classification"), None);
        let corpus = corpus::corpus();
        assert!(corpus.iter().any(|text| text.chars().count() == 10_000));
        let is_long = |text: &str| text.chars().count() > 500;
        let both = corpus::pairs(&corpus).into_iter().filter(|(a, b)| is_long(a) && is_long(b)).count();
        assert_eq!(both, 0, "pieces of one would be multiplied by pieces of the other");
    }
}
