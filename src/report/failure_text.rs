//! A failure in the words that people read.

use super::Record;
use crate::artifact::Format;
use crate::failure::Stage;
use crate::spec::Check;
use crate::typed::Typed;
use crate::verdict::Status;

/// The records whose status is such: the first of all that are alike but for their check, with the other checks.
pub fn told<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    is_such: impl Fn(Status) -> bool,
) -> Vec<(&'a Record, Vec<&'a str>)> {
    let same = |a: &Record, b: &Record| {
        (&a.model, &a.device, &a.engine, a.status, a.stage, &a.reason)
            == (&b.model, &b.device, &b.engine, b.status, b.stage, &b.reason)
    };
    let mut distinct: Vec<(&Record, Vec<&str>)> = Vec::new();
    for record in records.into_iter().filter(|record| is_such(record.status)) {
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
        let nowhere = if self.is_real() { "no device" } else { "mock" };
        let device = device.as_deref().unwrap_or(nowhere);
        let word = self.status.word().to_uppercase();
        let mut lines = vec![
            format!(
                "{word} {model} · {check} · {device} · stage {}",
                stage.map_or(String::new(), |stage| stage.to_string())
            ),
            format!("  {}", reason.as_deref().unwrap_or("for no known reason")),
        ];
        lines.extend(details.iter().map(|detail| format!("  {detail}")));
        lines.extend(self.again().into_iter().map(|(what, typed)| format!("  {what} {typed}")));
        lines.join("\n")
    }

    /// What to type to see it again, each with what it does.
    fn again(&self) -> Vec<(&'static str, Typed)> {
        let Self { model, family, check, device, stage, .. } = self;
        let engine = Format::named(&self.engine).unwrap_or_default();
        let rust = Typed::test([model.as_str()], Some(check), device.as_deref())
            .option("--engine", engine.option())
            .half(&self.dtype);
        match (self.status, stage) {
            _ if device.is_none() && !self.is_real() => {
                vec![("again:", Typed::mock_test(family, model, check))]
            }
            (Status::NotRun, _) => vec![("again:", rust)],
            (_, Some(Stage::Export)) => {
                // What eager computes in half precision is made for the device, too.
                let is_half = *check == Check::Half.name() && device.as_deref() != Some("cpu");
                let place = device.as_deref().filter(|_| is_half || engine.target().is_some());
                let export = Typed::export([model.as_str()])
                    .option("--engine", engine.option())
                    .option("--device", place);
                vec![("again:", export.half(&self.dtype))]
            }
            (_, Some(Stage::Compare)) if engine == Format::Pt2 && !self.dtype.ends_with("16") => {
                let explain = Typed::explain(model).option("--device", device.as_deref());
                vec![("where it comes from:", explain), ("again:", rust)]
            }
            // Python replays TorchScript.
            _ if engine != Format::TorchScript => vec![("again:", rust)],
            (_, stage) => {
                let replay = Typed::replay(model);
                let layer = ("in which layer it begins:", replay.clone());
                let is_layers = *check == Check::MatchesReference.name() && *stage == Some(Stage::Compare);
                let first = is_layers.then_some(layer);
                first.into_iter().chain([("again in Rust:  ", rust), ("again in Python:", replay)]).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: Status, stage: Stage) -> Record {
        Record {
            status,
            stage: Some(stage),
            reason: Some("why".to_owned()),
            ..Record::sample("bert", "half")
        }
    }

    /// The lines below the reason.
    fn again(record: &Record) -> Vec<String> {
        record.failure_text().lines().skip(2).map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn what_to_type_fits_what_happened() {
        let rust = "just test bert --check half --device cpu";
        let compare = record(Status::Failed, Stage::Compare);
        assert_eq!(
            again(&compare),
            [format!("again in Rust:   {rust}"), "again in Python: just replay bert".to_owned()]
        );
        assert_eq!(again(&record(Status::Failed, Stage::Export)), ["again: just export bert"]);
        assert_eq!(again(&record(Status::NotRun, Stage::Export)), [format!("again: {rust}")]);
        let compiled = Record { engine: "aot".to_owned(), ..record(Status::Failed, Stage::Export) };
        assert_eq!(again(&compiled), ["again: just export bert --engine aot --device cpu"]);
        let half = Record { engine: "pt2".to_owned(), dtype: "bfloat16".to_owned(), ..compare.clone() };
        assert_eq!(again(&half), [format!("again: {rust} --engine pt2")]);
        let pt2 = Record { dtype: "float32".to_owned(), ..half };
        let explain = "where it comes from: just explain bert --device cpu".to_owned();
        assert_eq!(again(&pt2), [explain, format!("again: {rust} --engine pt2")]);
        let mock = Record { engine: "mock".to_owned(), device: None, ..compare };
        assert_eq!(again(&mock), ["again: cargo test --test suite -- --exact MOCK::text::bert::half"]);
    }

    #[test]
    fn what_stopped_several_checks_in_the_same_way_is_told_once() {
        let first = record(Status::Failed, Stage::Load);
        let second = Record { check: "loads".to_owned(), ..first.clone() };
        let elsewhere = Record { device: Some("cuda:0".to_owned()), ..second.clone() };
        let not_run = record(Status::NotRun, Stage::Load);
        let records = [first, second, elsewhere, not_run];
        let others: Vec<_> = told(&records, Status::is_red).into_iter().map(|(_, others)| others).collect();
        assert_eq!(others, [vec!["loads"], vec![]]);
    }
}
