//! Typed reading of nodes.
//!
//! In: a [`Node`] and what to call it in messages (`axes.batch`). Out: its value, or `None` and a noted problem.

use super::entry::Place;
use super::problem::{Problems, did_you_mean, one_of, quoted};
use super::tree::{Field, Node, Value};
use std::ops::RangeInclusive;

/// A value and the place it was written at.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub place: Place,
    pub value: T,
}

impl Node {
    /// Text, not empty.
    pub fn text(&self, what: &str, problems: &mut Problems) -> Option<&str> {
        match &self.value {
            Value::Text(text) if text.trim().is_empty() => {
                problems.add(&self.place, format!("`{what}` is empty"));
                None
            }
            Value::Text(text) => Some(text),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                let kind = self.value.kind();
                problems.add(&self.place, format!("`{what}` must be text, found {kind}: quote it"));
                None
            }
            _ => self.wrong(what, "text", problems),
        }
    }

    /// The items of a list.
    pub fn list(&self, what: &str, problems: &mut Problems) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => self.wrong(what, "a list", problems),
        }
    }

    /// The fields of a mapping, whatever their keys.
    pub fn map(&self, what: &str, problems: &mut Problems) -> Option<&[Field]> {
        match &self.value {
            Value::Map(fields) => Some(fields),
            _ => self.wrong(what, "a mapping", problems),
        }
    }

    /// The fields of a mapping that has these keys and no others.
    pub fn record(&self, what: &str, keys: &[&str], problems: &mut Problems) -> Option<Record<'_>> {
        let fields = self.map(what, problems)?;
        for field in fields.iter().filter(|field| !keys.contains(&field.key.as_str())) {
            let hint = one_of(&field.key, keys.iter().copied());
            problems.add(&field.place, format!("unknown key {}{hint}", quoted(&field.key)));
        }
        Some(Record { what: what.to_owned(), place: &self.place, fields })
    }

    /// A whole number within bounds.
    pub fn integer(&self, what: &str, bounds: RangeInclusive<i64>, problems: &mut Problems) -> Option<i64> {
        match self.value {
            Value::Int(number) if bounds.contains(&number) => Some(number),
            Value::Int(number) => {
                let (low, high) = bounds.into_inner();
                let message = format!("`{what}` must be between {low} and {high}, not {number}");
                problems.add(&self.place, message);
                None
            }
            _ => self.wrong(what, "a whole number", problems),
        }
    }

    /// A finite number above 0.
    pub fn positive(&self, what: &str, problems: &mut Problems) -> Option<f64> {
        let number = match self.value {
            Value::Int(number) => number as f64,
            Value::Float(number) => number,
            _ => return self.wrong(what, "a number", problems),
        };
        if number.is_finite() && number > 0.0 {
            return Some(number);
        }
        problems.add(&self.place, format!("`{what}` must be a finite number above 0"));
        None
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, what: &str, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let word = self.text(what, problems)?;
        let found = words.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if found.is_none() {
            let hint = one_of(word, words.iter().map(|(name, _)| *name));
            problems.add(&self.place, format!("unknown `{what}` {}{hint}", quoted(word)));
        }
        found
    }

    /// A size in elements: from 1 to a million, so that no product of a few of them overflows.
    pub fn size(&self, what: &str, problems: &mut Problems) -> Option<usize> {
        self.integer(what, 1..=1_000_000, problems).map(|size| size as usize)
    }

    /// An identifier of Python.
    pub fn identifier(&self, what: &str, problems: &mut Problems) -> Option<&str> {
        let text = self.text(what, problems)?;
        identifier(text, what, &self.place, problems).then_some(text)
    }

    /// Notes that another kind of value was expected.
    pub fn wrong<T>(&self, what: &str, expected: &str, problems: &mut Problems) -> Option<T> {
        let found = self.value.kind();
        problems.add(&self.place, format!("`{what}` must be {expected}, found {found}"));
        None
    }
}

/// Whether the text is an identifier of Python; notes a problem if not.
pub(super) fn identifier(text: &str, what: &str, place: &Place, problems: &mut Problems) -> bool {
    let valid = !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        problems.add(place, format!("{} is not a Python identifier (`{what}`)", quoted(text)));
    }
    valid
}

/// The fields of a mapping whose keys are known beforehand.
pub(super) struct Record<'a> {
    what: String,
    pub place: &'a Place,
    fields: &'a [Field],
}

impl<'a> Record<'a> {
    /// The field of that key.
    pub fn field(&self, key: &str) -> Option<&'a Field> {
        self.fields.iter().find(|field| field.key == key)
    }

    /// The value of that key; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.field(key).map(|field| &field.node).filter(|node| node.value != Value::Null)
    }

    /// What `read` makes of the value of that key: `Some(None)` when it is absent, `None` when it is wrong.
    pub fn optional<T>(&self, key: &str, read: impl FnOnce(&'a Node) -> Option<T>) -> Option<Option<T>> {
        match self.get(key) {
            Some(node) => read(node).map(Some),
            None => Some(None),
        }
    }

    /// The value of that key; its absence is a problem.
    pub fn need(&self, key: &str, problems: &mut Problems) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() {
            problems.add(self.place, format!("`{}` lacks `{key}`", self.what));
        }
        found
    }
}

/// Notes that a word names none of the known things.
pub(super) fn unknown<'a>(
    kind: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    place: &Place,
    problems: &mut Problems,
) {
    problems.add(place, format!("{kind} {}{}", quoted(word), did_you_mean(word, known)));
}
