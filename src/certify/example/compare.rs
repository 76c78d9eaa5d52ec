//! Holds what an example makes to what Python makes.
//!
//! In: tokens, two each; answers as JSON, whatever they are made of; tensors of pictures or sounds. Out: how far fractions are
//! apart. All else, tokens, words, whole numbers, how many there are of anything, must be the same.

use super::answers::{Rows, Steps};
use crate::certify::certificate::{Answered, Processed};
use crate::failure::{Failure, Stage};
use crate::numerics::Tensor;
use serde_json::Value;
use std::path::Path;

/// How far a picture may be off that both decode to the same levels: on some processors Python resizes without whole levels in
/// between.
const RESIZED: f64 = 0.5;
/// The same of a photograph: decoders of JPEG differ by a level or two.
const DECODED: f64 = 2.0;
/// So much of a score may follow from that, in a model that takes every level to heart.
const BLURRED: f64 = 5e-2;
/// How far a sound may be off: sums of float32 in another order.
const HEARD: f64 = 1e-5;
/// So much of an answer is told.
const TOLD: usize = 120;

/// The first token that is another than Python's.
pub fn same(texts: &[Vec<String>], expected: &Rows, found: &Rows) -> Result<(), Failure> {
    for (name, rows) in expected {
        // What the program does not take is not among them.
        let Some(own) = found.get(name) else { continue };
        for (place, text) in texts.iter().enumerate() {
            if own.get(place) != rows.get(place) {
                let told: String = format!("{text:?}").chars().take(80).collect();
                let message = format!("{name} of text {place} differ from Python's: {told}");
                let line = |rows: &[Vec<i64>]| {
                    let row = rows.get(place).map_or("no row".to_owned(), |row| format!("{row:?}"));
                    row.chars().take(200).collect::<String>()
                };
                return Err(Failure::new(Stage::Compare, message)
                    .with(format!("got      {}", line(own)))
                    .with(format!("expected {}", line(rows))));
            }
        }
    }
    Ok(())
}

/// Whether an answer is Python's, its fractions up to a limit on their rmse.
///
/// # Errors
/// Stage `compare`: it is not; both are told.
pub fn answered(of: &str, found: &Value, expected: &Value, limit: f64) -> Result<Answered, Failure> {
    let mut differences = Vec::new();
    let is_same = walk(found, expected, &mut differences);
    let squares = differences.iter().fold(0.0, |sum, difference| sum + difference * difference);
    let error = (squares / differences.len().max(1) as f64).sqrt();
    match is_same && error <= limit {
        true => Ok(Answered { of: of.to_owned(), answer: told(found), error, limit }),
        false => {
            let off =
                if is_same { format!("off by {error:.2e}, allowed {limit:.2e}") } else { OTHER.to_owned() };
            let message = format!("the example's answer to {of:?} is not Python's");
            Err(Failure::new(Stage::Compare, message)
                .with(format!("got      {}", told(found)))
                .with(format!("expected {}", told(expected)))
                .with(off))
        }
    }
}

/// How far what an example makes of a picture or a sound is from what Python makes of it.
///
/// # Errors
/// Stage `compare`: another shape, or further than the limit.
pub fn processed(what: &str, steps: &Steps, found: &Tensor, expected: &Tensor) -> Result<Processed, Failure> {
    let message = format!("what the example makes of {what} is not what Python makes of it");
    if found.shape() != expected.shape() {
        let shapes = format!("got shape {:?}, expected {:?}", found.shape(), expected.shape());
        return Err(Failure::new(Stage::Compare, message).with(shapes));
    }
    let (levels, limit) = match steps {
        Steps::Sound { .. } | Steps::Speech(_) => (vec![1.0], HEARD),
        Steps::Picture { std, .. } => {
            (std.map(f64::from).to_vec(), if is_photograph(what) { DECODED } else { RESIZED })
        }
    };
    let (found, expected) = (found.to_f64(), expected.to_f64());
    // One row, whose colours come one after the other.
    let colour = found.len().div_ceil(levels.len()).max(1);
    let pairs = found.iter().zip(&expected).enumerate();
    let differences: Vec<f64> = pairs.map(|(place, (a, b))| (a - b) * levels[place / colour]).collect();
    let squares = differences.iter().fold(0.0, |sum, difference| sum + difference * difference);
    let error = (squares / differences.len().max(1) as f64).sqrt();
    let max_abs = differences.iter().map(|difference| difference.abs()).fold(0.0, f64::max);
    match error <= limit {
        true => Ok(Processed { what: what.to_owned(), error, limit, max_abs }),
        false => Err(Failure::new(Stage::Compare, message)
            .with(format!("off by {error:.2e}, allowed {limit:.2e}; at most by {max_abs:.2e}"))),
    }
}

/// How far an answer to a picture, a sound or a text may be off that allows so much where both read the same.
pub fn limit(what: &str, allowed: f64) -> f64 {
    if is_photograph(what) { allowed + BLURRED } else { allowed }
}

fn is_photograph(what: &str) -> bool {
    Path::new(what).extension().is_some_and(|extension| extension == "jpg")
}

/// What differs is no fraction.
const OTHER: &str = "words, whole numbers or how many there are differ";

/// Whether two values are the same but for their fractions, whose differences are gathered.
fn walk(found: &Value, expected: &Value, differences: &mut Vec<f64>) -> bool {
    match (found, expected) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| walk(a, b, differences))
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut pairs = a.iter().map(|(name, value)| (value, b.get(name)));
            a.len() == b.len() && pairs.all(|(a, b)| b.is_some_and(|b| walk(a, b, differences)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            differences.extend(a.as_f64().zip(b.as_f64()).map(|(a, b)| a - b));
            true
        }
        _ => found == expected,
    }
}

