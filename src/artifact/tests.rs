use super::*;
use crate::device::Device;
use serde_json::json;
use sha2::{Digest, Sha256};

const SPEC: ModelSpec = ModelSpec {
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
    let cases =
        safetensors::serialize(Vec::<(String, safetensors::tensor::TensorView)>::new(), None).unwrap();
    std::fs::write(folder.path().join("cases.safetensors"), &cases).unwrap();
    let manifest = json!({
        "key": key::of(digest, None), "model": "toy", "task": "t", "class": "Toy", "module": "toys",
        "model_type": null, "model_types": [], "checkpoint": null, "weights": "random", "seed": 0, "versions": {}, "dims": {},
        "inputs": [], "outputs": [], "attention": ["eager"], "layers": [], "cases": [], "situations": [], "parameters": {"count": 0, "tensors": {}},
        "digests": {}, "idle": [], "adapters": [], "differences": [], "seconds": 0.1, "generation": null,
        "files": {
            "program.pt": format!("{:x}", Sha256::digest(program)),
            "cases.safetensors": format!("{:x}", Sha256::digest(&cases)),
        },
    });
    sealed(folder.path(), "manifest.json", &manifest.to_string());
    folder
}

/// Writes a list of digests, with its own and this checkout's signature beside it.
fn sealed(folder: &Path, name: &str, text: &str) {
    forged(folder, name, text);
    sign(&folder.join(name)).unwrap();
}

/// Writes a list of digests as anybody can: with its own beside it.
fn forged(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
    std::fs::write(folder.join(format!("{name}.sha256")), format!("{:x}\n", Sha256::digest(text))).unwrap();
}

fn failure(folder: &Path, renew: &str) -> (Stage, String) {
    let failure = Artifact::open(folder, &SPEC, Lane::default()).unwrap_err();
    assert_eq!(failure.details, [format!("renew it: {renew}")]);
    (failure.stage, failure.message.replace(&folder.display().to_string(), "artifacts/toy"))
}

#[test]
fn a_whole_artifact_of_this_entry_opens() {
    assert!(Artifact::open(folder(SPEC.digest).path(), &SPEC, Lane::default()).is_ok());
}

#[test]
fn a_truncated_program_fails_at_load() {
    let folder = folder(SPEC.digest);
    std::fs::write(folder.path().join("program.pt"), "a pro").unwrap();
    let text = "artifacts/toy/program.pt is damaged: its sha256 is another (5 bytes)";
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
    let folder = folder(SPEC.digest);
    sealed(folder.path(), "manifest.json", "{");
    assert_eq!(failure(folder.path(), "just export toy").0, Stage::Load);
}

/// What is said of an artifact of pt2 programs that somebody else may have made.
fn not_ours(folder: &Path, list: &str, export: &str) {
    let failure = Artifact::open(folder, &SPEC, Lane::new(Format::Pt2, Device::Cpu)).unwrap_err();
    let of =
        format!("{} is not of this checkout's making, and programs are code", folder.join(list).display());
    assert_eq!((failure.stage, failure.message), (Stage::Load, of));
    let take = format!("or take it as it is, where you trust who made it: {export} --trust");
    assert_eq!(failure.details, [format!("make it here: {export}"), take]);
}

#[test]
fn what_was_made_elsewhere_is_not_loaded_until_somebody_says_so() {
    let lists = ["manifest.json", "pt2.json"];
    let exports = ["just export toy", "just export toy --engine pt2"];
    for (list, export) in lists.into_iter().zip(exports) {
        let folder = with_pt2(SPEC.digest);
        let open = || Artifact::open(folder.path(), &SPEC, Lane::new(Format::Pt2, Device::Cpu));
        let [path, signature] =
            [list.to_owned(), format!("{list}.signature")].map(|name| folder.path().join(name));
        let [text, signed] = [&path, &signature].map(|path| std::fs::read(path).unwrap());
        // Whoever changes a list can make its digest right, and no signature.
        forged(folder.path(), list, &format!("{} ", String::from_utf8_lossy(&text)));
        not_ours(folder.path(), list, export);
        forged(folder.path(), list, std::str::from_utf8(&text).unwrap());
        assert!(open().is_ok());
        for other in [Vec::new(), b"a signature".to_vec(), vec![0; 32], signed[..31].to_vec()] {
            std::fs::write(&signature, &other).unwrap();
            not_ours(folder.path(), list, export);
        }
        std::fs::remove_file(&signature).unwrap();
        not_ours(folder.path(), list, export);
        sign(&path).unwrap();
        assert!(open().is_ok());
    }
}

#[test]
fn the_signature_of_one_list_is_none_of_another() {
    let folder = with_pt2(SPEC.digest);
    let text = std::fs::read_to_string(folder.path().join("pt2.json")).unwrap();
    sealed(folder.path(), "half.cpu.float16.json", &text);
    let [from, to] =
        ["half.cpu.float16.json.signature", "pt2.json.signature"].map(|name| folder.path().join(name));
    std::fs::copy(from, to).unwrap();
    not_ours(folder.path(), "pt2.json", "just export toy --engine pt2");
}

