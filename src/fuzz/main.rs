//! `just fuzz`: libFuzzer makes bytes for the reader that `HF_CONFORMANCE_FUZZ` names.

#![no_main]

use hf_conformance::fuzz::{TARGETS, Target};
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("HF_CONFORMANCE_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("HF_CONFORMANCE_FUZZ names no reader: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.read)(bytes));
