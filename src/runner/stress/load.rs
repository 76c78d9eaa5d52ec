//! Load: many results at once, into one file.
//!
//! In: writers, and how many results each adds. Out: what was lost or torn, or how fast they were.

use super::Outcome;
use crate::report;
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::time::Instant;

/// Has writers add results, each a line of some thousand bytes; all must be there, whole, in the order of their writer.
pub(super) fn written(path: &Path, writers: usize, each: usize) -> io::Result<Outcome> {
    let text = "x".repeat(3000);
    let add = |writer: usize| {
        let line = |number: usize| json!({"writer": writer, "number": number, "text": text});
        (0..each).try_for_each(|number| report::append_to(path, &line(number)))
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || add(writer))).collect();
        let mut ended = threads.into_iter().map(|thread| thread.join());
        ended.try_for_each(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let lines = report::lines::<Value>(path)?;
    if let Some(complaint) = lines.complaint() {
        return Ok(Err(complaint));
    }
    for writer in 0..writers {
        let own = lines.read.iter().filter(|line| line["writer"] == writer && line["text"] == text.as_str());
        if !own.map(|line| line["number"].as_u64()).eq((0..each as u64).map(Some)) {
            return Ok(Err(format!("results of writer {writer} are lost or in another order")));
        }
    }
    Ok(Ok(Some(format!("{:.0} results a second", (writers * each) as f64 / seconds))))
}
