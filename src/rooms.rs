//! The rooms call one way: each may use what lies on lower floors, never what lies beside or above it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up.
const FLOORS: [&[&str]; 11] = [
    &["device", "interpreter", "process", "roster", "task"],
    &["numerics", "spec"],
    &["codegen", "failure", "model", "schema", "typed"],
    &["artifact", "verdict"],
    &["engine"],
    &["check", "export"],
    &["author", "report"],
    &["bench", "doctor", "fuzz", "runner"],
    &["certify"],
    &["command"],
    &["lib", "main", "suite", "rooms"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let inside = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    inside
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => Vec::from_iter((path.extension().is_some_and(|name| name == "rs")).then_some(path)),
        })
        .collect()
}

/// The rooms that code names; tests may use what they like.
fn used(text: &str) -> Vec<&str> {
    let code = text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(code, _)| code);
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths =
        lines.flat_map(|line| line.split("crate::").skip(1).chain(line.split("hf_conformance::").skip(1)));
    paths
        .map(|path| path.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().unwrap_or_default())
        .collect()
}

#[test]
fn every_room_uses_lower_floors_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in rust_files(&root) {
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let room = file.split('/').next().unwrap().trim_end_matches(".rs");
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let Some(own) = floor(room) else {
            wrong.push(format!("{file}: the room '{room}' has no floor"));
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let higher = used(&text).into_iter().filter(|&other| other != room && floor(other) >= Some(own));
        wrong.extend(higher.map(|other| format!("{file} uses '{other}'")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_code_uses_is_found_and_what_comments_and_tests_use_is_not() {
    let text = "//! See [`crate::report`].\nuse crate::spec::Name;\nlet a = hf_conformance::task::all();\n\
                #[cfg(test)]\nmod tests {\n    use crate::command::X;\n}\n";
    assert_eq!(used(text), ["spec", "task"]);
}
