//! Inputs and outputs that an entry adds to its task, or changes.
//!
//! In: one `name: {…}` of `inputs` or `outputs`. Out: a port in the task's own words.

use super::decode::identifier;
use super::problem::{Problems, one_of, quoted};
use super::tree::{Field, Node, Value};
use crate::task::{Dim, Dtype, Fill, Input, Output, Range, Shape};

const FILLS: [(&str, Fill); 9] = [
    ("tokens", Fill::Tokens),
    ("text", Fill::Text),
    ("mask", Fill::Mask),
    ("positions", Fill::Positions),
    ("normal", Fill::Normal),
    ("uniform", Fill::Uniform),
    ("boxes", Fill::Boxes),
    ("ones", Fill::Ones),
    ("mm_token_type_ids", Fill::MmTokenTypeIds),
];

const RANGES: [(&str, Range); 4] = [
    ("finite", Range::Finite),
    ("unit", Range::Unit),
    ("normalised", Range::Normalised),
    ("token-ids", Range::TokenIds),
];

/// `bbox: {dtype: int64, shape: [batch, sequence, 4], fill: boxes}`.
pub(super) fn input(field: &Field, problems: &mut Problems) -> Option<Input> {
    identifier(&field.key, "inputs", &field.place, problems).then_some(())?;
    let what = format!("inputs.{}", field.key);
    let record = field.node.record(&what, &["dtype", "shape", "fill"], problems)?;
    let shape = record.need("shape", problems).and_then(|node| shape(node, &what, problems));
    let fill = record.need("fill", problems).and_then(|node| fill(node, &what, problems));
    let dtype = record.optional("dtype", |node| dtype(node, &what, problems));
    let (shape, fill) = (shape?, fill?);
    let dtype = dtype?.unwrap_or(natural_dtype(fill));
    if let Some(reason) = misfit(fill, dtype, &shape) {
        problems.add(&field.node.place, format!("`{what}`: {reason}"));
        return None;
    }
    Some(Input { name: field.key.clone().into(), dtype, shape, fill })
}

/// `loss: {shape: [], range: finite}`.
pub(super) fn output(field: &Field, problems: &mut Problems) -> Option<Output> {
    identifier(&field.key, "outputs", &field.place, problems).then_some(())?;
    let what = format!("outputs.{}", field.key);
    let record = field.node.record(&what, &["dtype", "shape", "range"], problems)?;
    let shape = record.need("shape", problems).and_then(|node| shape(node, &what, problems));
    let dtype = record.optional("dtype", |node| dtype(node, &what, problems));
    let range = record.optional("range", |node| node.choice(&format!("{what}.range"), &RANGES, problems));
    let (shape, range) = (shape?, range?.unwrap_or(Range::Finite));
    let dtype = dtype?.unwrap_or(Dtype::Float32);
    let fits = match range {
        Range::Finite => true,
        Range::Unit | Range::Normalised => dtype.is_float(),
        Range::TokenIds => dtype.is_integer(),
    };
    if !fits {
        problems.add(&field.node.place, format!("`{what}`: {} cannot have this range", dtype.name()));
        return None;
    }
    Some(Output { name: field.key.clone().into(), dtype, shape, range })
}

fn dtype(node: &Node, what: &str, problems: &mut Problems) -> Option<Dtype> {
    let words = Dtype::ALL.map(|dtype| (dtype.name(), dtype));
    node.choice(&format!("{what}.dtype"), &words, problems)
}

fn shape(node: &Node, what: &str, problems: &mut Problems) -> Option<Shape> {
    let what = format!("{what}.shape");
    let dims = node.list(&what, problems)?;
    dims.iter().map(|item| dim(item, &what, problems)).collect::<Option<Vec<_>>>().map(|dims| &*dims.leak())
}

fn dim(node: &Node, what: &str, problems: &mut Problems) -> Option<Dim> {
    match node.value {
        Value::Int(_) => node.size(what, problems).map(Dim::Size),
        _ => node.identifier(what, problems).map(|name| Dim::Named(name.to_owned().into())),
    }
}

