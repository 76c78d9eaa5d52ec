//! A YAML file as a tree in which everything knows its place.
//!
//! In: the bytes of a file. Out: a [`Node`], or problems. Only plain YAML is let in: one document, text keys,
//! no aliases or merges (so nothing can multiply), no tags, bounded depth and bounded scalars. Scalars follow the
//! YAML 1.2 core schema: `no` and `on` are text.

use super::entry::Place;
use super::problem::{Problems, quoted};
use super::scalar;
use serde_yaml::{Event, Marker, Parser, ScalarStyle, Span, StrInput};
use std::collections::HashMap;
use std::path::Path;

/// Largest file, in bytes; all of today's models would fit into one.
const FILE_MAX: usize = 1024 * 1024;
/// Deepest nesting; configs of real models need five levels.
const DEPTH_MAX: usize = 64;
/// Longest scalar, in bytes.
const SCALAR_MAX: usize = 64 * 1024;

/// The key with which YAML 1.1 merges mappings; in YAML 1.2 it is text like any other, and nobody means that.
const MERGE: &str = "<<";

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Field>),
}

/// One `key: value` of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub key: String,
    /// Where the key begins.
    pub place: Place,
    pub node: Node,
}

impl Value {
    /// The kind of value, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Reads a file; `None` when a problem (noted) kept it from being a tree.
pub(super) fn parse(file: &Path, bytes: &[u8], problems: &mut Problems) -> Option<Node> {
    let text = text(file, bytes, problems)?;
    let mut builder = Builder { file, parser: Parser::new_from_str(text), problems };
    let before = builder.problems.count();
    match builder.document() {
        Ok(root) if builder.problems.count() == before => Some(root),
        Ok(_) => None,
        Err(fatal) => {
            let place = builder.place(fatal.at);
            builder.problems.add(&place, fatal.message);
            None
        }
    }
}

/// The text of a file, once it is clear that the parser may have it.
fn text<'a>(file: &Path, bytes: &'a [u8], problems: &mut Problems) -> Option<&'a str> {
    if bytes.len() > FILE_MAX {
        let message = format!("a file of {} bytes: at most {FILE_MAX} are allowed", bytes.len());
        problems.add(&Place::start(file), message);
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let at = error.valid_up_to();
            let before = String::from_utf8_lossy(&bytes[..at]);
            problems.add(&end_of(file, &before), format!("invalid UTF-8 at byte {at}"));
            return None;
        }
    };
    if let Some(at) = text.find('\0') {
        problems.add(&end_of(file, &text[..at]), format!("NUL character at byte {at}"));
        return None;
    }
    let tab = text.lines().enumerate().find_map(|(index, line)| Some((index, tab_in_indentation(line)?)));
    if let Some((line, column)) = tab {
        let place = Place { file: file.to_owned(), line: line + 1, column: column + 1 };
        problems.add(&place, "a tab in the indentation: use spaces");
        return None;
    }
    Some(text)
}

/// The place just after `before`, the beginning of a file.
fn end_of(file: &Path, before: &str) -> Place {
    let before = before.strip_prefix('\u{feff}').unwrap_or(before);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    Place { file: file.to_owned(), line, column }
}

fn tab_in_indentation(line: &str) -> Option<usize> {
    let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
    line[..indentation].find('\t')
}

/// A problem after which the rest of the file makes no sense.
struct Fatal {
    at: Marker,
    message: String,
}

fn fatal<T>(span: Span, message: impl Into<String>) -> Result<T, Fatal> {
    Err(Fatal { at: span.start, message: message.into() })
}

/// Makes nodes of the parser's events.
struct Builder<'a> {
    file: &'a Path,
    parser: Parser<'a, StrInput<'a>>,
    problems: &'a mut Problems,
}

impl<'a> Builder<'a> {
    fn place(&self, at: Marker) -> Place {
        Place { file: self.file.to_owned(), line: at.line().max(1), column: at.col() + 1 }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fatal> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(Fatal { at: *error.marker(), message: format!("not YAML: {}", error.info()) })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The file's only document.
    fn document(&mut self) -> Result<Node, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return fatal(span, "a second document: a file holds one");
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 1)?);
                }
                _ => {}
            }
        }
        root.ok_or(Fatal { at: Marker::new(0, 1, 0), message: "the file is empty".to_owned() })
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fatal> {
        if depth > DEPTH_MAX {
            return fatal(span, format!("nested deeper than {DEPTH_MAX} levels"));
        }
        refuse_anchor_and_tag(&event, span)?;
        let value = match event {
            Event::Scalar(text, style, ..) => self.scalar(&text, style, span)?,
            Event::SequenceStart(..) => Value::List(self.list(depth)?),
            Event::MappingStart(..) => Value::Map(self.map(depth)?),
            _ => Value::Null,
        };
        Ok(Node { place: self.place(span.start), value })
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<Value, Fatal> {
        if text.len() > SCALAR_MAX {
            return fatal(span, format!("a value of {} bytes: at most {SCALAR_MAX} are allowed", text.len()));
        }
        if style != ScalarStyle::Plain {
            return Ok(Value::Text(text.to_owned()));
        }
        scalar::resolve(text).or_else(|message| fatal(span, message))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fatal> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Field>, Fatal> {
        let mut fields = Vec::new();
        let mut first = HashMap::<String, Place>::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(fields);
            }
            let Node { place, value: Value::Text(key) } = self.node(event, span, depth + 1)? else {
                return fatal(span, "a key must be text: quote it");
            };
            if key == MERGE {
                self.problems.add(&place, format!("{} merges nothing here: use `like:`", quoted(MERGE)));
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if let Some(before) = first.get(&key) {
                let message = format!("key {} is here twice (first at {before})", quoted(&key));
                self.problems.add_between(&place, before, message);
            }
            first.entry(key.clone()).or_insert_with(|| place.clone());
            fields.push(Field { key, place, node });
        }
    }
}

fn refuse_anchor_and_tag(event: &Event, span: Span) -> Result<(), Fatal> {
    let (anchor, tag) = match event {
        Event::Alias(_) => return fatal(span, "aliases are not supported: use `like:`"),
        Event::Scalar(_, _, anchor, tag) => (*anchor, tag),
        Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag),
        _ => return Ok(()),
    };
    if anchor != 0 {
        return fatal(span, "anchors are not supported: use `like:`");
    }
    if tag.is_some() {
        return fatal(span, "tags are not supported");
    }
    Ok(())
}
