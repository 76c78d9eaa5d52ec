use super::*;
use serde_json::json;

const CARD: ModelSpec = ModelSpec {
    name: "toy",
    family: "toys",
    class: "Toy",
    checkpoint: None,
    digest: "0123456789abcdef",
    inputs: &[],
    outputs: &[],
    axes: &[],
    tolerance: &[],
    idle: &[],
};

/// An artifact of one file, made from the entry with that digest.
fn folder(digest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = b"a program";
    std::fs::write(folder.path().join("program.pt"), program).unwrap();
    let cases = safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView)>::new(), None);
    std::fs::write(folder.path().join("cases.safetensors"), cases.unwrap()).unwrap();
    let manifest = json!({
        "key": export::key(digest, None), "model": "toy", "task": "t", "class": "Toy", "module": "toys",
        "model_type": null, "model_types": [], "checkpoint": null, "weights": "random", "seed": 0, "versions": {}, "dims": {},
        "inputs": [], "outputs": [], "attention": ["eager"], "layers": [], "cases": [], "situations": [], "parameters": {"count": 0, "tensors": {}},
        "digests": {}, "idle": [], "adapters": [], "differences": [], "seconds": 0.1, "generation": null,
        "files": {"program.pt": format!("{:x}", Sha256::digest(program))},
    });
    std::fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
    folder
}

fn failure(folder: &Path, renew: &str) -> (Stage, String) {
    let failure = Artifact::open(folder, &CARD, Format::TorchScript).unwrap_err();
    assert_eq!(failure.details, [format!("renew it: {renew}")]);
    (failure.stage, failure.message.replace(&folder.display().to_string(), "artifacts/toy"))
}

#[test]
fn a_whole_artifact_of_this_entry_opens() {
    assert!(Artifact::open(folder(CARD.digest).path(), &CARD, Format::TorchScript).is_ok());
}

#[test]
fn a_truncated_program_fails_at_load() {
    let folder = folder(CARD.digest);
    std::fs::write(folder.path().join("program.pt"), "a pro").unwrap();
    let text = "artifacts/toy/program.pt is damaged: its sha256 is not the manifest's (5 bytes)";
    assert_eq!(failure(folder.path(), "just export toy --force"), (Stage::Load, text.to_owned()));
}

#[test]
fn an_artifact_of_another_entry_is_stale() {
    let text = "artifacts/toy is stale: the entry, a pin or the exporter changed since";
    assert_eq!(
        failure(folder("fedcba9876543210").path(), "just export toy"),
        (Stage::Export, text.to_owned())
    );
}

#[test]
fn no_artifact_fails_at_export() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        failure(folder.path(), "just export toy"),
        (Stage::Export, "no artifact at artifacts/toy".to_owned())
    );
}

#[test]
fn the_origin_is_read_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let origin = |manifest: &str| {
        std::fs::write(folder.path().join("manifest.json"), manifest).unwrap();
        origin(folder.path()).map(|found| found.map(|found| (found.key, found.model_type)))
    };
    let bert = Some(("k".to_owned(), Some("bert".to_owned())));
    assert_eq!(origin(r#"{"key": "k", "a": {"b": [1]}, "model_type": "bert", "c": 0}"#).unwrap(), bert);
    assert_eq!(origin(r#"{"a": {"key": "x"}, "model_type": "bert", "key": "k"}"#).unwrap(), bert);
    assert_eq!(origin(r#"{"key": "k", "model_type": null}"#).unwrap(), Some(("k".to_owned(), None)));
    for broken in ["", "[]", "{", r#"{"key": "k"}"#, r#"{"key": 1, "model_type": null}"#] {
        assert_eq!(origin(broken).unwrap_err().stage, Stage::Load, "{broken}");
    }
}

#[test]
fn a_broken_manifest_fails_at_load() {
    let folder = folder(CARD.digest);
    std::fs::write(folder.path().join("manifest.json"), "{").unwrap();
    assert_eq!(failure(folder.path(), "just export toy").0, Stage::Load);
}

/// The same with one pt2 program, made from the entry with that digest.
fn with_pt2(digest: &str) -> tempfile::TempDir {
    let folder = folder(CARD.digest);
    std::fs::write(folder.path().join("program.pt2"), "a graph").unwrap();
    let files = BTreeMap::from([("program.pt2".to_owned(), format!("{:x}", Sha256::digest("a graph")))]);
    let manifest = Pt2Manifest { key: export::pt2_key(&export::key(digest, None)), seconds: 1.0, files };
    let text = serde_json::to_string(&manifest).unwrap();
    std::fs::write(folder.path().join("pt2.json"), text).unwrap();
    folder
}

#[test]
fn pt2_programs_are_held_to_their_own_key_and_digests() {
    let open = |folder: &Path| Artifact::open(folder, &CARD, Format::Pt2);
    let good = with_pt2(CARD.digest);
    let file = open(good.path()).unwrap().program(Dtype::Float32);
    assert_eq!(file, good.path().join("program.pt2"));
    for folder in [folder(CARD.digest), with_pt2("fedcba9876543210")] {
        let failure = open(folder.path()).unwrap_err();
        assert_eq!(failure.stage, Stage::Export);
        assert_eq!(failure.details, ["renew it: just export toy --engine pt2"]);
    }
    std::fs::write(good.path().join("program.pt2"), "a gr").unwrap();
    let failure = open(good.path()).unwrap_err();
    assert_eq!(failure.stage, Stage::Load);
    assert_eq!(failure.details, ["renew it: just export toy --engine pt2 --force"]);
    // Whoever runs TorchScript need not care.
    assert!(Artifact::open(good.path(), &CARD, Format::TorchScript).is_ok());
}
