//! What is wrong with the spec, and where.
//!
//! In: a place and what was found there. Out: [`Problem`]s, each one printable line that begins with
//! `file:line:column`, collected until all of them are known and then sorted.

use super::entry::Place;
use std::fmt;
use std::path::Path;

/// Longest piece of a spec that is repeated in a message, in characters.
const QUOTED_MAX: usize = 60;

/// One thing wrong with the spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where to repair it.
    pub place: Place,
    /// What is wrong, complete in itself, on one line.
    pub message: String,
    /// The other place that the message names, where there are two.
    pub also: Option<Place>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl Place {
    /// The first character of a file: the place of what concerns the file as a whole.
    pub fn start(file: &Path) -> Self {
        Self { file: file.to_owned(), line: 1, column: 1 }
    }
}

/// Problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, place: &Place, message: impl AsRef<str>) {
        self.errors.push(problem(place, message.as_ref(), None));
    }

    /// Notes a problem that came with time, not with an edit: by itself it stops no build.
    pub fn warn(&mut self, place: &Place, message: impl AsRef<str>) {
        self.warnings.push(problem(place, message.as_ref(), None));
    }

    /// Notes a problem between two places; the message names the second one.
    pub fn add_between(&mut self, place: &Place, also: &Place, message: impl AsRef<str>) {
        self.errors.push(problem(place, message.as_ref(), Some(also.clone())));
    }

    /// How many there are that stop a build.
    pub fn count(&self) -> usize {
        self.errors.len()
    }

    /// All of them, warnings too, by place, each once.
    pub fn sorted(self) -> Vec<Problem> {
        let mut all = self.errors;
        all.extend(self.warnings);
        all.sort();
        all.dedup();
        all
    }
}

fn problem(place: &Place, message: &str, also: Option<Place>) -> Problem {
    Problem { place: place.clone(), message: one_line(message), also }
}

/// A piece of the spec as messages show it: in quotes, cut where it is very long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((cut, _)) => format!("'{}…'", &text[..cut]),
        None => format!("'{text}'"),
    }
}

/// `, did you mean 'checkpoint'?`, or nothing when no known word is near.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|near| format!(", did you mean '{near}'?")).unwrap_or_default()
}

/// Like [`did_you_mean`], but names every known word when none is near.
pub(super) fn one_of<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    nearest(word, known.clone())
        .map(|near| format!(", did you mean '{near}'?"))
        .unwrap_or_else(|| format!(": must be one of {}", Vec::from_iter(known).join(", ")))
}

/// The known word with the fewest typing errors between it and `word`, if they are few.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > QUOTED_MAX {
        return None;
    }
    known
        .into_iter()
        .map(|near| (strsim::osa_distance(&word.to_lowercase(), near), near))
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min()
        .map(|(_, near)| near)
}

/// The text with line breaks and other control characters written as escapes.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_and_starts_with_its_place() {
        let mut problems = Problems::default();
        let place = Place { file: "spec/a.yaml".into(), line: 3, column: 5 };
        problems.add(&place, "unknown key 'a\nb'");
        assert_eq!(problems.sorted()[0].to_string(), r"spec/a.yaml:3:5: unknown key 'a\nb'");
    }

    #[test]
    fn problems_are_sorted_by_place_and_not_repeated() {
        let mut problems = Problems::default();
        for (line, column) in [(10, 1), (2, 7), (2, 3), (10, 1)] {
            problems.add(&Place { file: "spec/a.yaml".into(), line, column }, "wrong");
        }
        let places: Vec<_> = problems.sorted().iter().map(|p| (p.place.line, p.place.column)).collect();
        assert_eq!(places, [(2, 3), (2, 7), (10, 1)]);
    }

    #[test]
    fn suggestions_are_near_words_only() {
        let known = ["checkpoint", "class", "config"];
        assert_eq!(did_you_mean("chekpoint", known), ", did you mean 'checkpoint'?");
        assert_eq!(did_you_mean("Class", known), ", did you mean 'class'?");
        assert_eq!(did_you_mean("weather", known), "");
        assert_eq!(one_of("weather", known), ": must be one of checkpoint, class, config");
        assert_eq!(did_you_mean(&"x".repeat(1_000_000), known), "");
    }

    #[test]
    fn very_long_text_is_cut() {
        assert_eq!(quoted("ü"), "'ü'");
        assert_eq!(quoted(&"ü".repeat(100)).chars().count(), QUOTED_MAX + 3);
    }
}
