//! Modules from outside of the tree: built with the SDK, loaded by the kernel that is there.

use std::path::Path;
use std::process::{Command, Output};

use tests::{Initramfs, built};

use crate::plain;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_driver_is_built_with_the_sdk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(Command::new("tar").arg("xf").arg(built("lockstep-sdk.tar")).current_dir(folder.path()));
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = tree.join("tests/outside");
    run(Command::new("cp").arg("-r").arg(&source).arg(folder.path().join("driver")));
    std::fs::write(folder.path().join("initramfs.cpio"), Initramfs::shipped().bytes()).expect("it can be written to");

    let sdk = || {
        let mut command = Command::new(folder.path().join("lockstep-sdk/lockstep-sdk"));
        // What cargo tells its tests would mislead another cargo.
        command.current_dir(folder.path()).env_remove("CARGO_MANIFEST_DIR").env_remove("RUSTC_BOOTSTRAP");
        command
    };
    let key = tree.join("keys/development.key");
    let output = run(sdk().args(["build", "--key"]).arg(key).arg("driver"));
    let module = String::from_utf8(output.stdout).expect("a path");
    run(sdk().args(["add", "initramfs.cpio", module.trim()]));

    let archive = std::fs::read(folder.path().join("initramfs.cpio")).expect("it is there");
    let mut machine = plain().initramfs_bytes(&archive).boot_arguments("outside.number=7.25").boot();
    let device = machine.row("lsdev", "/fw-cfg@9020000");
    assert_eq!(device[2..], ["outside", "bound"]);
    let log = machine.command("dmesg");
    machine.expect(&log, "outside: 7.25e10 {\"/FW-CFG\": 7, \"9020000\": 7} [\"/FW-CFG\", \"9020000\"]");

    // Without a key the same is made, and it is said that it isn't signed.
    let output = run(sdk().args(["build", "driver"]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it isn't signed"));
    let signed = std::fs::read(folder.path().join("initramfs.cpio")).expect("it is there");
    let unsigned = std::fs::read(module.trim()).expect("it is there");
    assert!(module_signature::split(&unsigned).1.is_none());
    assert!(signed.windows(unsigned.len()).any(|window| window == unsigned));
}

#[test]
fn a_driver_in_c() {
    let archive = Initramfs::shipped()
        .with_module("c-driver", tests::test_module("c-driver"))
        .with_claims("qemu,fw-cfg-mmio c-driver\n");
    let mut machine = plain().argument("-smp", "3").initramfs(&archive).boot();
    assert_eq!(machine.row("lsdev", "/fw-cfg@9020000")[2..], ["c-driver", "bound"]);
    let log = machine.command("dmesg");
    machine.expect(&log, "c-driver: the machine has 3 processors");
}
