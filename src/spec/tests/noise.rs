//! Noise: whatever the bytes, there is an answer, soon, and it is not a panic.

use super::{check, checked_in, lines};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Much longer than any of these needs, much shorter than one that is not linear.
const SOON: Duration = Duration::from_secs(60);

/// The problems of a file, which must come soon.
fn problems(bytes: &[u8]) -> String {
    let start = Instant::now();
    let lines = check(&[("text.yaml", bytes)]).err().map(|problems| lines(&problems)).unwrap_or_default();
    assert!(start.elapsed() < SOON);
    lines
}

#[test]
fn a_bomb_does_not_go_off() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, last) in ('b'..='z').zip('a'..) {
        bomb += &format!("{name}: &{name} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n");
    }
    assert_eq!(problems(bomb.as_bytes()), "spec/text.yaml:1:4: anchors are not supported: use `like:`\n");
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        let bytes = open.repeat(10_000) + &close.repeat(10_000);
        let lines = problems(bytes.as_bytes());
        assert!(
            lines.contains("nested deeper than 64 levels") || lines.contains("recursion"),
            "{open} {lines}"
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let scalar = |length: usize| format!("family: text\nmodels: [{{name: {}}}]\n", "x".repeat(length));
    assert_eq!(
        problems(scalar(100_000).as_bytes()),
        "spec/text.yaml:2:17: a value of 100000 bytes: at most 65536 are allowed\n"
    );
    assert_eq!(
        problems(scalar(10_000_000).as_bytes()),
        "spec/text.yaml:1:1: a file of 10000032 bytes: at most 1048576 are allowed\n"
    );
}

#[test]
fn large_files_are_read_in_linear_time() {
    let keys: String = (0..70_000).map(|index| format!("key{index}: 1\n")).collect();
    let models: String = (0..20_000).map(|index| format!("- {{name: m{index}}}\n")).collect();
    for text in [
        keys,
        "a: 1\n".repeat(200_000),
        format!("family: text\nmodels:\n{models}"),
        format!("family: text\nmodels: [{}]\n", "[],".repeat(300_000)),
        "\n".repeat(1_000_000),
        "- ".repeat(500_000),
        "\"".repeat(1_000_000),
        "#".repeat(1_000_000),
        "|\n".repeat(500_000),
        "'a': ".repeat(200_000),
        format!("a: {}", "b ".repeat(500_000)),
        format!("a: \"{}", "\\n\n".repeat(300_000)),
    ] {
        assert_ne!(problems(text.as_bytes()), "");
    }
}

#[test]
fn line_ends_and_byte_order_marks_are_fine() {
    let text = "family: text\r\nmodels:\r\n  - name: no\r\n    class: A\r\n    task: x\r\n";
    let expected = problems(text.replace('\r', "").as_bytes());
    assert!(expected.starts_with("spec/text.yaml:5:11: unknown `task` 'x'"), "{expected}");
    assert_eq!(problems(text.as_bytes()), expected);
    assert_eq!(problems(format!("\u{feff}{text}").as_bytes()), expected);
}

#[test]
fn words_that_older_yaml_reads_as_values_are_names() {
    let file = |name: &str| format!("family: text\nmodels: [{{name: {name}, class: A, task: x}}]\n");
    for name in ["no", "on", "yes", "off", "y", "N"] {
        assert!(problems(file(name).as_bytes()).starts_with("spec/text.yaml:2:"), "{name}");
        assert!(problems(file(name).as_bytes()).contains("unknown `task` 'x'"), "{name}");
        assert!(!problems(file(name).as_bytes()).contains("`name`"), "{name}");
    }
    for name in ["1e3", "0x1f", ".5", "true"] {
        assert!(problems(file(name).as_bytes()).contains("`name` must be text"), "{name}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_found_at_every_depth() {
    for text in ["a: 1\na: 2\n", "x: {a: 1, a: 2}\n", "x: [{a: 1, a: 2}]\n", "? a\n: 1\n? \"a\"\n: 2\n"] {
        assert!(problems(text.as_bytes()).contains("'a' is here twice"), "{text}");
    }
}

/// One of the checked-in files after a few random edits.
fn mutated() -> impl Strategy<Value = (String, Vec<u8>)> {
    let files = checked_in();
    let edit = (any::<prop::sample::Index>(), 0..20_usize, prop::collection::vec(any::<u8>(), 0..6));
    (0..files.len(), prop::collection::vec(edit, 1..6)).prop_map(move |(file, edits)| {
        let (path, mut bytes) = files[file].clone();
        for (at, length, new) in edits {
            let start = at.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, new);
        }
        (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
    })
}

/// What YAML gives a meaning.
const PIECES: &[&str] = &[
    "a",
    "family",
    "models",
    "name",
    ": ",
    ":",
    "- ",
    "-",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\n",
    "\n  ",
    "\n    ",
    "#",
    "|",
    ">",
    "'",
    "\"",
    "&a ",
    "*a",
    "!!str ",
    "---",
    "...",
    "%YAML 1.2",
    "\\",
    "\t",
    "\r",
    "~",
    "1",
    "1e3",
    "no",
    "on",
    "a: 1\na: 2\n",
    "\0",
    "\r\n",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "é",
];

fn yaml_like() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        problems(&bytes);
    }

    #[test]
    fn any_text(text in r"\PC{0,200}") {
        problems(text.as_bytes());
    }

    #[test]
    fn any_yaml(text in yaml_like()) {
        let lines = problems(text.as_bytes());
        prop_assert!(lines.lines().all(|line| line.starts_with("spec/")), "{}", lines);
    }

    #[test]
    fn any_mutation((file, bytes) in mutated()) {
        if let Err(problems) = check(&[(&file, &bytes)]) {
            prop_assert!(problems.is_sorted());
        }
    }
}
