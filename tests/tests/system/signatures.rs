//! Who may be loaded: `module.sig`.

use module_signature::{LENGTH, sign, split};
use tests::{Initramfs, Machine, signed};

use crate::plain;

/// The clock's module in states that no build leaves it in.
fn archive() -> Initramfs {
    let shipped = Initramfs::shipped();
    let good = shipped.module("arm-pl031").to_owned();
    let (object, _) = split(&good);
    let mut changed = good.clone();
    changed[object.len() / 2] ^= 1;
    let other = sign(object, u64::MAX, &[7; 32].into());
    let older = good[..good.len() - LENGTH].to_owned();
    shipped
        .with_file("modules/unsigned.o", object.to_owned())
        .with_file("modules/cut.o", good[..good.len() - 1].to_owned())
        .with_file("modules/changed.o", changed)
        .with_file("modules/other.o", other)
        .with_file("modules/older.o", tests::signed_with_version(&older, 1))
        .with_file("modules/newer.o", signed(object))
}

const UNSIGNED: &str =
    "the module is not signed, or has lost its end: expected the file to end with \"lockstep-ed25519\"";

fn insmod(machine: &mut Machine, name: &str) -> String {
    let output = machine.command(&format!("insmod {name}"));
    output.strip_prefix(&format!("insmod: modules/{name}.o: ")).unwrap_or(&output).to_owned()
}

#[test]
fn enforced_unless_something_else_is_said() {
    for boot_arguments in ["", "module.sig=enforce", "module.sig=perhaps"] {
        let mut machine = plain().initramfs(&archive()).boot_arguments(boot_arguments).boot();
        for name in ["unsigned", "cut"] {
            assert_eq!(insmod(&mut machine, name), UNSIGNED);
        }
        let output = insmod(&mut machine, "changed");
        machine.expect(&output, "the file was changed, or the signature is forged");
        let output = insmod(&mut machine, "other");
        machine.expect(&output, "and the only key trusted here is ");
        let log = machine.command("dmesg");
        assert_eq!(boot_arguments.ends_with("perhaps"), log.contains("expected enforce, warn or off; it is enforced"));
    }
}

#[test]
fn an_older_module_than_one_seen_is_refused() {
    let mut machine = plain().initramfs(&archive()).boot();
    // The clock itself was loaded at boot.
    let output = insmod(&mut machine, "older");
    machine.expect(&output, "it is version 1 of arm-pl031, and version ");
    assert_eq!(insmod(&mut machine, "newer"), "");
}

#[test]
fn warned_of() {
    let mut machine = plain().initramfs(&archive()).boot_arguments("module.sig=warn").boot();
    for (name, reason) in [("unsigned", UNSIGNED), ("older", "it is version 1 of arm-pl031, and version ")] {
        insmod(&mut machine, name);
        let log = machine.command("dmesg");
        machine.expect(&log, reason);
        machine.expect(&log, "it is loaded all the same, as module.sig=warn says");
        assert_eq!(machine.row("lsmod", name).len(), 3);
    }
}

#[test]
fn not_checked() {
    let mut machine = plain().initramfs(&archive()).boot_arguments("module.sig=off").boot();
    for name in ["unsigned", "other", "older"] {
        assert_eq!(insmod(&mut machine, name), "");
        assert_eq!(machine.row("lsmod", name).len(), 3);
    }
}
