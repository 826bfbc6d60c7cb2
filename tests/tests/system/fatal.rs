//! Failures of the kernel itself, which end everything: what is shown, and what happens then.

use tests::{Initramfs, Machine, test_module};

use crate::plain;

/// Boots with a module that does what the kernel can't go on from.
fn boot(boot_arguments: &str) -> Machine {
    let initramfs = Initramfs::shipped().with_module("test-fatal", test_module("test-fatal"));
    plain().initramfs(&initramfs).boot_arguments(boot_arguments).boot()
}

#[test]
fn the_allocator_itself_fails() {
    let mut machine = boot("panic=halt");
    machine.type_in("insmod test-fatal mode=free\r");
    let shown = machine.wait_for("lockstep: halted\n");
    machine.expect(&shown, "lockstep: fatal error");
    machine.expect(&shown, "exception: data access, write to 0x0000000000001000: nothing is mapped there");
    for register in ["x0 ", "x29 ", "x30 ", "sp ", "pc ", "state "] {
        machine.expect(&shown, register);
    }
    let Some((_, backtrace)) = shown.split_once("backtrace:\n") else { machine.fail("there is no backtrace") };
    // Who allocates can't look for names in a module, but for where in it.
    for place in ["dealloc", "? (test-fatal+0x", "kernel::thread::enter"] {
        machine.expect(backtrace, place);
    }
}

#[test]
fn interrupts_are_masked() {
    let mut machine = boot("panic=poweroff");
    machine.type_in("insmod test-fatal\r");
    let (status, shown) = machine.wait_for_exit();
    machine.expect(&shown, "lockstep: fatal error in thread 'shell'");
    machine.expect(&shown, "exception: data access, read from 0x0000000000001000: nothing is mapped there");
    let Some((_, backtrace)) = shown.split_once("backtrace:\n") else { machine.fail("there is no backtrace") };
    for function in ["test_fatal", "kernel::binding::", "shell", "kernel::thread::enter"] {
        machine.expect(backtrace, function);
    }
    machine.expect(&shown, "lockstep: powering off");
    assert!(status.success(), "{status}");
}

#[test]
fn reboot_afterwards() {
    let mut machine = boot("panic=reboot");
    machine.type_in("insmod test-fatal\r");
    machine.wait_for("lockstep: rebooting\n");
    machine.wait_for_shell();
}

#[test]
fn halt_unless_told_otherwise() {
    let mut machine = boot("");
    machine.type_in("insmod test-fatal\r");
    machine.wait_for("lockstep: halted\n");
}

#[test]
fn an_argument_that_makes_no_sense() {
    let mut machine = boot("panic=explode log=loud");
    let log = machine.command("dmesg");
    machine.expect(&log, "bootargs: panic=explode: expected halt, poweroff or reboot");
    machine.expect(&log, "bootargs: log=loud: expected off, error, warn, info, debug or trace");
}
