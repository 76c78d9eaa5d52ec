//! The page as a whole; how it looks and moves is seen in a browser.

use super::*;
use crate::report::coverage::coverage;
use crate::spec;
use crate::verdict::Status;
use std::collections::BTreeSet;
use std::path::Path;

fn spec() -> Spec {
    let versions =
        "python: {transformers: 1.0.0}\nsources: {transformers: {package: transformers, version: 1.0.0}}";
    let family = "family: text\n\
        defaults: {class: A, task: fill-mask, axes: {batch: [2, 3], sequence: [4, 5]}}\n\
        models: [{name: bert}, {name: <b>}]\n";
    let family = family.replace("<b>", "roberta");
    let file = |name: &str, text: &str| (Path::new("spec").join(name), text.as_bytes().to_vec());
    spec::parse(&[file("text.yaml", &family), file("versions.yaml", versions)], spec::today()).unwrap()
}

fn page(records: &[Record]) -> String {
    let spec = spec();
    let coverage = coverage(&[], &spec, records, Path::new("no-artifacts"), &BTreeSet::new(), None);
    let report = Report {
        spec: &spec,
        coverage: &coverage,
        records,
        history: records,
        speeds: &[],
        costs: &[],
        time: "2026-11-20T22:43:00Z",
    };
    html(&report).unwrap()
}

fn drawers_of(page: &str) -> BTreeMap<String, String> {
    let (_, packed) = page.split_once("<script id=\"drawers\" type=\"text/plain\">").unwrap();
    pack::unpack(packed.split_once("</script>").unwrap().0)
}

#[test]
fn the_page_fetches_nothing() {
    let page = page(&[Record::sample("bert", "loads")]);
    let shown = page.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "");
    for text in drawers_of(&page).values().chain([&shown]) {
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
    }
}

#[test]
fn every_model_has_a_row_and_a_drawer_and_every_failure_its_reason() {
    let failed = Record {
        status: Status::Failed,
        reason: Some("logits < 1 & off".to_owned()),
        ..Record::sample("bert", "causal")
    };
    let page = page(&[failed]);
    let drawers = drawers_of(&page);
    for name in ["bert", "roberta"] {
        assert!(page.contains(&format!("href=\"#model-{name}\"")), "{name}");
        assert!(drawers[name].contains(&format!("just run {name}")), "{name}");
    }
    for text in [&page, &drawers["bert"]] {
        assert!(text.contains("logits &lt; 1 &amp; off"));
        assert!(text.contains("just test bert --check causal --device cpu"));
    }
}

#[test]
fn every_device_has_its_own_coverage_and_shares_are_never_rounded_to_all() {
    let digest = |name: &str| {
        let spec = spec();
        let entry = spec.entries.iter().find(|entry| entry.name.as_str() == name).unwrap();
        entry.digest(&spec.versions)
    };
    let passed = |name: &str, device: &str| Record {
        entry: digest(name),
        device: Some(device.to_owned()),
        ..Record::sample(name, "matches_reference")
    };
    let failed = Record { status: Status::Failed, ..passed("bert", "cpu") };
    let page = page(&[failed, passed("bert", "cuda:0"), passed("roberta", "cuda:0")]);
    for text in ["on cpu (torchscript)", "on cuda:0 (torchscript)", "2 of 3 checks that ran passed", "66.7 %"]
    {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn without_results_the_page_says_what_to_type() {
    let page = page(&[]);
    assert!(page.contains("Nothing ran yet; run: <code>just test</code>"));
    assert!(page.contains("No speed was measured yet; run: <code>just bench</code>"));
}
