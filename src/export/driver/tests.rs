use super::*;
use crate::artifact::{Lane, Target, key};
use crate::report::samples;
use crate::spec::Spec;
use crate::task::Dtype;
use std::cell::RefCell;

#[test]
fn half_an_artifact_is_removed_and_those_of_others_stay() {
    let root = tempfile::tempdir().unwrap();
    for name in ["bert", "bert.partial-7", "bert.partial-7-old", "albert.partial-7"] {
        std::fs::create_dir(root.path().join(name)).unwrap();
    }
    remove_partial(&root.path().join("bert")).unwrap();
    let items = std::fs::read_dir(root.path()).unwrap().map(|item| item.unwrap().file_name());
    let mut left: Vec<_> = items.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["albert.partial-7", "bert"]);
}

/// Keeps what it hears.
#[derive(Default)]
struct Heard(RefCell<Vec<String>>);

impl Progress for Heard {
    fn begin(&self, count: usize) {
        self.0.borrow_mut().push(format!("begin {count}"));
    }
    fn started(&self, model: &str) {
        self.0.borrow_mut().push(format!("started {model}"));
    }
    fn finished(&self, exported: &Exported) {
        let word = if exported.outcome.is_ok() { "done" } else { "failed" };
        self.0.borrow_mut().push(format!("{word} {}", exported.model));
    }
}

fn plan<'a>(spec: &'a Spec, root: &Path, anew: Anew) -> ExportPlan<'a> {
    let orders = spec.entries.iter().map(Order::plain).collect();
    ExportPlan { spec, orders, lane: Lane::default(), anew, root: root.to_owned() }
}

/// An artifact of an entry, as far as its manifest goes.
fn artifact(root: &Path, entry: &Entry, digest: &str) {
    let folder = root.join(entry.name.as_str());
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = json!({
        "key": key::of(digest, None), "model": entry.name, "task": "t", "class": "A", "module": "a",
        "model_type": null, "model_types": [], "checkpoint": null, "weights": "random", "seed": 0,
        "versions": {}, "dims": {}, "inputs": [], "outputs": [], "layers": [], "cases": [],
        "situations": [], "parameters": {"count": 0, "tensors": {}}, "digests": {}, "idle": [], "adapters": [],
        "differences": [], "seconds": 0.1, "generation": null, "files": {},
    });
    sealed(&folder.join("manifest.json"), &manifest.to_string());
}

/// Writes a list of files, with its digest and this checkout's signature.
fn sealed(list: &Path, text: &str) {
    std::fs::write(list, text).unwrap();
    std::fs::write(format!("{}.sha256", list.display()), sha256(text)).unwrap();
    artifact::sign(list).unwrap();
}

fn due_names(plan: &ExportPlan) -> Vec<String> {
    due(plan, None, plan.orders.iter().collect()).0.iter().map(|order| order.entry.name.to_string()).collect()
}

#[test]
fn what_is_missing_or_stale_is_due_and_what_is_fresh_only_by_force() {
    let (spec, root) = (samples::spec(), tempfile::tempdir().unwrap());
    let [bert, roberta, _] = &spec.entries[..] else { panic!("three sample entries") };
    artifact(root.path(), bert, &bert.digest(&spec.versions));
    artifact(root.path(), roberta, "0123456789abcdef");
    let states = spec.entries.iter().map(|entry| state(entry, &spec.versions, root.path()));
    assert_eq!(Vec::from_iter(states), [Freshness::Fresh, Freshness::Stale, Freshness::Missing]);
    assert_eq!(due_names(&plan(&spec, root.path(), Anew::Due)), ["roberta", "xlm-roberta"]);
    assert_eq!(due_names(&plan(&spec, root.path(), Anew::All)), ["bert", "roberta", "xlm-roberta"]);
}

