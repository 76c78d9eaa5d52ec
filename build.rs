//! Regenerates `generated/` from `spec/`; with libtorch, tells the linker where that is and compiles the files of C++.
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
            for path in spec.versions.sources.values().filter_map(|source| source.path.as_ref()) {
                println!("cargo::rerun-if-changed={}", path.display());
            }
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
        #[cfg(feature = "libtorch")]
        shim(std::path::Path::new(&libraries));
    }
}

/// Compiles what is written in C++ into one library, and links it. Its headers take long, and this script runs whenever the
/// spec changes: what was compiled of the same texts with the same libtorch is used again.
#[cfg(feature = "libtorch")]
fn shim(libraries: &std::path::Path) {
    const HEADER: &str = "src/engine/shim.h";
    const SOURCES: [&str; 3] =
        ["src/engine/pt2/shim.cpp", "src/engine/aot/shim.cpp", "src/engine/switches.cpp"];
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    let mut made_of = libraries.display().to_string();
    for file in SOURCES.iter().chain([&HEADER]) {
        println!("cargo::rerun-if-changed={file}");
        made_of += &std::fs::read_to_string(file).unwrap_or_default();
    }
    let stamp = out.join("shim.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        println!("cargo::rustc-link-search=native={}", out.display());
        println!("cargo::rustc-link-lib=static=shim");
        let runtime = if cfg!(target_os = "macos") { "c++" } else { "stdc++" };
        println!("cargo::rustc-link-lib={runtime}");
        return;
    }
    let include = libraries.with_file_name("include");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).debug(false).warnings(true).extra_warnings(true).files(SOURCES);
    // Not this project's warnings.
    for headers in [include.join("torch/csrc/api/include"), include] {
        build.flag("-isystem").flag(headers);
    }
    build.compile("shim");
    std::fs::write(stamp, made_of).expect("cargo's folder for this script can be written");
}
