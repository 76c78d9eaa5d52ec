//! The numerical rule: how far an engine may be from the truth.
//!
//! With r the eager output in float64, e the eager output in the program's own precision and x what the
//! engine returned: pass iff `rmse(x, r) ≤ k · rmse(e, r) + floor`, with k = 2 and floor = 1e-6 · rms(r).
//! Eager's own rounding error is the yardstick, so a well-conditioned model is held to more digits than an
//! ill-conditioned one. The idea is dynamo's accuracy check (torch/_dynamo/utils.py, `same`); the floor
//! covers outputs that eager happens to compute exactly.

use crate::engine::Tensor;
use crate::task::Dtype;
use serde::{Deserialize, Serialize};

/// Factor on eager's own error, in every precision: half programs repeat eager's half kernels, so they get no
/// more room than float32 ones.
pub const K: f64 = 2.0;
/// Allowed error, as a share of the reference's root mean square, where eager is exact.
pub const FLOOR: f64 = 1e-6;
/// How many of the largest differences are kept.
const WORST: usize = 3;

/// Largest rmse(e, r) that makes a yardstick, as a share of rms(r). Beyond it eager's own digits are gone, and
/// the rule would pass anything: the model, its weights or its reference need another look.
pub fn soundness(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Bfloat16 | Dtype::Float16 => 0.25,
        _ => 1e-3,
    }
}

/// How one output agreed with its reference in one situation, as the results store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The case, or what was done to the traced one: `sequence`, `row 1 alone`.
    pub situation: String,
    pub output: String,
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// How an output agrees with its reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// rmse(x, r).
    #[serde(with = "figure")]
    pub error: f64,
    /// rmse(e, r).
    #[serde(with = "figure")]
    pub eager_error: f64,
    /// k · rmse(e, r) + floor.
    #[serde(with = "figure")]
    pub limit: f64,
    /// rms(r).
    #[serde(with = "figure")]
    pub scale: f64,
    /// Largest |x − r|.
    #[serde(with = "figure")]
    pub max_abs: f64,
    /// ‖x − r‖ / ‖r‖.
    #[serde(with = "figure")]
    pub relative_l2: f64,
    /// x·r / (‖x‖ ‖r‖).
    #[serde(with = "figure")]
    pub cosine: f64,
    /// Values compared; 0 in results from before it was kept.
    #[serde(default)]
    pub count: usize,
    /// The largest differences, worst first.
    #[serde(default)]
    pub worst: Vec<Difference>,
}

/// One element that is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub index: Vec<usize>,
    #[serde(with = "figure")]
    pub got: f64,
    #[serde(with = "figure")]
    pub expected: f64,
}

/// A figure in JSON, which has no words for what is not a number or beyond all numbers: those are text there.
mod figure {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(figure: &f64, to: S) -> Result<S::Ok, S::Error> {
        match figure.is_finite() {
            true => to.serialize_f64(*figure),
            false => to.collect_str(figure),
        }
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<f64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(figure) => Ok(figure),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl Agreement {
    /// Whether the rule holds. Not-a-number never does, nor an error beyond what numbers can hold.
    pub fn holds(&self) -> bool {
        self.error <= self.limit && self.error.is_finite()
    }

    /// The error as a share of what is allowed: 1 is the last that passes. Nothing allowed and nothing off is 0.
    pub fn share(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.limit }
    }

    /// Whether the rule would hold with the factor that every precision has by itself.
    pub fn holds_without_debt(&self) -> bool {
        self.error <= K * self.eager_error + FLOOR * self.scale
    }
}

/// Applies the rule to x, e and r of one shape, over the elements whose index `keep` accepts.
///
/// Whole numbers have no rounding error: there e equals r and the rule asks for equality within the floor.
pub fn judge(x: &Tensor, e: &Tensor, r: &Tensor, k: f64, keep: impl Fn(&[usize]) -> bool) -> Agreement {
    let (xs, es, rs) = (x.to_f64(), e.to_f64(), r.to_f64());
    let shape = r.shape();
    let kept: Vec<usize> = (0..rs.len()).filter(|&flat| keep(&index_of(flat, shape))).collect();
    let sum = |f: &dyn Fn(usize) -> f64| kept.iter().map(|&flat| f(flat)).sum::<f64>();
    let square = |value: f64| value * value;
    let count = kept.len();
    let mean = 1.0 / count.max(1) as f64;
    let squares = sum(&|i| square(xs[i] - rs[i]));
    let (norm_x, norm_r) = (sum(&|i| square(xs[i])), sum(&|i| square(rs[i])));
    let eager_error = (sum(&|i| square(es[i] - rs[i])) * mean).sqrt();
    let scale = (norm_r * mean).sqrt();
    Agreement {
        error: (squares * mean).sqrt(),
        eager_error,
        limit: k * eager_error + FLOOR * scale,
        scale,
        max_abs: kept.iter().map(|&i| (xs[i] - rs[i]).abs()).fold(0.0, nan_max),
        relative_l2: ratio(squares.sqrt(), norm_r.sqrt()),
        cosine: ratio(sum(&|i| xs[i] * rs[i]), (norm_x * norm_r).sqrt()),
        count,
        worst: worst(&xs, &rs, &kept, shape),
    }
}

/// The larger one; not-a-number wins.
pub fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// a / b, where 0 / 0 is 0.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 && b == 0.0 { 0.0 } else { a / b }
}