#[test]
fn what_was_made_elsewhere_is_due_until_it_is_taken_as_it_is() {
    let (spec, root) = (samples::spec(), tempfile::tempdir().unwrap());
    let bert = &spec.entries[0];
    artifact(root.path(), bert, &bert.digest(&spec.versions));
    std::fs::remove_file(root.path().join("bert/manifest.json.signature")).unwrap();
    assert_eq!(state(bert, &spec.versions, root.path()), Freshness::Foreign);
    let orders = || vec![Order::plain(bert)];
    let untrusting = ExportPlan { orders: orders(), ..plan(&spec, root.path(), Anew::Due) };
    assert_eq!(foreign(&untrusting, None, untrusting.orders.iter()).count(), 1);
    assert_eq!(due_names(&untrusting), ["bert"]);
    let trusting = ExportPlan { orders: orders(), ..plan(&spec, root.path(), Anew::Trusting) };
    let taken = step(&trusting, None, trusting.orders.iter().collect(), &Heard::default()).unwrap();
    assert!(matches!(taken[..], [Exported { outcome: Ok(None), .. }]));
    assert_eq!(state(bert, &spec.versions, root.path()), Freshness::Fresh);
    assert_eq!(due_names(&untrusting), Vec::<String>::new());
}

#[test]
fn what_cannot_be_signed_was_not_exported() {
    let (spec, heard) = (samples::spec(), Heard::default());
    let orders: Vec<Order> = spec.entries.iter().map(Order::plain).collect();
    let orders = Vec::from_iter(&orders);
    let full = |_: &Order| Err(Failure::new(Stage::Export, "no space left"));
    let mut hearing = Hearing { orders: &orders, exported: Vec::new(), progress: &heard, sign: &full };
    hearing.line(DONE).unwrap();
    let [bert] = &hearing.exported[..] else { panic!("one was done") };
    assert_eq!(bert.fault_of, FaultOf::Environment);
    assert_eq!(bert.outcome.as_ref().unwrap_err().message, "no space left");
    assert_eq!(heard.0.into_inner(), ["failed bert"]);
}

#[test]
fn half_precision_references_of_a_device_are_due_where_half_is() {
    let (mut spec, root) = (samples::spec(), tempfile::tempdir().unwrap());
    let halves = Beside::Half(Target::Cuda, Dtype::Bfloat16);
    spec.entries[1].omit.insert(Check::Half, "no kernel".to_owned());
    let wanted = |entry: &&Entry| wants(entry, Some(halves));
    let names: Vec<&str> = spec.entries.iter().filter(wanted).map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["bert"]);
    let digest = spec.entries[0].digest(&spec.versions);
    artifact(root.path(), &spec.entries[0], &digest);
    let plan = plan(&spec, root.path(), Anew::Due);
    let order = || vec![&plan.orders[0]];
    assert_eq!(due(&plan, Some(halves), order()).0.len(), 1);
    let list = root.path().join("bert/half.cuda.bfloat16.json");
    let key = key::beside(halves, &key::of(&digest, None));
    let text = json!({"key": key, "seconds": 1.0, "files": {}}).to_string();
    sealed(&list, &text);
    assert_eq!(due(&plan, Some(halves), order()).0.len(), 0);
    assert_eq!(due(&plan, Some(Beside::Half(Target::Mps, Dtype::Bfloat16)), order()).0.len(), 1);
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    format!("{:x}", Sha256::digest(text))
}

#[test]
fn a_checkpoint_is_always_exported_again_and_lies_beside_the_models_own_artifact() {
    let (spec, root) = (samples::spec(), tempfile::tempdir().unwrap());
    let bert = &spec.entries[0];
    let weights = Weights {
        checkpoint: "a/b".to_owned(),
        sizes: BTreeMap::from([("batch".to_owned(), 7)]),
        certified: None,
    };
    let order = Order { weights: Some(weights), ..Order::plain(bert) };
    artifact(&root.path().join(".checkpoints"), bert, &bert.digest(&spec.versions));
    let plan = ExportPlan { orders: vec![order], ..plan(&spec, root.path(), Anew::Due) };
    assert_eq!(due_names(&plan), ["bert"]);
    let job = job(plan.spec, &plan.root, &plan.orders[0]).unwrap();
    assert_eq!((&job["weights"], &job["checkpoint"]), (&json!("checkpoint"), &json!("a/b")));
    assert_eq!(job["cases"][0]["sizes"]["batch"], 7);
    assert!(job["directory"].as_str().unwrap().ends_with(".checkpoints/bert"));
}