/// A word, `{integers: [low, high]}`, `{values: [first, second]}` or `{grid: [columns, rows]}`.
fn fill(node: &Node, what: &str, problems: &mut Problems) -> Option<Fill> {
    const RECORDS: [&str; 3] =
        ["{integers: [low, high]}", "{values: [number, ...]}", "{grid: [columns, rows]}"];
    let what = format!("{what}.fill");
    match &node.value {
        Value::Map(_) => numbers(node, &what, problems),
        Value::Text(word) => {
            let found = FILLS.iter().find(|(name, _)| name == word).map(|(_, fill)| *fill);
            if found.is_none() {
                let hint = one_of(word, FILLS.iter().map(|(name, _)| *name).chain(RECORDS));
                problems.add(&node.place, format!("unknown `{what}` {}{hint}", quoted(word)));
            }
            found
        }
        _ => node.wrong(&what, "a word or `{integers: [low, high]}`", problems),
    }
}

/// A fill with numbers of its own.
fn numbers(node: &Node, what: &str, problems: &mut Problems) -> Option<Fill> {
    let record = node.record(what, &["integers", "values", "grid"], problems)?;
    if let Some(node) = record.get("values") {
        let what = format!("{what}.values");
        let items = node.list(&what, problems)?.iter();
        let values: Option<Vec<i64>> =
            items.map(|item| item.integer(&what, i64::MIN..=i64::MAX, problems)).collect();
        return values.map(|values| Fill::Values { values: values.leak() });
    }
    if let Some(node) = record.get("grid") {
        return grid(node, &format!("{what}.grid"), problems);
    }
    integers(record.need("integers", problems)?, &format!("{what}.integers"), problems)
}

fn grid(node: &Node, what: &str, problems: &mut Problems) -> Option<Fill> {
    let [columns, rows] = node.list(what, problems)? else {
        problems.add(&node.place, format!("`{what}` must be `[columns, rows]`"));
        return None;
    };
    let side = |node: &Node, problems: &mut Problems| node.integer(what, 1..=1_000, problems);
    let (columns, rows) = (side(columns, problems)?, side(rows, problems)?);
    Some(Fill::Grid { columns: columns.try_into().ok()?, rows: rows.try_into().ok()? })
}

fn integers(node: &Node, what: &str, problems: &mut Problems) -> Option<Fill> {
    let bounds = node.list(what, problems)?;
    if let [low, high] = bounds {
        let low = low.integer(what, i64::MIN..=i64::MAX, problems)?;
        let high = high.integer(what, i64::MIN..=i64::MAX, problems)?;
        if low < high {
            return Some(Fill::Integers { low, high });
        }
    }
    problems.add(&node.place, format!("`{what}` must be `[low, high]` with low below high"));
    None
}

/// The element type that a fill makes unless the entry says otherwise.
fn natural_dtype(fill: Fill) -> Dtype {
    match fill {
        Fill::Normal | Fill::Uniform | Fill::Ones => Dtype::Float32,
        _ => Dtype::Int64,
    }
}

/// Why a fill cannot make such a tensor.
fn misfit(fill: Fill, dtype: Dtype, shape: &Shape) -> Option<String> {
    let whole = matches!(fill, Fill::Tokens | Fill::Text | Fill::Positions | Fill::Grid { .. });
    let real = matches!(fill, Fill::Normal | Fill::Uniform);
    match fill {
        Fill::Boxes if shape.last() != Some(&Dim::Size(4)) => {
            Some("the last dimension of boxes must be 4".to_owned())
        }
        Fill::Values { values } if values.len() > 1 && shape.last() != Some(&Dim::Size(values.len())) => {
            Some(format!("the last dimension of these values must be {}", values.len()))
        }
        Fill::Grid { .. } if shape.len() < 2 || shape.last() != Some(&Dim::Size(2)) => {
            Some("the last dimension of a grid must be 2, the one before it its places".to_owned())
        }
        _ if whole && dtype != Dtype::Int64 => Some(format!("this fill makes int64, not {}", dtype.name())),
        _ if real && !dtype.is_float() => Some(format!("this fill makes a float, not {}", dtype.name())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exporter_is_told_of_fills_by_the_words_of_the_spec() {
        let told = FILLS.map(|(_, fill)| serde_json::to_value(fill).unwrap()["kind"].clone());
        assert_eq!(told, FILLS.map(|(word, _)| word));
    }
}
