//! What the radar found, as people and programs read it.

use super::super::{show, table};
use super::{Adapters, Format, Found};
use anyhow::Result;
use comfy_table::{Table, presets};
use hf_conformance::runner::radar::{Row, Standing};
use std::collections::BTreeSet;

/// Prints it.
pub(super) fn print(found: &Found, format: Format) -> Result<()> {
    match format {
        Format::Json => show(serde_json::to_string_pretty(found)?)?,
        Format::Markdown => show(text(found, "## ", presets::ASCII_MARKDOWN))?,
        Format::Terminal => show(text(found, "", presets::NOTHING))?,
    }
    Ok(())
}

/// Counts, what is not as it was, and what else is new; a heading begins with `mark`.
fn text(found: &Found, mark: &str, preset: &str) -> String {
    let mut parts = vec![format!("{mark}{} {} → {}", found.package, found.pinned, found.tried)];
    if !found.needs.is_empty() {
        parts.push(format!("It needs {}.", found.needs.join(", ")));
    }
    parts.extend(found.ran.clone());
    parts.extend((!found.warnings.is_empty()).then(|| of_torchscript(&found.warnings)));
    let engines: BTreeSet<&str> = found.models.iter().map(|row| row.engine.as_str()).collect();
    parts.push(match engines.len() {
        0 | 1 => counts(&found.models, preset),
        _ => by_engine(&found.models, &engines, preset),
    });
    let changed: Vec<&Row> = found.models.iter().filter(|row| !row.reason.is_empty()).collect();
    if !changed.is_empty() {
        parts.push(changes(&changed, engines.len() > 1, preset));
    }
    let Adapters { gone, unneeded } = &found.adapters;
    for (what, adapters) in [("whose target is gone", gone), ("no longer needed", unneeded)] {
        if !adapters.is_empty() {
            let lines = adapters.iter().map(|(name, models)| format!("- {name}: {}", models.join(", ")));
            parts.push(format!("{mark}adapters {what}\n\n{}", Vec::from_iter(lines).join("\n")));
        }
    }
    let lists = [("model types", &found.model_types), ("classes", &found.classes)];
    for (what, changes) in lists {
        for (word, names) in [("new", &changes.new), ("gone", &changes.gone)] {
            if !names.is_empty() {
                parts.push(format!("{mark}{word} {what} ({})\n\n{}", names.len(), names.join(", ")));
            }
        }
    }
    parts.join("\n\n")
}

/// What torch says of TorchScript.
fn of_torchscript(warnings: &[String]) -> String {
    let future = warnings.iter().filter(|warning| warning.starts_with("FutureWarning")).count();
    let lines: Vec<String> = warnings.iter().map(|warning| format!("- {warning}")).collect();
    format!("Of TorchScript it says, {future} times as a FutureWarning:\n\n{}", lines.join("\n"))
}

/// How each model stands on each engine.
fn by_engine(models: &[Row], engines: &BTreeSet<&str>, preset: &str) -> String {
    let mut table = Table::new();
    table.load_preset(preset).set_header(["model"].iter().chain(engines));
    let names: BTreeSet<&str> = models.iter().map(|row| row.model.as_str()).collect();
    for name in names {
        let on = |engine: &&str| {
            let row = models.iter().find(|row| row.model == name && row.engine == *engine);
            row.map_or("", |row| row.standing.words())
        };
        table.add_row([name].into_iter().chain(engines.iter().map(on)));
    }
    table.to_string()
}

fn counts(models: &[Row], preset: &str) -> String {
    let mut table = table(["models", "count"]);
    table.load_preset(preset);
    for standing in Standing::ALL {
        let count = models.iter().filter(|row| row.standing == standing).count();
        if count > 0 {
            table.add_row([standing.words().to_owned(), count.to_string()]);
        }
    }
    table.to_string()
}

/// What is not as it was, with the engine where there are several.
fn changes(rows: &[&Row], several: bool, preset: &str) -> String {
    let engine = |name: &str| several.then(|| name.to_owned());
    let mut table = Table::new();
    let others = ["standing", "stage", "whose", "checks", "reason", "class changes at"];
    let names = ["model".to_owned()].into_iter().chain(engine("engine"));
    table.load_preset(preset).set_header(names.chain(others.map(str::to_owned)));
    for row in rows {
        let names = [row.model.clone()].into_iter().chain(engine(&row.engine));
        table.add_row(names.chain([
            row.standing.words().to_owned(),
            row.stage.clone().unwrap_or_default(),
            row.whose.as_ref().map(ToString::to_string).unwrap_or_default(),
            row.checks.join(" "),
            // A cell of Markdown ends at a bar.
            row.reason.replace('|', "\\|"),
            row.changed.clone().unwrap_or_default(),
        ]));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{Adapters, Changes, PACKAGE};
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_text_counts_all_and_lists_what_changed() {
        let row = |model: &str, engine: &str, standing, reason: &str| Row {
            model: model.to_owned(),
            engine: engine.to_owned(),
            standing,
            checks: Vec::new(),
            stage: None,
            whose: None,
            reason: reason.to_owned(),
            changed: None,
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let mut found = Found {
            package: PACKAGE,
            pinned: "1.0".to_owned(),
            tried: "2.0".to_owned(),
            needs: vec!["tokenizers==3".to_owned()],
            ran: None,
            warnings: Vec::new(),
            models: vec![
                row("bert", "torchscript", Standing::NewlyBroken, "no a|b"),
                row("gpt2", "torchscript", Standing::StillGreen, ""),
                row("t5", "torchscript", Standing::StillGreen, ""),
            ],
            adapters: Adapters {
                gone: BTreeMap::from([("rope".to_owned(), vec!["bert".to_owned()])]),
                ..Adapters::default()
            },
            model_types: Changes::between(&names(&["old", "kept"]), &names(&["kept", "new"])),
            classes: Changes::between(&names(&[]), &names(&[])),
        };
        let said = text(&found, "## ", presets::ASCII_MARKDOWN);
        assert!(said.starts_with("## transformers 1.0 → 2.0\n\nIt needs tokenizers==3."), "{said}");
        assert!(said.contains("| still green  |     2 |"), "{said}");
        assert!(said.contains("## adapters whose target is gone\n\n- rope: bert"), "{said}");
        assert!(said.contains("no a\\|b") && !said.contains("| gpt2"), "{said}");
        assert!(said.contains("## new model types (1)\n\nnew") && said.ends_with("(1)\n\nold"), "{said}");
        assert!(!said.contains("torchscript"), "{said}");
        let mut on_graphs = found.models.clone();
        on_graphs.iter_mut().for_each(|row| row.engine = "pt2".to_owned());
        found.models.extend(on_graphs);
        found.ran = Some("Its programs ran elsewhere.".to_owned());
        found.warnings = vec!["DeprecationWarning: a".to_owned(), "FutureWarning: b".to_owned()];
        let said = text(&found, "## ", presets::ASCII_MARKDOWN);
        assert!(said.contains("| bert  | pt2 ") && said.contains("| bert  | torchscript "), "{said}");
        assert!(said.contains("| gpt2  | still green  | still green  |"), "{said}");
        assert!(
            said.contains(
                "Its programs ran elsewhere.\n\nOf TorchScript it says, 1 times as a FutureWarning:"
            ),
            "{said}"
        );
    }
}
