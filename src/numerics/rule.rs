//! The numerical rule: how far an engine may be from the truth.
//!
//! With r the eager output in float64, e₀ … eₙ what eager returns in the program's precision on this and on other
//! processors, and x what the engine returned: pass iff `rmse(x, r) ≤ k · error + floor`, where `error` is the root mean
//! square of all eᵢ − r, k = 2 and floor = 1e-6 · rms(r). Eager's own rounding error is the yardstick, so a
//! well-conditioned model is held to more digits than an ill-conditioned one. The idea is dynamo's accuracy check
//! (torch/_dynamo/utils.py, `same`), which takes the one e at hand: right by luck on one processor, it is too strict
//! on the next. The exporter computes the others by stochastic arithmetic (`exporter/rounding.py`), in every situation
//! that a check makes; where two ranked scores stand within rounding's reach, further runs take them the other way
//! (`exporter/choices.py`), and `error` is no smaller than theirs. The floor covers outputs that eager happens to compute exactly.
//!
//! Half programs are held to eager in that precision, kernel for kernel: there r is e₀, and `error` is how far other
//! processors' roundings move it. How far all of it is from float64 is then a matter of the precision alone.

use crate::numerics::Tensor;
use crate::task::Dtype;
use serde::{Deserialize, Serialize};

/// Factor on eager's own error, in every precision.
pub const K: f64 = 2.0;
/// Allowed error of float32 programs where eager is exact, as a share of the reference's root mean square.
pub const FLOOR: f64 = 1e-6;
/// Allowed error of programs in float64, as a share of the reference's root mean square: what the order of sums may come to,
/// and nothing else. float32 has 2²⁹ times its rounding, so to a model that eager moves by 1e-4 in float32 this leaves room.
pub const EXACT: f64 = 1e-12;
/// The same of half programs: one unit in the last place of bfloat16 or float16, since any element may round the other way.
pub const HALF_FLOORS: [f64; 2] = [1.0 / 256.0, 1.0 / 2048.0];
/// How many of the largest differences are kept.
const WORST: usize = 3;
/// Values from here on are marks, not measurements: what models write where nothing is (−1e4, −1e9, the lowest float,
/// −∞). They are judged among themselves, lest their size hide what is wrong with all others.
pub const MARK: f64 = 9e3;

/// What the rule asks of a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Factor on eager's own error.
    pub k: f64,
    /// Allowed where eager is exact, as a share of rms(r).
    pub floor: f64,
    /// Largest error of eager that makes a yardstick, as a share of rms(r). Beyond it the rule would pass anything: the
    /// model, its weights or its reference need another look.
    pub soundness: f64,
}

impl Tolerance {
    /// What is asked of a program in that precision.
    pub fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Bfloat16 => Self { k: K, floor: HALF_FLOORS[0], soundness: 0.125 },
            Dtype::Float16 => Self { k: K, floor: HALF_FLOORS[1], soundness: 0.125 },
            Dtype::Float64 => Self { k: 0.0, floor: EXACT, soundness: 1e-4 },
            _ => Self { k: K, floor: FLOOR, soundness: 1e-4 },
        }
    }
}

/// What an output is held to.
#[derive(Clone, Debug)]
pub struct Reference {
    /// r, the truth.
    pub exact: Tensor,
    /// Eager's own error, element by element; of r's shape. Not a number where a mask hides the element.
    pub error: Tensor,
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// As near to the truth as eager is.
    Agrees,
    /// Further off than rounding explains.
    Differs,
    /// Eager itself is too far off to say.
    NoYardstick,
    /// No element was left to compare.
    Nothing,
}

impl Ruling {
    /// As people read it in a table.
    pub fn words(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Differs => "DIFFERS",
            Self::NoYardstick => "NO YARDSTICK",
            Self::Nothing => "NOTHING",
        }
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
    /// Eager's own error: the root mean square over its runs and the elements compared (see above).
    #[serde(with = "figure")]
    pub eager_error: f64,
    /// k · eager_error + floor.
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
    /// What the rule says with that tolerance.
    pub fn ruling(&self, tolerance: Tolerance) -> Ruling {
        if self.count == 0 {
            Ruling::Nothing
        } else if self.doubt(tolerance) > 1.0 || self.eager_error.is_nan() {
            Ruling::NoYardstick
        } else if self.holds() {
            Ruling::Agrees
        } else {
            Ruling::Differs
        }
    }

    /// Whether the error is within its limit. Not-a-number never is, nor an error beyond what numbers can hold.
    pub fn holds(&self) -> bool {
        self.error <= self.limit && self.error.is_finite()
    }

