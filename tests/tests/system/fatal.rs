//! Exceptions that end everything: what is shown, and what happens then. No mapping is writable and executable.

use tests::{Initramfs, Machine, test_module};

use crate::plain;

/// Boots with the modules that cause exceptions.
fn boot(boot_arguments: &str) -> Machine {
    let initramfs = ["test-jump", "test-null", "test-stack", "test-write"]
        .into_iter()
        .fold(Initramfs::shipped(), |initramfs, name| initramfs.with_module(name, test_module(name)));
    plain().initramfs(&initramfs).boot_arguments(boot_arguments).boot()
}

/// Checks that registers and a backtrace are there, and which functions the latter names.
fn tells_where(machine: &Machine, shown: &str, functions: &[&str]) {
    for register in ["x0 ", "x29 ", "x30 ", "sp ", "pc ", "state "] {
        machine.expect(shown, register);
    }
    machine.expect(shown, "in thread 'shell'");
    let Some((_, backtrace)) = shown.split_once("backtrace:\n") else { machine.fail("there is no backtrace") };
    for function in functions {
        machine.expect(backtrace, function);
    }
}

#[test]
fn null_pointer() {
    let mut machine = boot("panic=poweroff");
    machine.type_in("insmod test-null\r");
    let (status, shown) = machine.wait_for_exit();
    machine.expect(&shown, "lockstep: fatal error");
    machine.expect(
        &shown,
        "exception: data access, read from 0x0000000000000000 (a null pointer): nothing is mapped there",
    );
    tells_where(&machine, &shown, &["test_null", "kernel::binding::", "shell"]);
    machine.expect(&shown, "lockstep: powering off");
    assert!(status.success(), "{status}");
}

#[test]
fn stack_overflow() {
    let mut machine = boot("panic=poweroff");
    machine.type_in("insmod test-stack\r");
    let (status, shown) = machine.wait_for_exit();
    machine.expect(&shown, "exception: stack overflow, access to 0x");
    tells_where(&machine, &shown, &["test_stack::calls"]);
    assert!(status.success(), "{status}");
}

#[test]
fn code_is_read_only() {
    let mut machine = boot("panic=poweroff");
    machine.type_in("insmod test-write\r");
    let (_, shown) = machine.wait_for_exit();
    machine.expect(&shown, "exception: data access, write to 0x");
    machine.expect(&shown, "the mapping doesn't permit it");
    tells_where(&machine, &shown, &["test_write"]);
}

#[test]
fn data_is_not_executable() {
    let mut machine = boot("panic=poweroff");
    machine.type_in("insmod test-jump\r");
    let (_, shown) = machine.wait_for_exit();
    machine.expect(&shown, "exception: instruction fetch from 0x");
    machine.expect(&shown, "the mapping doesn't permit it");
    tells_where(&machine, &shown, &["test_jump"]);
}

#[test]
fn reboot_afterwards() {
    let mut machine = boot("panic=reboot");
    machine.type_in("insmod test-null\r");
    machine.wait_for("lockstep: rebooting\n");
    machine.wait_for_shell();
}

#[test]
fn halt_unless_told_otherwise() {
    let mut machine = boot("");
    machine.type_in("insmod test-null\r");
    machine.wait_for("lockstep: halted\n");
}

#[test]
fn an_argument_that_makes_no_sense() {
    let mut machine = boot("panic=explode log=loud");
    let log = machine.command("dmesg");
    machine.expect(&log, "bootargs: panic=explode: expected halt, poweroff or reboot");
    machine.expect(&log, "bootargs: log=loud: expected off, error, warn, info, debug or trace");
}
