//! `bench --decode`: how fast models write text, as a table.

use super::super::export;
use super::Run;
use super::tables::{named, number, wide};
use anyhow::Result;
use hf_conformance::artifact::Lane;
use hf_conformance::bench::{EagerProcess, Width, decode};
use hf_conformance::export::Order;
use hf_conformance::model::RuntimeSpec;
use hf_conformance::report::append_to;
use hf_conformance::report::decoding::{DecodeCase, DecodeSpeed, path};
use hf_conformance::spec::{Entry, Spec};

/// Exports what changed and measures all entries at one width, each with every number of threads.
pub fn at_width(run: &mut Run, spec: &Spec, entries: &[&Entry], width: Width) -> Result<Vec<DecodeSpeed>> {
    let mut long = Vec::new();
    for entry in entries {
        match width.decoding(entry) {
            Ok(one) => long.push(one),
            Err(why) => run.failed(entry, &why),
        }
    }
    let orders = long.iter().map(Order::plain).collect();
    let again = |model: &str| run.arguments.typed([model]);
    let exported = export::carry_out(spec, orders, Lane::default(), false, width.decoding_root(), &again)?;
    let lost: Vec<&str> = exported.iter().filter(|one| one.outcome.is_err()).map(|one| &*one.model).collect();
    run.failures += lost.len();
    let mut speeds = Vec::new();
    for entry in long.iter().filter(|entry| !lost.contains(&entry.name.as_str())) {
        for threads in &run.arguments.threads {
            speeds.extend(one(run, spec, entry, width, usize::from(threads.get()))?);
            run.bar.inc(1);
        }
    }
    Ok(speeds)
}

fn one(
    run: &mut Run,
    spec: &Spec,
    entry: &Entry,
    width: Width,
    threads: usize,
) -> Result<Option<DecodeSpeed>> {
    let subject = RuntimeSpec::new(entry, &spec.versions);
    let folder = width.decoding_root().join(entry.name.as_str());
    let target = run.target(run.engines.clone(), width, threads);
    let measured = run.with_python(spec, entry, |python: &mut EagerProcess| {
        decode::measure(&subject, &folder, &target, python)
    });
    match measured {
        Ok(speed) => {
            append_to(&path(), &speed)?;
            run.bar.suspend(|| {
                speed.left_out.iter().for_each(|why| println!("left out {} · {why}", speed.about.model));
            });
            Ok(Some(speed))
        }
        Err(failure) => {
            run.failed(entry, &format!("stage {}: {failure}", failure.stage));
            Ok(None)
        }
    }
}

/// A line for every model, width, number of threads and case.
pub fn table_of(speeds: &[DecodeSpeed]) -> String {
    if speeds.is_empty() {
        return String::new();
    }
    let header = [
        "model",
        "width",
        "threads",
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
    let legend = "tok/s: new tokens a second over all rows, 64 of each after its prompt (uncached: 4). generate: Python's own, with its \
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