    /// The error as a share of what is allowed: 1 is the last that passes. Nothing allowed and nothing off is 0.
    pub fn share(&self) -> f64 {
        if self.error == 0.0 { 0.0 } else { self.error / self.limit }
    }

    /// Eager's own error as a share of the largest that makes a yardstick: beyond 1 there is none.
    pub fn doubt(&self, tolerance: Tolerance) -> f64 {
        if self.eager_error == 0.0 { 0.0 } else { self.eager_error / (tolerance.soundness * self.scale) }
    }

    /// Whether the error would be within the limit of that tolerance.
    pub fn holds_with(&self, tolerance: Tolerance) -> bool {
        self.error <= tolerance.k * self.eager_error + tolerance.floor * self.scale
    }
}

/// Applies the rule to x, over the elements whose index `keep` accepts. All three tensors are of one shape.
///
/// What a mask hides is not compared: nobody reads it, and attention kernels put there what they like.
/// Marks are judged apart from measurements; the agreement is that of the part without a yardstick, else of the part
/// which takes the larger share of what it is allowed. Whole numbers have no rounding error: the rule asks for equality within the floor.
pub fn judge(
    x: &Tensor,
    reference: &Reference,
    tolerance: Tolerance,
    keep: impl Fn(&[usize]) -> bool,
) -> Agreement {
    let shape = reference.exact.shape();
    let values = Compared {
        xs: x.to_f64(),
        errors: reference.error.to_f64(),
        rs: reference.exact.to_f64(),
        shape,
        tolerance,
    };
    let seen = |&flat: &usize| !values.errors[flat].is_nan();
    let kept = (0..values.rs.len()).filter(seen).filter(|&flat| keep(&index_of(flat, shape)));
    let (marks, measurements): (Vec<usize>, Vec<usize>) = kept.partition(|&i| values.rs[i].abs() >= MARK);
    let count = marks.len() + measurements.len();
    let judged = match (measurements.is_empty(), marks.is_empty()) {
        (_, true) => values.agreement(&measurements),
        (true, false) => values.agreement(&marks),
        (false, false) => {
            let (marked, measured) = (values.agreement(&marks), values.agreement(&measurements));
            // An error of eager's own that makes no yardstick allows so much that its share is small.
            let rank = |part: &Agreement| {
                let share = if part.share().is_nan() { f64::INFINITY } else { part.share() };
                (part.ruling(tolerance) == Ruling::NoYardstick, share)
            };
            if rank(&measured) >= rank(&marked) { measured } else { marked }
        }
    };
    Agreement { count, ..judged }
}

/// The values of one comparison, row-major.
struct Compared<'a> {
    xs: Vec<f64>,
    errors: Vec<f64>,
    rs: Vec<f64>,
    shape: &'a [usize],
    tolerance: Tolerance,
}

