//! `bench --decode`: how fast models write text, as a table.

use super::tables::{named, number, wide};
use hf_conformance::report::decoding::{DecodeCase, DecodeSpeed};

/// A line for every model, width, number of threads, engine and case.
pub fn table_of(speeds: &[DecodeSpeed]) -> String {
    if speeds.is_empty() {
        return String::new();
    }
    let header = [
        "model",
        "width",
        "threads",
        "engine",
        "prompt",
        "rows",
        "cached tok/s",
        "uncached",
        "generate",
        "×",
        "eager",
        "×",
        "last/first step",
        "same text",
        "± %",
    ];
    let mut rows = wide(&header.map(str::to_owned));
    for speed in speeds {
        rows.add_rows(speed.cases.iter().map(|case| row(speed, case)));
    }
    let legend = "tok/s: new tokens a second over all rows, 64 of each after its prompt (uncached: 1). generate: Python's own, with its \
                  default cache and the program's attention; × how many times as fast the step program is.\nlast/first step: time of a step at \
                  the end over that at the beginning. same text: rows in which both sides write the same 64 tokens";
    format!("\n{rows}\n\n{legend}")
}

fn row(speed: &DecodeSpeed, case: &DecodeCase) -> Vec<String> {
    let python = |name: &str| case.python_rates().find(|(other, _)| *other == name).map(|(_, rate)| rate);
    let times = case.python.values().chain([&case.cached]);
    let spread = times.map(|times| times.spread).fold(0.0, f64::max);
    let attention = &*speed.about.attention;
    let other = Some("eager").filter(|eager| *eager != attention);
    let mut cells = named(&speed.about);
    cells.extend([
        speed.engine.clone(),
        case.prompt.to_string(),
        case.rows.to_string(),
        number(Some(case.cached_rate()), 0),
        number(Some(case.uncached_rate()), 0),
        number(python(attention), 0),
        number(case.speedup(attention), 2),
        number(other.and_then(python), 0),
        number(other.and_then(|name| case.speedup(name)), 2),
        number(Some(case.growth), 2),
        format!("{}/{}", case.alike, case.rows),
        number(Some(100.0 * spread), 1),
    ]);
    cells
}
