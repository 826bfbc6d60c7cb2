//! Hands the linker script and the tables that `./x build` generates to the compiler.

use std::path::PathBuf;
use std::{env, fs};

/// What is compiled in when no table has been generated, as in `cargo check`: a kernel that exports nothing.
const NOTHING: &str = "pub static CONTRACT: kernel::Contract = kernel::Contract {
    exports: &loader::exports::ExportTable { starts: &[], exports: &[] },
    stamp: \"\",
    abi: &[],
    key: [0; 32],
};
";

fn main() {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let manifest = variable("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let output = variable("OUT_DIR").expect("cargo sets OUT_DIR").join("generated.rs");
    let script = manifest.with_file_name("linker.ld");

    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    // An image that `start.s` can move: it adds to the addresses listed in `.relr.dyn`, which are in constants as well.
    let movable = ["-pie", "--no-dynamic-linker", "--pack-dyn-relocs=relr", "-znotext"];
    let others = ["--eh-frame-hdr", "-zmax-page-size=4096", "--build-id=none", "--fix-cortex-a53-843419"];
    for argument in movable.into_iter().chain(others) {
        println!("cargo:rustc-link-arg-bins={argument}");
    }

    println!("cargo:rerun-if-env-changed=LOCKSTEP_EXPORTS");
    let tables = match variable("LOCKSTEP_EXPORTS") {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()))
        }
        None => NOTHING.to_owned(),
    };
    fs::write(&output, tables).unwrap_or_else(|error| panic!("can't write {}: {error}", output.display()));
}
