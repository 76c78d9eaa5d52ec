//! A failure in the words that people read.

use super::Record;

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
        if device == "mock" {
            lines.push(format!(
                "  again: cargo test --test suite {}::{check}",
                model.replace(['-', '.'], "_")
            ));
        } else {
            lines.push(format!("  again in Rust:   just test {model} --check {check} --device {device}"));
            lines.push(format!("  again in Python: just replay {model}"));
        }
        lines.join("\n")
    }
}
