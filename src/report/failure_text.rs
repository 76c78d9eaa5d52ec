//! A failure in the words that people read.

use super::Record;
use crate::failure::Stage;

/// The failures among `records`: the first of all that are alike but for their check, with the other checks.
pub fn failures<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<(&'a Record, Vec<&'a str>)> {
    let same = |a: &Record, b: &Record| {
        (&a.model, &a.device, a.stage, &a.reason) == (&b.model, &b.device, b.stage, &b.reason)
    };
    let mut distinct: Vec<(&Record, Vec<&str>)> = Vec::new();
    for record in records.into_iter().filter(|record| record.status == "failed") {
        match distinct.iter_mut().find(|(first, _)| same(first, record)) {
            Some((_, others)) => others.push(&record.check),
            None => distinct.push((record, Vec::new())),
        }
    }
    distinct
}

impl Record {
    /// Stage, model, check, device, what is wrong, the worst of it, and how to see it again.
    ///
    /// ```text
    /// FAILED bert · matches_reference · cpu · stage compare
    ///   logits (traced) is off by 2.13e-4 rmse; allowed 3.1e-7 = 2 × eager's 1.4e-7 + floor
    ///   …
    ///   again in Rust:   just test bert --check matches_reference --device cpu
    ///   again in Python: just replay bert
    /// ```
    pub fn failure_text(&self) -> String {
        let Self { model, check, device, stage, reason, details, .. } = self;
        let device = device.as_deref().unwrap_or("mock");
        let mut lines = vec![
            format!(
                "FAILED {model} · {check} · {device} · stage {}",
                stage.map_or(String::new(), |stage| stage.to_string())
            ),
            format!("  {}", reason.as_deref().unwrap_or("for no known reason")),
        ];
        lines.extend(details.iter().map(|detail| format!("  {detail}")));
        lines.extend(match (device, stage) {
            ("mock", _) => {
                vec![format!("  again: cargo test --test suite {}::{check}", model.replace(['-', '.'], "_"))]
            }
            (_, Some(Stage::Export)) => vec![format!("  again: just export {model}")],
            _ => vec![
                format!("  again in Rust:   just test {model} --check {check} --device {device}"),
                format!("  again in Python: just replay {model}"),
            ],
        });
        lines.join("\n")
    }
}