#[test]
fn orders_of_one_source_go_to_one_process() {
    let mut spec = samples::spec();
    spec.entries[1].source = "elsewhere".to_owned();
    let plan = plan(&spec, Path::new("none"), Anew::Due);
    let count = |(source, orders): (&str, Vec<&Order>)| (source.to_owned(), orders.len());
    let counts: Vec<_> =
        by_source(due(&plan, None, plan.orders.iter().collect()).0).into_iter().map(count).collect();
    assert_eq!(counts, [("elsewhere".to_owned(), 1), ("transformers".to_owned(), 2)]);
}

/// A model, whose failure it is, and what was said of it.
type Told = (String, FaultOf, Option<String>);

/// What becomes of the sample orders when the exporter says `lines` and ends so.
fn after(lines: &[&str], ended: Result<(), Failure>) -> (Vec<Told>, Vec<String>) {
    let spec = samples::spec();
    let orders: Vec<Order> = spec.entries.iter().map(Order::plain).collect();
    let (orders, heard) = (Vec::from_iter(&orders), Heard::default());
    let mut hearing = Hearing { orders: &orders, exported: Vec::new(), progress: &heard, sign: &|_| Ok(()) };
    let ended = lines.iter().try_for_each(|line| hearing.line(line)).and(ended);
    let told = |one: Exported| (one.model, one.fault_of, one.outcome.err().map(|failure| failure.message));
    let exported = hearing.end(ended).into_iter().map(told).collect();
    (exported, heard.0.into_inner())
}

const DONE: &str = r#"{"event": "done", "model": "bert", "fault": null, "seconds": 1.5}"#;
const FAILED: &str =
    r#"{"event": "failed", "model": "roberta", "fault": null, "reason": "no trace", "detail": "a\nb"}"#;

fn told(model: &str, fault_of: FaultOf, why: Option<&str>) -> Told {
    (model.to_owned(), fault_of, why.map(str::to_owned))
}

#[test]
fn an_exporter_that_ends_early_leaves_the_rest_untried_and_keeps_what_it_did() {
    let started = r#"{"event": "started", "model": "bert"}"#;
    let (exported, heard) = after(&[r#"{"event": "ready"}"#, started, DONE, FAILED], Ok(()));
    let early = "the exporter ended before this model was tried";
    assert_eq!(
        exported,
        [
            told("bert", FaultOf::Model, None),
            told("roberta", FaultOf::Model, Some("no trace")),
            told("xlm-roberta", FaultOf::Exporter, Some(early))
        ]
    );
    assert_eq!(heard, ["started bert", "done bert", "failed roberta", "failed xlm-roberta"]);
}

#[test]
fn an_exporter_that_breaks_off_says_why_for_all_it_did_not_come_to() {
    let broken = Failure::new(Stage::Export, "exporter broke off (signal: 9)");
    let (exported, _) = after(&[DONE], Err(broken));
    let why = Some("exporter broke off (signal: 9)");
    assert_eq!(
        exported,
        [
            told("bert", FaultOf::Model, None),
            told("roberta", FaultOf::Exporter, why),
            told("xlm-roberta", FaultOf::Exporter, why)
        ]
    );
}

#[test]
fn what_is_no_event_ends_the_hearing() {
    let (exported, _) = after(&["Segmentation fault", DONE], Ok(()));
    assert!(exported.iter().all(|(_, fault_of, why)| {
        *fault_of == FaultOf::Exporter
            && why.as_deref().is_some_and(|why| why.starts_with("exporter said 'Segmentation fault'"))
    }));
}

#[test]
fn a_fault_that_was_not_heard_of_is_told_from_one_that_was() {
    let spec = samples::spec();
    let faulty = |fault: &str| Order { fault: Some(fault.to_owned()), ..Order::plain(&spec.entries[0]) };
    let (first, second, heard) = (faulty("mask"), faulty("length"), Heard::default());
    let orders = [&first, &second];
    let mut hearing = Hearing { orders: &orders, exported: Vec::new(), progress: &heard, sign: &|_| Ok(()) };
    hearing.line(&DONE.replace(r#""fault": null"#, r#""fault": "mask""#)).unwrap();
    let silent = hearing.end(Ok(())).into_iter().filter(|one| one.fault_of == FaultOf::Exporter);
    assert_eq!(silent.filter_map(|one| one.fault).collect::<Vec<_>>(), ["length"]);
}
