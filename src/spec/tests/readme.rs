//! The README documents every key, and its examples are good ones.

use super::super::Check;
use super::super::family::MODEL_KEYS;
use super::super::layer::DEFAULTS_KEYS;
use super::{entries, project};
use std::fs;

fn readme() -> String {
    fs::read_to_string(project().join("spec/README.md")).unwrap()
}

/// The first block of code below a heading.
fn example(readme: &str, heading: &str) -> Vec<String> {
    let section = readme.split(heading).nth(1).unwrap();
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    lines.take_while(|line| line.starts_with("    ")).map(str::to_owned).collect()
}

#[test]
fn every_key_has_a_row() {
    let readme = readme();
    for key in MODEL_KEYS.into_iter().chain(DEFAULTS_KEYS) {
        assert!(readme.contains(&format!("| `{key}` |")), "{key}");
    }
}

#[test]
fn the_projects_readme_says_what_every_check_proves() {
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    for check in Check::ALL {
        let row = format!("| `{}` | {} |", check.name(), check.proves());
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn the_examples_are_good() {
    let readme = readme();
    let family = example(&readme, "# The spec").join("\n");
    let tolerance = example(&readme, "## Tolerances").join("\n    ");
    let entries = entries(&[("encoder-only.yaml", &format!("{family}\n    {tolerance}\n"))]);
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["roberta", "xlm-roberta"]);
    assert_eq!(entries[1].tolerance[0].check, Check::MatchesReference);
}
