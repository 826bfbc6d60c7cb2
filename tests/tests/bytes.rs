//! The kernel's memory functions (`kernel/src/processor/bytes.s`), alone, against loops over single bytes.

use std::path::Path;
use std::process::Command;

#[test]
fn memory_functions_do_what_single_bytes_would() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bytes");
    let compiler = Command::new("aarch64-linux-gnu-gcc")
        .args(["-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-tree-loop-distribute-patterns", "-o"])
        .arg(&program)
        .arg(tree.join("tests/bytes.c"))
        .arg(tree.join("../kernel/src/processor/bytes.s"))
        .status();
    assert!(compiler.expect("aarch64-linux-gnu-gcc (package gcc-aarch64-linux-gnu) should be there").success());
    let run = Command::new("qemu-aarch64").arg(&program).status();
    let code = run.expect("qemu-aarch64 (package qemu-user) should be there").code();
    assert_eq!(code, Some(0), "1: memmove, 2: memset, 3: memcmp");
}
