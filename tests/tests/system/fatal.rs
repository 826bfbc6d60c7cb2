//! Failures of the kernel itself, which end everything: what is shown, and what happens then.

use tests::{Initramfs, Machine, test_module};

use crate::plain;

/// Boots with a module that does what the kernel can't go on from.
fn boot(boot_arguments: &str) -> Machine {
    let initramfs = Initramfs::shipped().with_module("test-fatal", test_module("test-fatal"));
    plain().initramfs(&initramfs).boot_arguments(boot_arguments).boot()
}

#[test]
fn what_the_allocator_is_given_wrongly_is_the_modules_failure() {
    let mut machine = boot("panic=halt");
    let answer = machine.command("insmod test-fatal mode=free");
    machine.expect(&answer, "the module caused an exception: data access, ");
    assert_eq!(machine.row("lsmod", "shell").len(), 4);
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
