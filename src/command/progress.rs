//! What shows on a terminal that something is being done; silent when standard error is none.

use hf_conformance::export::{Exported, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::time::Duration;

/// A progress bar with its time left.
pub fn bar(doing: &str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    let template = format!("{doing:<9} {{bar:30}} {{pos}}/{{len}} [{{elapsed}}, {{eta}} left]");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What shows that something without steps is being done.
pub fn spinner(doing: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {doing} [{{elapsed}}]")) {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// What a command does one thing after the other, by names: which of them it is at, and how far it is in that.
pub struct Stages {
    bar: ProgressBar,
    names: &'static [&'static str],
    begun: Cell<usize>,
}

impl Stages {
    /// Shows nothing before the first of them begins.
    pub fn new(names: &'static [&'static str]) -> Self {
        Self { bar: ProgressBar::new(0), names, begun: Cell::new(0) }
    }

    /// Begins the next stage, which has so many steps; one that has none is as long as it takes.
    pub fn next(&self, steps: usize) {
        let (place, name) = (self.begun.get() + 1, self.names[self.begun.get()]);
        self.begun.set(place);
        let template = staged(place, self.names.len(), name, steps);
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.bar.set_style(style);
        }
        self.bar.set_message("");
        self.bar.set_length(steps as u64);
        self.bar.reset();
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// So many steps of the stage are over.
    pub fn over(&self, steps: usize) {
        self.bar.inc(steps as u64);
    }

    /// The step of the stage that begins now.
    pub fn step(&self, doing: &str) {
        if !self.bar.message().is_empty() {
            self.over(1);
        }
        self.bar.set_message(doing.to_owned());
    }

    /// Takes the bar off the screen.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A stage of so many, as it is shown; without steps there is nothing to count.
fn staged(place: usize, count: usize, name: &str, steps: usize) -> String {
    let counted = if steps == 0 { "{spinner}" } else { "{bar:30} {pos}/{len}" };
    format!("[{place}/{count}] {name} {counted} [{{elapsed}}] {{msg}}")
}

/// A stage that exports: a step for each order.
impl Progress for Stages {
    fn waits(&self, holder: &str) {
        self.bar.suspend(|| eprintln!("waiting for {holder}, which exports into the same folder"));
    }

    fn begin(&self, count: usize) {
        self.bar.set_length(count as u64);
    }

    fn started(&self, _: &str) {}

    fn finished(&self, _: &Exported) {
        self.over(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_with_its_place_and_its_steps() {
        let stages = Stages::new(&["looking", "trying the example"]);
        let now = || (stages.bar.position(), stages.bar.length(), stages.bar.message());
        stages.next(0);
        stages.next(2);
        assert_eq!(now(), (0, Some(2), String::new()));
        stages.step("compiling it");
        assert_eq!(now(), (0, Some(2), "compiling it".to_owned()));
        stages.step("running it");
        assert_eq!(now(), (1, Some(2), "running it".to_owned()), "what went before is over");
        assert_eq!(staged(1, 2, "looking", 0), "[1/2] looking {spinner} [{elapsed}] {msg}");
        let counted = staged(2, 2, "checking", 14);
        assert_eq!(counted, "[2/2] checking {bar:30} {pos}/{len} [{elapsed}] {msg}");
    }
}