impl Compared<'_> {
    /// x − r; two infinities of one sign are equal.
    fn difference(&self, i: usize) -> f64 {
        if self.xs[i] == self.rs[i] { 0.0 } else { self.xs[i] - self.rs[i] }
    }

    /// The agreement of the elements at these positions.
    fn agreement(&self, kept: &[usize]) -> Agreement {
        let square = |value: f64| value * value;
        let sum = |f: &dyn Fn(usize) -> f64| kept.iter().map(|&i| f(i)).sum::<f64>();
        let mean = 1.0 / kept.len().max(1) as f64;
        // What is infinite has no size.
        let finite = |value: f64| if value.is_infinite() { 0.0 } else { value };
        let squares = sum(&|i| square(self.difference(i)));
        let (norm_x, norm_r) = (sum(&|i| square(finite(self.xs[i]))), sum(&|i| square(finite(self.rs[i]))));
        let eager_error = (sum(&|i| square(self.errors[i])) * mean).sqrt();
        let scale = (norm_r * mean).sqrt();
        Agreement {
            error: (squares * mean).sqrt(),
            eager_error,
            limit: self.tolerance.k * eager_error + self.tolerance.floor * scale,
            scale,
            max_abs: kept.iter().map(|&i| self.difference(i).abs()).fold(0.0, nan_max),
            relative_l2: ratio(squares.sqrt(), norm_r.sqrt()),
            cosine: ratio(sum(&|i| finite(self.xs[i]) * finite(self.rs[i])), (norm_x * norm_r).sqrt()),
            count: kept.len(),
            worst: self.worst(kept),
        }
    }

    /// The largest differences; one that is not a number is the worst of all.
    fn worst(&self, kept: &[usize]) -> Vec<Difference> {
        let off = |i: usize| {
            let difference = self.difference(i).abs();
            if difference.is_nan() { f64::INFINITY } else { difference }
        };
        let mut order: Vec<usize> = kept.iter().copied().filter(|&i| off(i) > 0.0).collect();
        let largest = |&a: &usize, &b: &usize| off(b).total_cmp(&off(a)).then(a.cmp(&b));
        // To sort the differences of large outputs takes longer than to run the model.
        if order.len() > WORST {
            order.select_nth_unstable_by(WORST, largest);
            order.truncate(WORST);
        }
        order.sort_by(largest);
        let told =
            |i: usize| Difference { index: index_of(i, self.shape), got: self.xs[i], expected: self.rs[i] };
        order.into_iter().map(told).collect()
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

    fn reference(e: &[f64], r: &[f64]) -> Reference {
        let off: Vec<f64> = e.iter().zip(r).map(|(e, r)| if e == r { 0.0 } else { e - r }).collect();
        Reference { exact: tensor(r), error: tensor(&off) }
    }

    /// The rule, were errors of any size a yardstick.
    fn rule(x: &[f64], e: &[f64], r: &[f64]) -> Agreement {
        judge(&tensor(x), &reference(e, r), Tolerance::of(Dtype::Float32), |_| true)
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
    fn the_largest_differences_are_told_in_order_however_many_there_are() {
        let xs: Vec<f64> = (0..1000).map(|i| f64::from(i * 37 % 1000)).collect();
        let zeros = vec![0.0; xs.len()];
        let told: Vec<f64> = rule(&xs, &zeros, &zeros).worst.iter().map(|worst| worst.got).collect();
        assert_eq!(told, Vec::from_iter((0..WORST).map(|place| 999.0 - place as f64)));
        let alike = rule(&vec![1.0; 1000], &zeros, &zeros).worst;
        let places: Vec<usize> = alike.iter().map(|worst| worst.index[0]).collect();
        assert_eq!(places, Vec::from_iter(0..WORST));
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
        let reference = reference(&[1.0, 2.0], &[1.0, 2.0]);
        let float32 = Tolerance::of(Dtype::Float32);
        let agreement = judge(&tensor(&[1.0, 9.0]), &reference, float32, |i| i[0] == 0);
        assert_eq!((agreement.ruling(float32), agreement.count), (Ruling::Agrees, 1));
        let nothing = judge(&tensor(&[1.0, 9.0]), &reference, float32, |_| false);
        assert_eq!(nothing.ruling(float32), Ruling::Nothing);
    }

    #[test]
    fn marks_do_not_widen_what_the_others_are_allowed() {
        let (e, r) = ([1.0, -10_000.01, f64::NEG_INFINITY], [1.0, -10_000.0, f64::NEG_INFINITY]);
        let float32 = Tolerance::of(Dtype::Float32);
        let ruling = |x: &[f64]| rule(x, &e, &r).ruling(float32);
        assert_eq!(ruling(&[1.0, -10_000.01, f64::NEG_INFINITY]), Ruling::Agrees);
        assert_eq!(ruling(&[1.001, -10_000.0, f64::NEG_INFINITY]), Ruling::Differs);
        assert_eq!(ruling(&[1.0, -10_050.0, f64::NEG_INFINITY]), Ruling::Differs);
        assert_eq!(ruling(&[1.0, -10_000.0, f64::INFINITY]), Ruling::Differs);
    }

    #[test]
    fn marks_that_agree_do_not_hide_measurements_without_a_yardstick() {
        let float32 = Tolerance::of(Dtype::Float32);
        let ruling = |e: &[f64]| rule(&[1.0, -10_000.001], e, &[1.0, -10_000.0]).ruling(float32);
        assert_eq!(ruling(&[1.0, -10_000.0]), Ruling::Agrees);
        assert_eq!(ruling(&[1.5, -10_000.0]), Ruling::NoYardstick);
        assert_eq!(ruling(&[1.0, -10_500.0]), Ruling::NoYardstick);
    }

    #[test]
    fn an_eager_model_without_digits_of_its_own_is_no_yardstick() {
        let float32 = Tolerance::of(Dtype::Float32);
        assert_eq!(rule(&[1.0], &[1.00011], &[1.0]).ruling(float32), Ruling::NoYardstick);
        assert_eq!(rule(&[1.0], &[1.00009], &[1.0]).ruling(float32), Ruling::Agrees);
        assert_eq!(rule(&[1.0], &[f64::INFINITY], &[1.0]).ruling(float32), Ruling::NoYardstick);
    }
}
