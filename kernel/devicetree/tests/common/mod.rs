//! Trees to test with: QEMU's, the Raspberry Pi's, and small ones in source form.

#![allow(dead_code, reason = "each test file uses some of this")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use devicetree::{Error, Node, Tree};
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// A file name of its own for each call.
fn temporary_file() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}.dtb", std::process::id()))
}

/// The tree that QEMU makes for `machine`, with more arguments if need be.
pub fn qemu(machine: &str, arguments: &[&str]) -> Vec<u8> {
    let file = temporary_file();
    let output = Command::new("qemu-system-aarch64")
        .args(["-M", &format!("{machine},dumpdtb={}", file.display()), "-cpu", "cortex-a72", "-nographic"])
        .args(arguments)
        .output()
        .expect("this test needs qemu-system-aarch64 (Debian package qemu-system-arm)");
    assert!(output.status.success(), "qemu: {}", String::from_utf8_lossy(&output.stderr));
    let blob = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    blob
}

/// The tree of QEMU's virt machine.
pub fn virt() -> Vec<u8> {
    qemu("virt", &["-m", "512M", "-nic", "none"])
}

/// The Raspberry Pi 4's tree, from `LOCKSTEP_RPI4_DTB` or where the build puts it. It isn't part of the sources, so
/// without it the test is skipped, and says so.
pub fn raspberry_pi_4() -> Option<Vec<u8>> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../out/firmware/bcm2711-rpi-4-b.dtb");
    let path = env::var_os("LOCKSTEP_RPI4_DTB").map_or(built, PathBuf::from);
    let blob = fs::read(&path).ok();
    if blob.is_none() {
        eprintln!("SKIPPED: there is no {}; set LOCKSTEP_RPI4_DTB to a bcm2711-rpi-4-b.dtb", path.display());
    }
    blob
}

/// Compiles the source of a tree.
pub fn compile(source: &str) -> Vec<u8> {
    let mut child = Command::new("dtc")
        .args(["-q", "-f", "-I", "dts", "-O", "dtb"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs dtc (Debian package device-tree-compiler)");
    child.stdin.take().unwrap().write_all(format!("/dts-v1/;\n{source}").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Asks libfdt: runs fdtget(1) on a tree and returns the lines that it prints.
pub fn fdtget(blob: &[u8], options: &[&str], arguments: &[&str]) -> Vec<String> {
    let file = temporary_file();
    fs::write(&file, blob).unwrap();
    let output = Command::new("fdtget")
        .args(options)
        .arg(&file)
        .args(arguments)
        .output()
        .expect("this test needs fdtget (Debian package device-tree-compiler)");
    fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "fdtget: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_string).collect()
}

/// The only node of this path.
pub fn find<'t>(tree: &'t Tree, path: &str) -> Node<'t> {
    tree.find(path).unwrap_or_else(|| panic!("there is no {path}"))
}

/// Addresses and sizes of a node's registers.
pub fn registers(tree: &Tree, path: &str) -> Vec<(u64, u64)> {
    find(tree, path).registers().unwrap().iter().map(|range| (range.address, range.size)).collect()
}

/// Controllers and specifiers of a node's interrupts.
pub fn interrupts(tree: &Tree, path: &str) -> Vec<(String, Vec<u32>)> {
    let interrupts = find(tree, path).interrupts().unwrap();
    interrupts.iter().map(|interrupt| (interrupt.controller.path(), interrupt.specifier.to_vec())).collect()
}

/// The sentence of an error.
pub fn sentence<T>(result: Result<T, Error>) -> String {
    result.err().expect("this should be an error").to_string()
}
