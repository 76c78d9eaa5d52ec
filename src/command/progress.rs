//! What shows on a terminal that something is being done; silent when standard error is none.

use indicatif::{ProgressBar, ProgressStyle};
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