/// As much of an answer as a line holds, fractions to four places.
fn told(answer: &Value) -> String {
    let whole = rounded(answer).to_string();
    match whole.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(rounded).collect(),
        Value::Object(values) => values.iter().map(|(name, value)| (name.clone(), rounded(value))).collect(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or(Value::Null, |number| Value::from((number * 1e4).round() / 1e4))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Dtype;
    use serde_json::json;

    fn rows(ids: &[&[i64]]) -> Rows {
        Rows::from([("input_ids".to_owned(), ids.iter().map(|row| row.to_vec()).collect())])
    }

    #[test]
    fn one_token_that_is_another_is_told_with_its_text() {
        let texts = [vec!["one".to_owned()], vec!["two".to_owned(), "\u{7}".to_owned()]];
        let python = rows(&[&[1, 2], &[3, 4]]);
        assert!(same(&texts, &python, &python).is_ok());
        let failure = same(&texts, &python, &rows(&[&[1, 2], &[3, 5]])).unwrap_err();
        assert_eq!(failure.message, r#"input_ids of text 1 differ from Python's: ["two", "\u{7}"]"#);
        assert_eq!(failure.details, ["got      [3, 5]", "expected [3, 4]"]);
        assert!(same(&texts, &python, &rows(&[&[1, 2]])).is_err(), "a row is missing");
        let more = python.values().map(|rows| ("of_no_program".to_owned(), rows.clone())).collect();
        assert!(same(&texts, &more, &python).is_ok(), "what the program does not take is not compared");
    }

    fn held(found: &Value, expected: &Value) -> Result<Answered, Failure> {
        answered("a", found, expected, 1e-3)
    }

    #[test]
    fn a_picture_is_held_level_by_level_and_a_photograph_less_strictly() {
        let steps = Steps::Picture {
            resize: None,
            filter: None,
            crop: None,
            mean: [0.0; 3],
            std: [50.0, 100.0, 200.0],
        };
        let picture =
            |values: [f64; 6]| Tensor::float(Dtype::Float32, &[1, 3, 1, 2], values.to_vec()).unwrap();
        let python = picture([0.0; 6]);
        let off =
            |name: &str, by: f64| processed(name, &steps, &picture([0.0, 0.0, by, 0.0, 0.0, 0.0]), &python);
        let near = off("wide.png", 0.01).unwrap();
        assert_eq!((near.max_abs, near.limit), (1.0, RESIZED));
        assert!((near.error - 1.0 / 6f64.sqrt()).abs() < 1e-12, "{near:?}");
        let far = off("wide.png", 0.04).unwrap_err();
        assert_eq!(far.message, "what the example makes of wide.png is not what Python makes of it");
        assert_eq!(far.details, ["off by 1.63e0, allowed 5.00e-1; at most by 4.00e0"]);
        assert!(off("photograph.jpg", 0.04).is_ok());
        assert_eq!((limit("wide.png", 1.0), limit("photograph.jpg", 1.0)), (1.0, 1.0 + BLURRED));
        let other = Tensor::float(Dtype::Float32, &[1, 3, 2, 1], vec![0.0; 6]).unwrap();
        let failure = processed("wide.png", &steps, &other, &python).unwrap_err();
        assert_eq!(failure.details, ["got shape [1, 3, 2, 1], expected [1, 3, 1, 2]"]);
    }

    #[test]
    fn fractions_may_be_off_by_the_limit_and_nothing_else_may() {
        let python = json!({"entities": [{"entity": "B-PER", "score": 0.6, "index": 1}, {"entity": "I-PER", "score": 1.0, "index": 2}]});
        let changed = |pointer: &str, value: Value| {
            let mut other = python.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            held(&other, &python)
        };
        assert_eq!(held(&python, &python).unwrap().error, 0.0);
        let near = changed("/entities/0/score", json!(0.6001)).unwrap();
        assert!((near.error - 1e-4 / 2f64.sqrt()).abs() < 1e-9, "{near:?}");
        let far = changed("/entities/0/score", json!(0.7)).unwrap_err();
        assert!(far.details[2].ends_with("allowed 1.00e-3"), "{far}");
        let none = [
            ("/entities/0/entity", json!("O")),
            ("/entities/1/index", json!(3)),
            ("/entities/1/index", json!(2.0)),
            ("/entities/1/score", json!(null)),
            ("/entities/1", json!({"entity": "I-PER", "score": 1.0})),
            ("/entities", json!([python["entities"][0]])),
            ("/entities", json!([])),
        ];
        for (pointer, value) in none {
            let failure = changed(pointer, value.clone()).unwrap_err();
            assert_eq!(failure.details[2], OTHER, "{pointer} {value}");
        }
    }

    #[test]
    fn an_answer_that_is_not_pythons_is_told_beside_it() {
        let failure = held(&json!({"text": "Rome", "tokens": [7]}), &json!({"text": "Paris", "tokens": [8]}));
        let failure = failure.unwrap_err();
        assert_eq!(failure.message, r#"the example's answer to "a" is not Python's"#);
        let told =
            [r#"got      {"text":"Rome","tokens":[7]}"#, r#"expected {"text":"Paris","tokens":[8]}"#, OTHER];
        assert_eq!(failure.details, told);
        let long = held(&json!(vec![0.123_456; 100]), &json!(vec![0.123_456; 100])).unwrap().answer;
        assert!(long.starts_with("[0.1235,0.1235,") && long.ends_with('…'), "{long}");
    }
}
