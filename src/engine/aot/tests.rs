//! Packages written by hand: what they say of themselves, and how those are refused that cannot run here.

use super::*;
use crate::engine::pt2;
use std::io::Cursor;

/// The file of a package of a model with that metadata and, as its code, those bytes.
fn package(metadata: &serde_json::Value, code: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Cursor::new(Vec::new());
    let metadata = metadata.to_string();
    let files: [(&str, &[u8]); 6] = [
        ("archive_format", b"pt2"),
        ("archive_version", b"0"),
        ("byteorder", b"little"),
        ("data/aotinductor/model/a.wrapper.cpp", b""),
        ("data/aotinductor/model/a.wrapper_metadata.json", metadata.as_bytes()),
        ("data/aotinductor/model/a.wrapper.so", code),
    ];
    pt2::pack(&mut file, files).unwrap();
    std::fs::create_dir(folder.path().join("toy")).unwrap();
    std::fs::write(folder.path().join("toy").join(FILE), file.into_inner()).unwrap();
    folder
}

const FILE: &str = "program.aot.cpu.pt2";

/// What is said of it when it is loaded on a device, without its place, and what helps.
fn said(folder: &tempfile::TempDir, device: Device) -> (Stage, String, Vec<String>) {
    let path = folder.path().join("toy").join(FILE);
    let failure = Aot(device.into()).load(&path, device).err().expect("it is no package that runs");
    let place = format!("{}/", path.parent().unwrap().display());
    (failure.stage, failure.message.replace(&place, ""), failure.details)
}

fn facts(device: &str, processor: &str) -> serde_json::Value {
    serde_json::json!({"AOTI_DEVICE_KEY": device, "processor": processor, "weights": "{}"})
}

#[test]
fn a_package_for_another_device_is_refused_with_the_command_that_makes_one() {
    for (made, device, wanted) in [("cuda", Device::Cpu, "cpu"), ("cpu", Device::Cuda(1), "cuda")] {
        let (stage, message, details) = said(&package(&facts(made, ""), b""), device);
        assert_eq!(stage, Stage::Load);
        assert_eq!(message, format!("{FILE} was compiled for {made}, not for {wanted}"));
        assert_eq!(details, [format!("compile it for that: just export toy --engine aot --device {wanted}")]);
    }
}

#[test]
fn code_for_another_processor_is_not_opened() {
    let (stage, message, details) = said(&package(&facts("cpu", "avx9000"), b""), Device::Cpu);
    assert_eq!(stage, Stage::Load);
    assert_eq!(message, format!("{FILE} was compiled on a processor that has avx9000; this one does not"));
    assert_eq!(details, ["compile it here: just export toy --engine aot --device cpu --force"]);
}

#[test]
fn a_processor_lacks_what_it_does_not_list_and_one_that_lists_nothing_is_not_judged() {
    assert_eq!(lacking("avx2 fma avx512f", " fpu avx2 fma"), ["avx512f"]);
    assert!(lacking("avx2 fma", "fma avx2 avx512f").is_empty());
    assert!(lacking("avx2", "").is_empty());
}

#[test]
fn what_is_no_package_is_an_error_that_says_so() {
    let folder = package(&facts("cpu", ""), b"");
    let path = folder.path().join("toy").join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut graph = Cursor::new(Vec::new());
    let files: [(&str, &[u8]); 2] = [("archive_format", b"pt2"), ("models/model.json", b"{}")];
    pt2::pack(&mut graph, files).unwrap();
    for bytes in [&b"no zip"[..], &[], &whole[..whole.len() / 2], graph.get_ref().as_slice()] {
        std::fs::write(&path, bytes).unwrap();
        let (stage, message, _) = said(&folder, Device::Cpu);
        assert_eq!(stage, Stage::Load);
        assert!(message.starts_with(FILE), "{message}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(said(&folder, Device::Cpu).0, Stage::Load);
}

#[test]
fn code_that_is_none_or_lacks_a_function_is_an_error_and_ends_nothing() {
    let message = said(&package(&facts("cpu", ""), b"no library"), Device::Cpu).1;
    assert!(message.starts_with(FILE), "{message}");
    // It has none of the functions of a compiled model, and a second copy of it does no harm.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library =
        maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.contains("/libm.so"));
    let code = std::fs::read(library.unwrap()).unwrap();
    let message = said(&package(&facts("cpu", ""), &code), Device::Cpu).1;
    assert!(message.contains("AOTInductorModelContainer"), "{message}");
}
