//! Other machines, imitated: does a verdict hold on processors that it was not made on?
//!
//! In: the results of one set of models under the kernels of other processors. Out: how near each came to being red.
//! torch chooses kernels by what a processor can do, and can be told to do with less; what these settings are is in
//! torch's and oneDNN's and MKL's documentation of their environment variables.

use crate::numerics::{Measure, Tolerance};
use crate::report::Record;
use crate::spec::Check;
use crate::task::Dtype;
use crate::verdict::Status;

/// A machine to imitate on this one.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub name: &'static str,
    /// Environment variables that make torch compute as it would there.
    pub environment: &'static [(&'static str, &'static str)],
}

const OLDEST: [(&str, &str); 3] = [
    ("ATEN_CPU_CAPABILITY", "default"),
    ("DNNL_MAX_CPU_ISA", "SSE41"),
    ("MKL_ENABLE_INSTRUCTIONS", "SSE4_2"),
];
const AVX2: [(&str, &str); 3] =
    [("ATEN_CPU_CAPABILITY", "avx2"), ("DNNL_MAX_CPU_ISA", "AVX2"), ("MKL_ENABLE_INSTRUCTIONS", "AVX2")];
const TWO_THREADS: [(&str, &str); 1] = [("HF_CONFORMANCE_THREADS", "2")];

/// This machine as it is.
pub const HERE: Machine = Machine { name: "this machine", environment: &[] };
/// A processor without vector units that torch has kernels for.
pub const WITHOUT_VECTORS: Machine = Machine { name: "no vectors", environment: &OLDEST };

/// Where artifacts are made.
pub const EXPORTED: [Machine; 2] = [HERE, WITHOUT_VECTORS];
/// Where they are tested.
pub const TESTED: [Machine; 4] = [
    HERE,
    Machine { name: "2 threads", environment: &TWO_THREADS },
    Machine { name: "AVX2", environment: &AVX2 },
    WITHOUT_VECTORS,
];

/// The checks that hold numbers to eager's by the rule; the others compare a machine with itself, or whole numbers.
pub const COMPARING: [Check; 8] = [
    Check::MatchesReference,
    Check::Generalises,
    Check::BatchInvariant,
    Check::PaddingInvariant,
    Check::Causal,
    Check::Optimised,
    Check::Half,
    Check::Decodes,
];

/// What a measure comes near to where it comes near to being red.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The error that the rule allows.
    Allowed,
    /// The largest error of eager's own that makes a yardstick.
    Yardstick,
}

impl Bound {
    pub const ALL: [Self; 2] = [Self::Allowed, Self::Yardstick];

    /// The largest share of the bound that leaves room: with less, some machine would turn the measure red. How far
    /// rounding moves eager is a mean over runs, and differs by a fifth or so between the machines that took it.
    pub fn room(self) -> f64 {
        match self {
            Self::Allowed => 0.6,
            Self::Yardstick => 0.75,
        }
    }

    /// What a share is a share of.
    pub fn words(self) -> &'static str {
        match self {
            Self::Allowed => "of what is allowed",
            Self::Yardstick => "of what makes a yardstick",
        }
    }

    fn share(self, metric: &Measure, dtype: &str) -> f64 {
        let tolerance = Tolerance::of(Dtype::named(dtype).unwrap_or(Dtype::Float32));
        let share = match self {
            Self::Allowed => metric.agreement.share(),
            Self::Yardstick => metric.agreement.doubt(tolerance),
        };
        // Not a number is worse than any.
        if share.is_nan() { f64::INFINITY } else { share }
    }
}

/// One measure and the share that it takes of a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    pub model: String,
    pub check: String,
    pub situation: String,
    pub output: String,
    pub bound: Bound,
    pub share: f64,
}

impl Share {
    fn is_tight(&self) -> bool {
        self.share > self.bound.room()
    }
}

/// What became of one set of artifacts on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Portability {
    /// Checks that are red or have not run, as `model · check`.
    pub red: Vec<String>,
    /// Every measure once for each bound, the largest share first.
    pub shares: Vec<Share>,
}

impl Portability {
    /// What the records of one run say.
    pub fn of(records: &[Record]) -> Self {
        let red = records.iter().filter(|record| record.status != Status::Passed);
        let red = red.map(|record| format!("{} · {}", record.model, record.check)).collect();
        let measures =
            records.iter().flat_map(|record| record.metrics.iter().map(move |metric| (record, metric)));
        let mut shares: Vec<Share> = measures
            .flat_map(|(record, metric)| {
                Bound::ALL.map(|bound| Share {
                    model: record.model.clone(),
                    check: record.check.clone(),
                    situation: metric.situation.clone(),
                    output: metric.output.clone(),
                    bound,
                    share: bound.share(metric, &record.dtype),
                })
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share));
        Self { red, shares }
    }

    /// All shares of one bound, the largest first.
    pub fn of_bound(&self, bound: Bound) -> impl Iterator<Item = &Share> {
        self.shares.iter().filter(move |share| share.bound == bound)
    }

    /// The shares that leave no room, the largest first.
    pub fn tight(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter().filter(|share| share.is_tight())
    }

    /// Whether nothing is red and everything has room.
    pub fn holds(&self) -> bool {
        self.red.is_empty() && self.tight().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::Agreement;

    fn record(model: &str, status: Status, errors: &[f64]) -> Record {
        let agreement = |error: f64| Agreement {
            error,
            eager_error: 1e-5,
            limit: 1.0,
            scale: 1.0,
            max_abs: error,
            relative_l2: error,
            cosine: 1.0,
            count: 1,
            worst: Vec::new(),
        };
        let metric = |&error: &f64| Measure {
            situation: "traced".to_owned(),
            output: "logits".to_owned(),
            agreement: agreement(error),
        };
        let metrics = errors.iter().map(metric).collect();
        Record { status, metrics, ..Record::sample(model, "half") }
    }

    #[test]
    fn the_worst_share_comes_first_and_not_a_number_before_all() {
        let found = Portability::of(&[
            record("a", Status::Passed, &[0.2, 0.7]),
            record("b", Status::Passed, &[f64::NAN, 0.6]),
        ]);
        let tight: Vec<(&str, f64)> =
            found.tight().map(|share| (share.model.as_str(), share.share)).collect();
        assert_eq!(tight, [("b", f64::INFINITY), ("a", 0.7)]);
        assert!(!found.holds());
    }

    #[test]
    fn what_is_nearly_no_yardstick_has_no_room() {
        let mut near = record("a", Status::Passed, &[0.0]);
        near.metrics[0].agreement.eager_error = 0.8 * Tolerance::of(Dtype::Bfloat16).soundness;
        near.dtype = Dtype::Bfloat16.name().to_owned();
        let found = Portability::of(&[near.clone()]);
        let tight: Vec<(Bound, f64)> = found.tight().map(|share| (share.bound, share.share)).collect();
        assert_eq!(tight, [(Bound::Yardstick, 0.8)]);
        near.metrics[0].agreement.eager_error *= 0.9;
        assert!(Portability::of(&[near]).holds());
    }

    #[test]
    fn a_check_that_did_not_run_holds_nowhere() {
        assert!(Portability::of(&[record("a", Status::Passed, &[0.6])]).holds());
        let not_run = Portability::of(&[record("a", Status::NotRun, &[])]);
        assert_eq!((not_run.red.as_slice(), not_run.holds()), (["a · half".to_owned()].as_slice(), false));
    }
}
