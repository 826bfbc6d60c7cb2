//! A driver of this tree as rustc writes it at each optimization level, not merged by any linker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, path::Path};

use common::{Linker, Scratch, linked_alike, run};

#[test]
fn a_driver_in_rust_is_linked_as_gnu_ld_and_lld_link_it_at_every_optimization_level() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let scratch = Scratch::new();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust");
    for level in ["0", "1", "2", "3", "s", "z"] {
        let object = scratch.path("driver.o");
        let (level, emit) = (format!("-Copt-level={level}"), format!("--emit=obj={}", object.display()));
        let manifest = root.join("Cargo.toml");
        let specification = root.join("aarch64-kernel.json");
        let output = run(
            "cargo",
            &[
                &"rustc",
                &"--manifest-path",
                &manifest,
                &"--package=arm-pl031",
                &"--release",
                &"-Zjson-target-spec",
                &"-Zbuild-std=core,alloc,compiler_builtins",
                &"--target",
                &specification,
                &"--target-dir",
                &target,
                &"--",
                &"-Csymbol-mangling-version=v0",
                &level,
                &emit,
            ],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let object = fs::read(&object).unwrap();
        let exports = undefined(&object);
        let module = linked_alike(&object, &[Linker::Lld, Linker::Gnu], &exports);
        println!("{level}: {:?}", module.figures);
        assert!(module.symbols.contains_key("LOCKSTEP_MODULE"));
        assert!(!module.unwind_tables.is_empty());
    }
}

/// An address for each symbol that an object does not define, near enough for a branch.
fn undefined(object: &[u8]) -> Vec<(String, u64)> {
    use object::read::{Object as _, ObjectSymbol as _};
    let file = object::File::parse(object).unwrap();
    let names = file.symbols().filter(|symbol| symbol.is_undefined()).map(|symbol| symbol.name().unwrap().to_string());
    names.filter(|name| !name.is_empty()).zip((0xffff_8000_1200_0000..).step_by(0x1010)).collect()
}