fn worst(xs: &[f64], rs: &[f64], kept: &[usize], shape: &[usize]) -> Vec<Difference> {
    // A difference that is not a number is the worst of all.
    let off = |i: usize| if xs[i].is_nan() { f64::INFINITY } else { (xs[i] - rs[i]).abs() };
    let mut order: Vec<usize> = kept.iter().copied().filter(|&i| off(i) > 0.0).collect();
    order.sort_by(|&a, &b| off(b).total_cmp(&off(a)));
    order.truncate(WORST);
    let difference = |i: usize| Difference { index: index_of(i, shape), got: xs[i], expected: rs[i] };
    order.into_iter().map(difference).collect()
}

/// Row-major position → index.
pub fn index_of(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (position, &size) in index.iter_mut().zip(shape).rev() {
        *position = flat % size;
        flat /= size;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f64]) -> Tensor {
        Tensor::float(Dtype::Float32, &[values.len()], values.to_vec()).unwrap()
    }

    fn rule(x: &[f64], e: &[f64], r: &[f64]) -> Agreement {
        judge(&tensor(x), &tensor(e), &tensor(r), K, |_| true)
    }

    #[test]
    fn an_engine_as_good_as_eager_passes() {
        assert!(rule(&[1.0, 2.0], &[1.0, 2.0], &[1.0, 2.0]).holds());
        assert!(rule(&[1.001, 2.0], &[1.0, 2.001], &[1.0, 2.0]).holds());
    }

    #[test]
    fn an_engine_three_times_worse_than_eager_fails() {
        assert!(!rule(&[1.003, 2.0], &[1.001, 2.0], &[1.0, 2.0]).holds());
    }

    #[test]
    fn where_eager_is_exact_the_floor_decides() {
        assert!(rule(&[1.0 + 9e-7], &[1.0], &[1.0]).holds());
        assert!(!rule(&[1.0 + 2e-6], &[1.0], &[1.0]).holds());
    }

    #[test]
    fn not_a_number_never_passes_and_is_the_worst() {
        let agreement = rule(&[1.5, f64::NAN], &[1.0, 2.0], &[1.0, 2.0]);
        assert!(!agreement.holds());
        assert_eq!(agreement.worst[0].index, [1]);
    }

    #[test]
    fn figures_that_json_has_no_words_for_come_back_as_they_were() {
        let agreement = rule(&[f64::NAN, f64::INFINITY], &[1.0, 2.0], &[1.0, 2.0]);
        let measure = Measure { situation: "traced".to_owned(), output: "logits".to_owned(), agreement };
        let written = serde_json::to_string(&measure).unwrap();
        let read: Measure = serde_json::from_str(&written).unwrap();
        assert!(read.agreement.error.is_nan() && read.agreement.worst[0].got.is_nan(), "{written}");
        assert_eq!(
            (read.agreement.worst[1].got, &read.agreement.worst[1].index[..]),
            (f64::INFINITY, &[1][..])
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }

    #[test]
    fn high_correlation_alone_does_not_pass() {
        let agreement = rule(&[1.1, 2.2], &[1.0, 2.0], &[1.0, 2.0]);
        assert!(agreement.cosine > 0.999_999);
        assert!(!agreement.holds());
    }

    #[test]
    fn elements_left_out_do_not_count() {
        let agreement =
            judge(&tensor(&[1.0, 9.0]), &tensor(&[1.0, 2.0]), &tensor(&[1.0, 2.0]), K, |i| i[0] == 0);
        assert!(agreement.holds());
        assert_eq!(agreement.count, 1);
    }
}
