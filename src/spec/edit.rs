//! Entries put into a family file and taken out of it, every other byte left as it is.
//!
//! In: a family file and an entry's lines. Out: the file's new text. The parsed tree says where entries are; what
//! changes is text, so that comments, blank lines and the order of keys stay. A comment right above an entry, and
//! not deeper than its dash, belongs to that entry.

use super::problem::Problems;
use super::tree::{self, Node, Value};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a family file cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("{0}: repair the file first: {1}")]
    Broken(PathBuf, String),
    #[error("{0}: `models:` must be a list with one `- name: …` a line to be edited")]
    Flow(PathBuf),
    #[error("{0}: there is no entry '{1}'")]
    Absent(PathBuf, String),
}

/// An entry of the list and its lines, with the comment above it.
struct Item {
    name: String,
    lines: Range<usize>,
}

/// A family file as lines and the entries among them.
struct Outline<'a> {
    lines: Vec<&'a str>,
    items: Vec<Item>,
    /// The line of `models:`.
    head: usize,
    /// Columns before an entry's dash.
    indent: usize,
}

/// The list's first line, and the whole of a list without an entry.
const HEAD: &str = "models:";
const EMPTY: &str = "models: []";
/// Columns before the first entry's dash, where no other entry tells.
const INDENT: usize = 2;

/// The text of the file with `entry` at its sorted place.
///
/// `entry` is one line per element, the first of them `- name: …`, without indentation of the list.
///
/// # Errors
/// A file that is no family, or whose entries are not one below the other.
pub fn insert(file: &Path, bytes: &[u8], name: &str, entry: &[String]) -> Result<String, EditError> {
    let mut outline = outline(file, bytes)?;
    let head = outline.lines[outline.head].replacen(EMPTY, HEAD, 1);
    outline.lines[outline.head] = &head;
    let after = outline.items.iter().find(|item| item.name.as_str() > name);
    let last = outline.items.last().map_or(outline.head + 1, |item| item.lines.end);
    let at = after.map_or(last, |item| item.lines.start);
    let newline =
        if outline.lines.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
    let indent = " ".repeat(outline.indent);
    let mut new: String = entry.iter().map(|line| format!("{indent}{line}{newline}")).collect();
    let (before, rest) = outline.lines.split_at(at);
    let mut text = before.concat();
    if !text.ends_with('\n') {
        // The file ends without a line break, and shall do so again.
        new = format!("{newline}{}", new.trim_end());
    }
    text += &new;
    Ok(text + &rest.concat())
}

/// The text of the file without the entry of that name and the comment above it.
///
/// # Errors
/// As [`insert`]; and when there is no such entry.
pub fn remove(file: &Path, bytes: &[u8], name: &str) -> Result<String, EditError> {
    let mut outline = outline(file, bytes)?;
    let head = outline.lines[outline.head].replacen(HEAD, EMPTY, 1);
    if outline.items.len() == 1 {
        outline.lines[outline.head] = &head;
    }
    let Some(item) = outline.items.iter().find(|item| item.name == name) else {
        return Err(EditError::Absent(file.to_owned(), name.to_owned()));
    };
    let mut before = outline.lines[..item.lines.start].concat();
    let rest = outline.lines[item.lines.end..].concat();
    if rest.is_empty() && !outline.lines[item.lines.end - 1].ends_with('\n') {
        before.truncate(before.trim_end_matches(['\r', '\n']).len());
    }
    Ok(before + &rest)
}

fn outline<'a>(file: &Path, bytes: &'a [u8]) -> Result<Outline<'a>, EditError> {
    let mut problems = Problems::default();
    let root = tree::parse(file, bytes, &mut problems);
    let broken = |problems: Problems| {
        let first = problems.sorted().first().map(ToString::to_string).unwrap_or_default();
        EditError::Broken(file.to_owned(), first)
    };
    let Some(Node { value: Value::Map(fields), .. }) = root else { return Err(broken(problems)) };
    let models = fields.iter().position(|field| field.key == "models");
    let (Some(models), Ok(text)) = (models, std::str::from_utf8(bytes)) else { return Err(broken(problems)) };
    let Value::List(nodes) = &fields[models].node.value else { return Err(broken(problems)) };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let end = fields[models + 1..].iter().map(|field| field.place.line - 1).next().unwrap_or(lines.len());
    let dashes: Option<Vec<usize>> = nodes.iter().map(|node| dash(&lines, node)).collect();
    let head = fields[models].place.line - 1;
    let empty = nodes.is_empty() && lines[head].starts_with(EMPTY);
    let dashes = dashes.filter(|dashes| empty || !dashes.is_empty());
    let dashes = dashes.ok_or(EditError::Flow(file.to_owned()))?;
    let indent = dashes.first().map_or(INDENT, |&first| indent(lines[first]));
    let mut items: Vec<Item> = Vec::new();
    for (index, (node, &first)) in nodes.iter().zip(&dashes).enumerate() {
        let above = items.last().map_or(fields[models].place.line, |item| item.lines.end);
        let below = dashes.get(index + 1).copied().unwrap_or(end);
        let start = (above..first).rev().take_while(|&line| is_comment(lines[line], indent)).last();
        let own = |&line: &usize| !lines[line].trim().is_empty() && !is_comment(lines[line], indent);
        let last = (first..below).rev().find(own).unwrap_or(first);
        items.push(Item { name: name(node), lines: start.unwrap_or(first)..last + 1 });
    }
    Ok(Outline { lines, items, head, indent })
}

