//! Sizes: axes of a call, dimensions of the config, placeholder tokens.
//!
//! In: one `key: value` of `axes`, `dims` or `placeholders`. Out: its typed form.

use super::decode::identifier;
use super::entry::{Axis, DimSource, Place};
use super::problem::{Problems, quoted};
use super::tree::{Field, Node, Value};

/// Names that cases have beside those of their axes.
const RESERVED: [&str; 2] = ["traced", "generate"];

/// `[traced, second]`, `{size, fixed: reason}` or `{per: axis, count: n}`.
pub(super) fn axis(field: &Field, problems: &mut Problems) -> Option<Axis> {
    symbol(field, "axes", problems)?;
    let what = format!("axes.{}", field.key);
    match &field.node.value {
        Value::List(_) => dynamic(&field.node, &what, problems),
        Value::Map(fields) if fields.iter().any(|field| field.key == "per") => {
            per(&field.node, &what, problems)
        }
        Value::Map(_) => fixed(&field.node, &what, problems),
        _ => field.node.wrong(
            &what,
            "`[traced, second]`, `{size: n, fixed: reason}` or `{per: axis, count: n}`",
            problems,
        ),
    }
}

fn dynamic(node: &Node, what: &str, problems: &mut Problems) -> Option<Axis> {
    let [traced, second] = node.list(what, problems)? else {
        problems.add(&node.place, format!("`{what}` must hold two sizes: `[traced, second]`"));
        return None;
    };
    let (traced, second) = (traced.size(what, problems)?, second.size(what, problems)?);
    if traced == second {
        problems.add(&node.place, format!("`{what}` has the same size twice: the second must differ"));
        return None;
    }
    Some(Axis::Dynamic { traced, second })
}

fn fixed(node: &Node, what: &str, problems: &mut Problems) -> Option<Axis> {
    let record = node.record(what, &["size", "fixed"], problems)?;
    let size = record.need("size", problems)?.size(&format!("{what}.size"), problems)?;
    let Some(reason) = record.get("fixed") else {
        let message = format!("`{what}` is fixed without a reason: add `fixed: <reason>`");
        problems.add(record.place, message);
        return None;
    };
    let reason = reason.text(&format!("{what}.fixed"), problems)?.to_owned().into();
    Some(Axis::Fixed { size, reason })
}

fn per(node: &Node, what: &str, problems: &mut Problems) -> Option<Axis> {
    let record = node.record(what, &["per", "count"], problems)?;
    let axis = record.need("per", problems)?.text(&format!("{what}.per"), problems)?.to_owned().into();
    let count = record.need("count", problems)?.size(&format!("{what}.count"), problems)?;
    Some(Axis::Per { axis, count })
}

/// A number, a path into the config, or a list of paths.
pub(super) fn dim(field: &Field, problems: &mut Problems) -> Option<DimSource> {
    symbol(field, "dims", problems)?;
    let what = format!("dims.{}", field.key);
    match &field.node.value {
        Value::Int(_) => field.node.size(&what, problems).map(DimSource::Size),
        Value::Text(_) => path(&field.node, &what, problems).map(|path| DimSource::Paths(vec![path])),
        Value::List(items) if !items.is_empty() => {
            items.iter().map(|item| path(item, &what, problems)).collect::<Option<_>>().map(DimSource::Paths)
        }
        _ => field.node.wrong(&what, "a number, a path into the config, or a list of paths", problems),
    }
}

/// How many copies of a placeholder token a row holds.
pub(super) fn placeholder(field: &Field, problems: &mut Problems) -> Option<usize> {
    let valid = is_path(&field.key, &field.place, "placeholders", problems);
    valid.then(|| field.node.size(&format!("placeholders.{}", field.key), problems)).flatten()
}

fn path(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    let path = node.text(what, problems)?;
    is_path(path, &node.place, what, problems).then(|| path.to_owned())
}

fn is_path(path: &str, place: &Place, what: &str, problems: &mut Problems) -> bool {
    path.split('.').all(|part| identifier(part, what, place, problems))
}

/// The key as a symbol of shapes.
fn symbol(field: &Field, what: &str, problems: &mut Problems) -> Option<()> {
    if RESERVED.contains(&field.key.as_str()) {
        problems.add(&field.place, format!("{} is the name of a case, not of an axis", quoted(&field.key)));
        return None;
    }
    identifier(&field.key, what, &field.place, problems).then_some(())
}