/// A file's bytes cut at twenty places, with each of two hundred bits flipped, and gone.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let cut = (0..20).map(|place| whole[..whole.len() * place / 20].to_vec());
    let flipped = (0..200).map(|place| {
        let mut bytes = whole.to_vec();
        let bit = place * (whole.len() * 8 - 1) / 199;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    cut.chain(flipped).collect()
}

#[test]
fn whatever_is_done_to_a_file_of_an_artifact_is_found_before_anything_is_loaded() {
    let whole = with_pt2(SPEC.digest);
    let open = || Artifact::open(whole.path(), &SPEC, Lane::new(Format::Pt2, Device::Cpu));
    assert!(open().is_ok());
    let files = ["program.pt", "program.pt2", "cases.safetensors", "manifest.json", "pt2.json"];
    let seals = ["manifest.json.sha256", "pt2.json.sha256"];
    for name in files.iter().chain(&seals) {
        let path = whole.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        // A seal may lose the end of its line.
        for damaged in damaged(bytes.trim_ascii_end()) {
            std::fs::write(&path, &damaged).unwrap();
            let failure = open().unwrap_err();
            assert_eq!(failure.stage, Stage::Load, "{name}: {}", failure.message);
            assert!(failure.details[0].starts_with("renew it: just export toy"), "{name}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(open().is_err(), "{name} is gone");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(open().unwrap_err().stage, Stage::Load, "{name} is a folder");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(open().is_ok());
}

#[cfg(unix)]
#[test]
fn a_link_is_not_followed_and_a_pipe_is_not_waited_for() {
    let whole = folder(SPEC.digest);
    let path = whole.path().join("program.pt");
    std::fs::rename(&path, whole.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(whole.path().join("elsewhere"), &path).unwrap();
    let text = "artifacts/toy/program.pt is no ordinary file";
    assert_eq!(failure(whole.path(), "just export toy --force"), (Stage::Load, text.to_owned()));
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(failure(whole.path(), "just export toy --force"), (Stage::Load, text.to_owned()));
}

#[test]
fn a_manifest_names_no_file_outside() {
    let whole = folder(SPEC.digest);
    let text = std::fs::read_to_string(whole.path().join("manifest.json")).unwrap();
    for outside in ["../program.pt", "/etc/hostname", "a/program.pt", ".."] {
        sealed(whole.path(), "manifest.json", &text.replace("program.pt", outside));
        let said = format!("artifacts/toy lists '{outside}', no file of it");
        assert_eq!(failure(whole.path(), "just export toy --force"), (Stage::Load, said));
    }
}

/// The same with one pt2 program, made from the entry with that digest.
fn with_pt2(digest: &str) -> tempfile::TempDir {
    with_program(Format::Pt2, digest)
}

/// The same with a program of another format.
fn with_program(format: Format, digest: &str) -> tempfile::TempDir {
    let folder = folder(SPEC.digest);
    let file = format.file(Dtype::Float32);
    std::fs::write(folder.path().join(&file), "a program").unwrap();
    let files = BTreeMap::from([(file, format!("{:x}", Sha256::digest("a program")))]);
    let what = Beside::Programs(format);
    let key = key::beside(what, &key::of(digest, None));
    let list = FileList { key, seconds: 1.0, files, refused: BTreeMap::new(), digests: BTreeMap::new() };
    sealed(folder.path(), &what.list(), &serde_json::to_string(&list).unwrap());
    folder
}

#[test]
fn compiled_programs_are_those_of_a_kind_of_device() {
    let folder = with_program(Format::Aot(Target::Cpu), SPEC.digest);
    let open = |format, device| Artifact::open(folder.path(), &SPEC, Lane::new(format, device));
    let aot = Format::Aot(Target::Cpu);
    let cpu = open(aot, Device::Cpu).unwrap();
    assert_eq!(cpu.program(Dtype::Float32), folder.path().join("program.aot.cpu.pt2"));
    assert_eq!(cpu.program(Dtype::Bfloat16), folder.path().join("program.bfloat16.aot.cpu.pt2"));
    let failure = open(aot, Device::Cuda(0)).unwrap_err();
    let message = failure.message.replace(&folder.path().display().to_string(), "artifacts/toy");
    assert_eq!(failure.stage, Stage::Export);
    assert_eq!(message, "artifacts/toy has no aot programs for cuda of the entry as it stands");
    assert_eq!(failure.details, ["renew it: just export toy --engine aot --device cuda"]);
    std::fs::write(folder.path().join("program.aot.cpu.pt2"), "a prog").unwrap();
    let failure = open(aot, Device::Cpu).unwrap_err();
    assert_eq!(failure.stage, Stage::Load);
    assert_eq!(failure.details, ["renew it: just export toy --engine aot --device cpu --force"]);
    // One kind's damage is nothing to the others.
    assert!(open(Format::TorchScript, Device::Cpu).is_ok());
}

#[test]
fn pt2_programs_are_held_to_their_own_key_and_digests() {
    let open = |folder: &Path| Artifact::open(folder, &SPEC, Lane::new(Format::Pt2, Device::Cpu));
    let good = with_pt2(SPEC.digest);
    let file = open(good.path()).unwrap().program(Dtype::Float32);
    assert_eq!(file, good.path().join("program.pt2"));
    for folder in [folder(SPEC.digest), with_pt2("fedcba9876543210")] {
        let failure = open(folder.path()).unwrap_err();
        assert_eq!(failure.stage, Stage::Export);
        assert_eq!(failure.details, ["renew it: just export toy --engine pt2"]);
    }
    std::fs::write(good.path().join("program.pt2"), "a gr").unwrap();
    let failure = open(good.path()).unwrap_err();
    assert_eq!(failure.stage, Stage::Load);
    assert_eq!(failure.details, ["renew it: just export toy --engine pt2 --force"]);
    // Whoever runs TorchScript need not care.
    assert!(Artifact::open(good.path(), &SPEC, Lane::default()).is_ok());
}

#[test]
fn programs_that_decode_are_those_of_a_format_or_it_is_said_why_there_are_none() {
    let folder = with_pt2(SPEC.digest);
    let mut manifest = manifest(folder.path()).unwrap().unwrap();
    let left_out = decoding_programs(folder.path(), &manifest, Format::Pt2).unwrap_err();
    assert_eq!(left_out.message, "Toy has no step program: the entry leaves `decodes` out");
    let step = json!({"tokens": "ids", "mask": null, "positions": null, "prompt": 2, "prefill": 1, "cache": [], "held": []});
    manifest.decoding = Some(serde_json::from_value(step).unwrap());
    let programs = |format| {
        let (_, step, prefill) = decoding_programs(folder.path(), &manifest, format)?;
        let name = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        Ok((name(step), prefill.map(name)))
    };
    let named = |step: &str, prefill: &str| Ok::<_, Failure>((step.to_owned(), Some(prefill.to_owned())));
    assert_eq!(programs(Format::TorchScript), named("program.decode.pt", "program.prefill.pt"));
    assert_eq!(programs(Format::Pt2), named("program.decode.pt2", "program.prefill.pt2"));
    let mut list = listed(folder.path(), Beside::Programs(Format::Pt2)).unwrap().unwrap();
    list.refused.insert("program.decode.pt2".to_owned(), "torch.export.export: of data".to_owned());
    sealed(folder.path(), "pt2.json", &serde_json::to_string(&list).unwrap());
    let refused = programs(Format::Pt2).unwrap_err();
    assert_eq!(
        (refused.stage, &*refused.message),
        (Stage::Export, "program.decode.pt2: torch.export.export: of data")
    );
    std::fs::remove_file(folder.path().join("pt2.json")).unwrap();
    assert_eq!(programs(Format::Pt2).unwrap_err().details, ["renew it: just export toy --engine pt2"]);
    assert!(programs(Format::TorchScript).is_ok());
}

#[test]
fn half_precision_references_are_those_of_the_device() {
    let folder = folder(SPEC.digest);
    let on = |device| Artifact::open(folder.path(), &SPEC, Lane::new(Format::TorchScript, device)).unwrap();
    let reference = |device| on(device).reference("traced", Dtype::Bfloat16, "logits");
    let missing = reference(Device::Cuda(1)).unwrap_err();
    assert_eq!(missing.stage, Stage::Export);
    assert_eq!(missing.details, ["renew it: just export toy --device cuda"]);

    let one = safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, vec![1], &[0x80, 0x3f]).unwrap();
    let tensors = safetensors::serialize([("traced/bfloat16/logits", one)], None).unwrap();
    std::fs::write(folder.path().join("half.cuda.bfloat16.safetensors"), &tensors).unwrap();
    let key = key::beside(Beside::Half(Target::Cuda, Dtype::Bfloat16), &key::of(SPEC.digest, None));
    let files = BTreeMap::from([(
        "half.cuda.bfloat16.safetensors".to_owned(),
        format!("{:x}", Sha256::digest(&tensors)),
    )]);
    let list = FileList { key, seconds: 1.0, files, refused: BTreeMap::new(), digests: BTreeMap::new() };
    sealed(folder.path(), "half.cuda.bfloat16.json", &serde_json::to_string(&list).unwrap());
    assert_eq!(reference(Device::Cuda(1)).unwrap().to_f64(), [1.0]);
    // The processor's are the artifact's own, of which this one has none.
    assert_eq!(reference(Device::Cpu).unwrap_err().message, "the artifact holds no 'traced/bfloat16/logits'");
    std::fs::write(folder.path().join("half.cuda.bfloat16.safetensors"), "half").unwrap();
    assert_eq!(reference(Device::Cuda(0)).unwrap_err().stage, Stage::Load);
}
