//! Regenerates `generated/` from `spec/`, and tells the linker where libtorch is.
//!
//! The work is in `src/spec` (YAML → checked entries) and `src/codegen` (entries → files); both are also
//! modules of the library, where they are tested.

// The library uses what the build script does not.
#![allow(dead_code, unused_imports)]

#[path = "src/codegen/mod.rs"]
mod codegen;
#[path = "src/spec/mod.rs"]
mod spec;
#[path = "src/task/mod.rs"]
mod task;

fn main() {
    for path in ["spec", "generated", "src/spec", "src/codegen", "src/task"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    match spec::load(root) {
        Ok(spec) => {
            spec.warnings.iter().for_each(|warning| println!("cargo::warning={warning}"));
            if let Err(error) = codegen::sync(&codegen::plan(&spec), &root.join("generated")) {
                println!("cargo::error={error}");
            }
        }
        Err(problems) => problems.iter().for_each(|problem| println!("cargo::error={problem}")),
    }
    // Binaries start without LD_LIBRARY_PATH: only this package's own script may set their rpath.
    if let Ok(libraries) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    }
}
