//! Archives with something wrong: each time the console says what, and the rest comes up.

use tests::{Initramfs, Machine, READY, Setup};

use crate::plain;

/// Boots what has no shell, and checks that the console says why.
fn comes_up_without_a_shell(setup: Setup, reason: &str) -> Machine {
    let mut machine = setup.start();
    let shown = machine.wait_for(READY);
    machine.expect(&shown, reason);
    let counts = machine.wait_for(" devices bound");
    machine.expect(&counts, ", 0 modules loaded, 0");
    machine
}

/// The boot's messages and the log, which must both contain the sentence.
fn says(machine: &mut Machine, shown: &str, sentence: &str) {
    machine.expect(shown, sentence);
    let log = machine.command("dmesg");
    machine.expect(&log, sentence);
}

/// Boots to the shell, and checks that the console and the log say `sentence`.
fn comes_up(initramfs: &[u8], sentence: &str) -> Machine {
    let mut machine = plain().network_cards(1).initramfs_bytes(initramfs).start();
    let shown = machine.wait_for(READY);
    machine.wait_for(tests::PROMPT);
    says(&mut machine, &shown, sentence);
    machine
}

#[test]
fn none() {
    comes_up_without_a_shell(
        plain().no_initramfs(),
        "initramfs: there is none (-initrd in QEMU, initramfs in config.txt), so no module can be loaded",
    );
}

#[test]
fn something_else() {
    let setup = plain().initramfs_bytes(
        b"#!/bin/sh\necho this is no archive, and too long to pass for a short one\n".repeat(3).as_slice(),
    );
    comes_up_without_a_shell(setup, "initramfs: ");
}

#[test]
fn truncated() {
    let whole = Initramfs::shipped();
    let bytes = whole.bytes();
    // The modules are in the order of their names, so the last is the network card's: half of it is missing.
    let missing = whole.module("virtio-net").len() / 2;
    let mut machine =
        comes_up(&bytes[..bytes.len() - missing], "initramfs: the archive ends inside 'modules/virtio-net.o'");
    let device = machine.row("lsdev", "/virtio_mmio@a003e00/device1");
    assert_eq!(device[2], "virtio-net");
    machine.expect(&device[3], "failed: modules/virtio-net.o: there is no such file in the initramfs");
    let date = machine.command("date");
    machine.expect(&date, "Z");
}

#[test]
fn damaged_in_the_middle() {
    let mut bytes = Initramfs::shipped().bytes();
    // The entry of the last module no longer begins with the magic number.
    let name = b"modules/virtio-net.o\0";
    let position = bytes.windows(name.len()).position(|window| window == name).expect("it has a name");
    bytes[position - 110] = b'?';
    let machine = comes_up(&bytes, "initramfs: ");
    drop(machine);
}

#[test]
fn no_index() {
    let initramfs = Initramfs::shipped().without_file("modules/index");
    comes_up_without_a_shell(
        plain().initramfs(&initramfs),
        "initramfs: it has no modules/index, so no device can be matched to its module",
    );
}

#[test]
fn an_index_that_makes_no_sense_in_places() {
    let initramfs = Initramfs::shipped().with_claims("arm,pl061\narm,pl061 warp-drive\n");
    let mut machine = comes_up(
        &initramfs.bytes(),
        "of modules/index should be '<compatible> <module>', found 'arm,pl061': it's ignored",
    );
    let device = machine.row("lsdev", "/pl061@9030000");
    machine.expect(&device[3], "failed: modules/warp-drive.o: there is no such file in the initramfs");
}

#[test]
fn two_modules_that_claim_the_same() {
    let shipped = Initramfs::shipped();
    let copy = shipped.module("arm-pl031").to_owned();
    let initramfs = shipped.with_module("other-clock", copy).with_claims("arm,pl031 other-clock\n");
    let mut machine = comes_up(
        &initramfs.bytes(),
        "initramfs: 'arm,pl031' is claimed by several modules: arm-pl031, other-clock; the first is used",
    );
    assert_eq!(machine.row("lsdev", "/pl031@9010000")[2..], ["arm-pl031", "bound"]);
}
