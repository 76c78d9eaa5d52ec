//! Two result sets, held against each other: the question before every upgrade of torch or a driver.
//!
//! In: the records before and after. Out: a [`Finding`] for everything that changed its meaning, the worst first.

use super::Record;
use super::latest::latest;
use crate::numerics::Measure;
use crate::verdict::Status;
use std::fmt;

/// Growth of the error, as a share of what is allowed, that is worth telling.
const GROWTH: f64 = 2.0;
/// Smaller shares of the allowed error are all alike: there, growth is noise.
const NOISE: f64 = 0.01;

/// What happened to one check on one model and device.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub model: String,
    pub check: String,
    pub device: String,
    pub engine: String,
    pub change: Change,
}

/// A change of meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Passed before, fails now; or failed before, and does not even come to its end now.
    Broken { stage: String, reason: String },
    /// Passed before, has no proof now.
    Unproved { now: Status },
    /// Passes or fails as before, with an error more than twice as large a share of what is allowed.
    Drifted { output: String, situation: String, before: f64, after: f64 },
    /// Failed before, passes now.
    Fixed,
}

impl Change {
    /// Whether an upgrade should wait for it.
    pub fn is_worse(&self) -> bool {
        !matches!(self, Self::Fixed)
    }

    /// The heading it stands under.
    pub fn heading(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "newly broken",
            Self::Unproved { .. } => "no longer proved",
            Self::Drifted { .. } => "error grown more than 2×",
            Self::Fixed => "newly fixed",
        }
    }

    fn rank(&self) -> usize {
        match self {
            Self::Broken { .. } => 0,
            Self::Unproved { .. } => 1,
            Self::Drifted { .. } => 2,
            Self::Fixed => 3,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · {} · {}", self.model, self.check, self.device)?;
        match &self.change {
            Change::Broken { stage, reason } => write!(f, " · stage {stage}: {reason}"),
            Change::Unproved { now } => write!(f, " · {now}"),
            Change::Drifted { output, situation, before, after } => {
                write!(f, " · {output} ({situation}): {before:.3} → {after:.3} of what is allowed")
            }
            Change::Fixed => Ok(()),
        }
    }
}

/// What changed between two result sets, each oldest first.
#[must_use]
pub fn compare(old: &[Record], new: &[Record]) -> Vec<Finding> {
    let (before, after) = (latest(old), latest(new));
    let mut findings: Vec<Finding> = before
        .iter()
        .flat_map(|(key, old)| {
            let finding = |change| Finding {
                model: old.model.clone(),
                check: old.check.clone(),
                device: old.device.clone().unwrap_or_default(),
                engine: old.engine.clone(),
                change,
            };
            changes(old, after.get(key).copied()).into_iter().map(finding)
        })
        .collect();
    findings.sort_by_key(|finding| finding.change.rank());
    findings
}

fn changes(old: &Record, new: Option<&Record>) -> Vec<Change> {
    use Status::{Crashed, Failed, Passed, TimedOut};
    match (old.status, new.map_or(Status::NotRun, |new| new.status), new) {
        (Passed, Passed, Some(new)) | (Failed, Failed, Some(new)) => drifts(old, new),
        (Passed | Failed, Crashed | TimedOut, Some(new)) | (Passed, Failed, Some(new)) => {
            vec![Change::Broken {
                stage: new.stage.map_or_else(String::new, |stage| stage.to_string()),
                reason: new.reason.clone().unwrap_or_default(),
            }]
        }
        (Passed, now, _) => vec![Change::Unproved { now }],
        (_, Passed, _) => vec![Change::Fixed],
        _ => Vec::new(),
    }
}

/// The outputs whose error grew.
fn drifts(old: &Record, new: &Record) -> Vec<Change> {
    let grown = |new: &Measure| {
        let same = |old: &&Measure| old.output == new.output && old.situation == new.situation;
        let (before, after) = (old.metrics.iter().find(same)?.agreement.share(), new.agreement.share());
        // What was a number and is none any more has grown.
        let more = after > GROWTH * before.max(NOISE) || (after.is_nan() && !before.is_nan());
        more.then(|| Change::Drifted {
            output: new.output.clone(),
            situation: new.situation.clone(),
            before,
            after,
        })
    };
    new.metrics.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Stage;

    fn record(model: &str, status: Status, error: f64) -> Record {
        let metric = serde_json::json!({
            "situation": "traced", "output": "logits", "error": error, "eager_error": 0.4, "limit": 1.0, "scale": 1.0,
            "max_abs": 0.0, "relative_l2": 0.0, "cosine": 1.0,
        });
        let metrics = vec![serde_json::from_value(metric).unwrap()];
        Record { status, metrics, ..Record::sample(model, "matches_reference") }
    }

    #[test]
    fn a_planted_regression_is_found_among_what_stayed() {
        let old = ["bert", "t5", "vit", "clip"].map(|model| record(model, Status::Passed, 0.3));
        let failed = [
            record("gpt2", Status::Failed, 3.0),
            record("whisper", Status::Failed, 3.0),
            record("llava", Status::Failed, 3.0),
        ];
        let broken = Record {
            stage: Some(Stage::Compare),
            reason: Some("logits is off".to_owned()),
            ..record("bert", Status::Failed, 9.0)
        };
        let new = [
            broken,
            record("t5", Status::Passed, 0.7),
            record("vit", Status::Passed, 0.5),
            record("gpt2", Status::Passed, 0.3),
            record("whisper", Status::Failed, 7.0),
            record("llava", Status::Failed, 3.5),
        ];
        let findings = compare(&[old.as_slice(), &failed].concat(), &new);
        let told: Vec<String> =
            findings.iter().map(|finding| format!("{}: {finding}", finding.change.heading())).collect();
        assert_eq!(
            told,
            [
                "newly broken: bert · matches_reference · cpu · stage compare: logits is off",
                "no longer proved: clip · matches_reference · cpu · not run",
                "error grown more than 2×: t5 · matches_reference · cpu · logits (traced): 0.300 → 0.700 of what is allowed",
                "error grown more than 2×: whisper · matches_reference · cpu · logits (traced): 3.000 → 7.000 of what is allowed",
                "newly fixed: gpt2 · matches_reference · cpu",
            ]
        );
        assert_eq!(findings.iter().filter(|finding| finding.change.is_worse()).count(), 4);
    }

    #[test]
    fn a_set_against_itself_and_growth_within_the_noise_are_no_findings() {
        let old = [record("bert", Status::Passed, 0.0001), record("t5", Status::Failed, 9.0)];
        assert_eq!(compare(&old, &old), []);
        assert_eq!(compare(&old[..1], &[record("bert", Status::Passed, 0.015)]), []);
    }
}
