use super::*;
use crate::certify::bundle::{self, Draft};
use crate::certify::certificate::{self, Checked};
use crate::certify::found::{Found, sample};
use std::path::PathBuf;

/// A bundle of two programs, a tokenizer and a config below it, with a certificate of one check.
pub(crate) fn bundle(folder: &Path) -> PathBuf {
    let [artifact, checkpoint] = ["artifact", "checkpoint"].map(|name| folder.join(name));
    fs::create_dir_all(&artifact).unwrap();
    fs::create_dir_all(checkpoint.join("1_Pooling")).unwrap();
    let programs = ["program.pt", "program.bfloat16.pt"].map(|name| (name.to_owned(), name.to_owned()));
    programs.iter().for_each(|(name, _)| fs::write(artifact.join(name), "some weights").unwrap());
    let names = ["tokenizer.json", "1_Pooling/config.json", "model.safetensors"];
    names.iter().for_each(|name| fs::write(checkpoint.join(name), "{}").unwrap());
    let files = names.map(|name| (name.to_owned(), String::new())).into();
    let found = Found { root: checkpoint, files, ..sample() };
    let mut certificate = certificate::sample();
    let out = folder.join("certified/mine");
    let draft = Draft::new(&out, &artifact, &programs.into(), &found).unwrap();
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

/// Changes what a certificate says; `sealed` as one would who seals it again.
fn certified(out: &Path, sealed: bool, change: impl Fn(&mut Certificate)) {
    let mut certificate = read(out).unwrap();
    change(&mut certificate);
    fs::write(out.join(FILE), serde_json::to_string_pretty(&certificate).unwrap() + "\n").unwrap();
    if sealed {
        let digest = bundle::contents(out).unwrap()[FILE].clone().unwrap();
        fs::write(out.join(SEAL), digest).unwrap();
    }
}

/// Changes the bytes of a file.
fn bytes(out: &Path, file: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(out.join(file)).unwrap();
    change(&mut bytes);
    fs::write(out.join(file), bytes).unwrap();
}

fn add(out: &Path, file: &str) {
    fs::create_dir_all(out.join(file).parent().unwrap()).unwrap();
    fs::write(out.join(file), "{}").unwrap();
}

#[test]
fn a_bundle_is_whole_and_holds_no_weights_twice() {
    let folder = tempfile::tempdir().unwrap();
    let out = bundle(folder.path());
    let files =
        ["1_Pooling/config.json", "certificate.html", "program.bfloat16.pt", "program.pt", "tokenizer.json"];
    let (certificate, problems) = verify(&out, Some("2.11.0+cpu")).unwrap();
    assert_eq!(certificate.files.keys().collect::<Vec<_>>(), files);
    assert_eq!(problems, []);
    assert_eq!(verify(&out, None).unwrap().1, [], "no torch to compare with is no problem");
}

/// What is done to a bundle, and what is told of it.
type Fault = (&'static str, fn(&Path), &'static [&'static str]);

const CHANGED: &str = "program.pt is not the file that was certified: its sha256 differs";
const FORGED: &str = "certificate.json is not the file that was certified: its sha256 differs";

const FAULTS: &[Fault] = &[
    ("one bit of one weight", |out| bytes(out, "program.pt", |bytes| bytes[7] ^= 1), &[CHANGED]),
    (
        "a weight of the other precision",
        |out| bytes(out, "program.bfloat16.pt", |bytes| bytes[0] += 1),
        &["program.bfloat16.pt is not the file that was certified: its sha256 differs"],
    ),
    ("a program that is cut", |out| bytes(out, "program.pt", |bytes| bytes.truncate(3)), &[CHANGED]),
    ("a program that is longer", |out| bytes(out, "program.pt", |bytes| bytes.push(0)), &[CHANGED]),
    ("an empty program", |out| bytes(out, "program.pt", Vec::clear), &[CHANGED]),
    (
        "another tokenizer",
        |out| bytes(out, "tokenizer.json", |bytes| bytes[0] = b'['),
        &["tokenizer.json is not the file that was certified: its sha256 differs"],
    ),
    (
        "another page",
        |out| bytes(out, "certificate.html", |bytes| bytes[9] ^= 1),
        &["certificate.html is not the file that was certified: its sha256 differs"],
    ),
    (
        "a program in another's place",
        |out| fs::rename(out.join("tokenizer.json"), out.join("program.pt")).unwrap(),
        &[CHANGED, "tokenizer.json is missing"],
    ),
    ("no program", |out| fs::remove_file(out.join("program.pt")).unwrap(), &["program.pt is missing"]),
    (
        "a folder in a program's place",
        |out| {
            fs::remove_file(out.join("program.pt")).unwrap();
            fs::create_dir(out.join("program.pt")).unwrap();
        },
        &["program.pt is missing"],
    ),
    (
        "a folder that is missing",
        |out| fs::remove_dir_all(out.join("1_Pooling")).unwrap(),
        &["1_Pooling/config.json is missing"],
    ),
    ("a file more", |out| add(out, "added_tokens.json"), &["added_tokens.json is no part of the bundle"]),
    (
        "a file more in a folder more",
        |out| add(out, "2_Dense/config.json"),
        &["2_Dense/config.json is no part of the bundle"],
    ),
    (
        "what cargo would run",
        |out| add(out, "example/build.rs"),
        &["example/build.rs is no part of the bundle"],
    ),
    ("what cargo has made, which is no fault", |out| add(out, "example/target/debug/example"), &[]),
    ("no seal", |out| fs::remove_file(out.join(SEAL)).unwrap(), &["certificate.json.sha256 is missing"]),
    ("another seal", |out| bytes(out, SEAL, |bytes| bytes[0] ^= 1), &[FORGED]),
    ("a blank in the certificate", |out| bytes(out, FILE, |bytes| bytes.push(b' ')), &[FORGED]),
    ("a certificate of more parameters", |out| certified(out, false, |one| one.parameters += 1), &[FORGED]),
    ("a certificate without its checks", |out| certified(out, false, |one| one.checks.clear()), &[FORGED]),
    (
        "a digest changed with its file",
        |out| {
            bytes(out, "program.pt", |bytes| bytes[7] ^= 1);
            let digest = bundle::contents(out).unwrap()["program.pt"].clone().unwrap();
            certified(out, false, |one| drop(one.files.insert("program.pt".to_owned(), digest.clone())));
        },
        &[FORGED],
    ),
    (
        "a file left out of the certificate",
        |out| certified(out, true, |one| drop(one.files.remove("program.pt"))),
        &["program.pt is no part of the bundle"],
    ),
    (
        "a check that failed",
        |out| {
            certified(out, true, |one| {
                let half =
                    Checked { check: "half".to_owned(), status: Status::Failed, ..one.checks[0].clone() };
                one.checks.push(half);
            });
        },
        &["half failed"],
    ),
    (
        "another torch",
        |out| {
            certified(out, true, |one| drop(one.versions.insert("torch".to_owned(), "2.10.0".to_owned())));
        },
        &["proved with torch 2.10.0, and 2.11.0 is here"],
    ),
];

#[test]
fn whatever_is_not_as_it_was_certified_is_found() {
    for (name, spoil, told) in FAULTS {
        assert_eq!(problems(spoil), *told, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_found_though_it_leads_to_the_same_bytes() {
    use std::os::unix::fs::symlink;
    let linked = |name: &'static str| {
        problems(move |out| {
            let elsewhere = out.with_extension("elsewhere");
            fs::rename(out.join(name), &elsewhere).unwrap();
            symlink(elsewhere, out.join(name)).unwrap();
        })
    };
    assert_eq!(linked("program.pt"), ["program.pt is no ordinary file"]);
    assert_eq!(linked(SEAL), ["certificate.json.sha256 is no ordinary file"]);
    assert_eq!(
        linked("1_Pooling"),
        ["1_Pooling/config.json is missing", "1_Pooling is no part of the bundle"]
    );
    let built = problems(|out| {
        fs::create_dir(out.join("example")).unwrap();
        symlink("/tmp", out.join("example/target")).unwrap();
    });
    assert_eq!(built, ["example/target is no part of the bundle"]);
    let folder = tempfile::tempdir().unwrap();
    let out = bundle(folder.path());
    fs::rename(out.join(FILE), folder.path().join(FILE)).unwrap();
    symlink(folder.path().join(FILE), out.join(FILE)).unwrap();
    assert!(verify(&out, None).unwrap_err().message.ends_with("certificate.json: it is no ordinary file"));
}

#[test]
fn a_folder_that_is_no_bundle_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years").unwrap();
    let failure = verify(folder.path(), None).unwrap_err();
    assert!(failure.message.contains("is no bundle: certificate.json"), "{failure}");
    let failure = bundle::may_replace(folder.path()).unwrap_err();
    assert!(failure.message.ends_with("holds no bundle: it is left as it is"), "{failure}");
    let out = bundle(folder.path());
    assert!(bundle::may_replace(&out).is_ok());
    certified(&out, true, |certificate| certificate.format += 1);
    assert!(verify(&out, None).unwrap_err().message.contains("it has format 4, this program reads 3"));
    bytes(&out, FILE, |bytes| bytes.truncate(40));
    assert!(verify(&out, None).unwrap_err().message.contains("is no bundle: certificate.json: EOF"));
}