/// The line on which an entry's dash stands; none in a list in brackets.
fn dash(lines: &[&str], node: &Node) -> Option<usize> {
    let line = (0..node.place.line).rev().find(|&line| lines[line].trim_start().starts_with('-'))?;
    (indent(lines[line]) < node.place.column - 1).then_some(line)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether the line is a comment that stands no deeper than a dash.
fn is_comment(line: &str, dash: usize) -> bool {
    line.trim_start().starts_with('#') && indent(line) <= dash
}

fn name(node: &Node) -> String {
    let Value::Map(fields) = &node.value else { return String::new() };
    let name = fields.iter().find(|field| field.key == "name").map(|field| &field.node.value);
    match name {
        Some(Value::Text(name)) => name.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# A family.\nfamily: text\n\nmodels:\n  # about b\n  - name: b\n    # inside b\n    \
                        class: B\n\n  # about d\n  # still about d\n  - {name: d, class: D}\n\n# the end\n";

    fn entry(name: &str) -> Vec<String> {
        vec![format!("- name: {name}"), "  class: X".to_owned()]
    }

    fn inserted(text: &str, name: &str) -> String {
        insert(Path::new("spec/text.yaml"), text.as_bytes(), name, &entry(name)).unwrap()
    }

    fn removed(text: &str, name: &str) -> String {
        remove(Path::new("spec/text.yaml"), text.as_bytes(), name).unwrap()
    }

    fn line_of(text: &str, wanted: &str) -> usize {
        text.lines().position(|line| line.contains(wanted)).unwrap()
    }

    #[test]
    fn an_entry_goes_to_its_sorted_place_above_the_next_ones_comment() {
        let text = inserted(FILE, "c");
        assert_eq!(line_of(&text, "name: c"), line_of(FILE, "about d"));
        assert_eq!(line_of(&inserted(FILE, "a"), "name: a"), line_of(FILE, "about b"));
        assert_eq!(line_of(&inserted(FILE, "e"), "name: e"), line_of(FILE, "name: d") + 1);
    }

    #[test]
    fn an_entry_is_removed_with_the_comment_above_it_and_nothing_else() {
        let text = removed(FILE, "d");
        assert_eq!(text, FILE.replace("  # about d\n  # still about d\n  - {name: d, class: D}\n", ""));
        let text = removed(FILE, "b");
        assert!(!text.contains("about b") && !text.contains("inside b") && text.contains("about d"));
    }

    #[test]
    fn adding_and_removing_leaves_the_file_as_it_was() {
        let unended = FILE.trim_end().trim_end_matches("# the end").trim_end();
        let windows = FILE.replace('\n', "\r\n");
        let followed = FILE.replace("# the end", "defaults: {}");
        for text in [FILE, unended, windows.as_str(), followed.as_str()] {
            for name in ["a", "c", "e"] {
                let added = inserted(text, name);
                assert!(added.contains(name) && added.len() > text.len());
                assert_eq!(removed(&added, name), text, "{name}");
            }
        }
    }

    #[test]
    fn the_last_entry_leaves_an_empty_list_that_takes_another() {
        for text in ["family: a\nmodels: []\nmissing: []\n", "family: a\r\nmodels: []\r\n", "models: []"] {
            let added = inserted(text, "c");
            assert!(
                added.contains("models:\n  - name: c") || added.contains("models:\r\n  - name: c"),
                "{added}"
            );
            assert_eq!(removed(&added, "c"), text);
        }
    }

    #[test]
    fn windows_line_breaks_are_kept() {
        let text = inserted(&FILE.replace('\n', "\r\n"), "c");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    }

    #[test]
    fn what_cannot_be_edited_is_said() {
        let edit = |text: &str| insert(Path::new("a.yaml"), text.as_bytes(), "c", &entry("c")).unwrap_err();
        assert_eq!(edit("family: a\nmodels:\n  []\n"), EditError::Flow("a.yaml".into()));
        assert_eq!(edit("family: a\nmodels: [{name: x}]\n"), EditError::Flow("a.yaml".into()));
        assert!(
            edit("family: a\nmodels: [\n").to_string().starts_with("a.yaml: repair the file first: a.yaml:")
        );
        let absent = remove(Path::new("a.yaml"), b"family: a\nmodels:\n- name: x\n", "y").unwrap_err();
        assert_eq!(absent.to_string(), "a.yaml: there is no entry 'y'");
    }

    proptest! {
        #[test]
        fn any_file_survives_adding_and_removing(
            names in proptest::collection::btree_set("[a-y]{1,4}", 1..6),
            gaps in proptest::collection::vec(0..4usize, 6),
        ) {
            let gap = ["", "\n", "  # a comment\n", "    # deep\n"];
            let mut text = "family: text\nmodels:\n".to_owned();
            for (name, kind) in names.iter().zip(gaps) {
                text += &format!("{}  - name: {name}\n    class: X\n", gap[kind]);
            }
            let added = inserted(&text, "m0");
            prop_assert_eq!(removed(&added, "m0"), text);
        }
    }
}
