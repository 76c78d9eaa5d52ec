//! Annotations in the words of GitHub Actions.
//!
//! In: a failed record and where its entry stands. Out: the line that makes GitHub show the failure beside that entry.

use super::Record;
use crate::spec::Place;

/// `::error file=…,line=…,title=…::…`, the failure in full below its title.
#[must_use]
pub fn annotation(record: &Record, place: &Place) -> String {
    let stage = record.stage.map_or_else(String::new, |stage| stage.to_string());
    let title = format!("{} · {} · stage {stage}", record.model, record.check);
    let (file, line) = (place.file.display().to_string(), place.line);
    format!(
        "::error file={},line={line},title={}::{}",
        property(&file),
        property(&title),
        data(&record.failure_text())
    )
}

/// As GitHub's toolkit escapes it (actions/toolkit, packages/core/src/command.ts).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Stage;
    use crate::verdict::Status;

    #[test]
    fn a_failure_is_one_line_beside_its_entry() {
        let record = Record {
            status: Status::Failed,
            stage: Some(Stage::Run),
            reason: Some("100% wrong".to_owned()),
            ..Record::sample("bert", "loads")
        };
        let place = Place { file: "spec/encoder-only.yaml".into(), line: 17, column: 5 };
        assert_eq!(
            annotation(&record, &place),
            "::error file=spec/encoder-only.yaml,line=17,title=bert · loads · stage run::FAILED bert · loads · cpu · \
             stage run%0A  100%25 wrong%0A  again in Rust:   just test bert --check loads --device cpu%0A  \
             again in Python: just replay bert"
        );
    }
}
