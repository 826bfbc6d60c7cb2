//! Modules that fail: who called them gets an error, and everything goes on.

use tests::{Initramfs, Machine, test_module};

use crate::plain;

/// Boots with the modules that fail.
fn boot() -> Machine {
    boot_with("")
}

fn boot_with(arguments: &str) -> Machine {
    let initramfs = ["test-jump", "test-null", "test-stack", "test-unwind", "test-write"]
        .into_iter()
        .fold(Initramfs::shipped(), |initramfs, name| initramfs.with_module(name, test_module(name)));
    plain().initramfs(&initramfs).boot_arguments(arguments).boot()
}

/// The log's last lines, from the one that tells of the last failure.
fn logged(machine: &mut Machine) -> String {
    let log = machine.command("dmesg");
    let start = log.rfind(": module ").unwrap_or_else(|| machine.fail("the log doesn't tell of a failure"));
    log[start..].to_owned()
}

/// Loads a module, which has to fail in this way, and whose backtrace has to name these functions.
#[track_caller]
fn fails(machine: &mut Machine, command: &str, how: &str, functions: &[&str]) {
    let answer = machine.command(command);
    machine.expect(&answer, &format!("the module {how}"));
    let log = logged(machine);
    let (mut rest, all) = (log.as_str(), &log);
    for function in functions {
        let Some(place) = rest.find(function) else { machine.fail(&format!("expected {function} in {all:?}")) };
        rest = &rest[place..];
    }
    assert_eq!(machine.row("lsmod", "shell").len(), 4);
}

/// What `test-unwind` says that it dropped, in order, since it was loaded last.
fn dropped(machine: &mut Machine, mode: &str) -> Vec<String> {
    let before = machine.command("dmesg").matches(" was dropped").count();
    let answer = machine.command(&format!("insmod test-unwind mode={mode}"));
    machine.expect(&answer, "the module ");
    let log = machine.command("dmesg");
    let lines = log.lines().filter_map(|line| line.strip_suffix(" was dropped")?.split_once("test-unwind: "));
    lines.map(|(_, what)| what.to_owned()).skip(before).collect()
}

#[test]
fn a_null_pointer_ends_who_follows_it() {
    let how =
        "caused an exception: data access, read from 0x0000000000000000 (a null pointer): nothing is mapped there";
    fails(&mut boot(), "insmod test-null", how, &["test_null", "(test-null+"]);
}

#[test]
fn code_is_read_only() {
    let mut machine = boot();
    fails(&mut machine, "insmod test-write", "caused an exception: data access, write to 0x", &["test_write"]);
    let log = logged(&mut machine);
    machine.expect(&log, "the mapping doesn't permit it");
}

#[test]
fn data_is_not_executable() {
    let mut machine = boot();
    let how = "caused an exception: instruction fetch from 0x";
    fails(&mut machine, "insmod test-jump", how, &["?", "test_jump"]);
    let log = logged(&mut machine);
    machine.expect(&log, "the mapping doesn't permit it");
}

#[test]
fn a_stack_that_is_used_up() {
    let how = "caused an exception: stack overflow, access to 0x";
    fails(&mut boot(), "insmod test-stack", how, &["test_stack::calls", "test_stack::calls", "more"]);
}

#[test]
fn what_unwinds_drops_what_its_callers_hold() {
    let mut machine = boot();
    let all = ["fourth", "third", "second", "first"];
    for mode in ["panic", "read", "call", "jump", "undefined", "copy", "memory"] {
        assert_eq!(dropped(&mut machine, mode), all, "{mode}");
    }
    let log = machine.command("dmesg");
    for how in [
        "panicked: it was told to",
        "undefined instruction",
        "misaligned program counter",
        "write to 0x0000000000001000",
    ] {
        machine.expect(&log, how);
    }
}

#[test]
fn an_overflow_drops_what_there_is_stack_for() {
    let dropped = dropped(&mut boot(), "overflow");
    assert_eq!(dropped, ["an early call's", "fourth", "third", "second", "first"]);
}

#[test]
fn a_panic_while_a_panic_unwinds() {
    let mut machine = boot();
    let dropped = dropped(&mut machine, "drop");
    // What the same function holds beside the one that panics is left.
    assert_eq!(dropped, ["fourth", "what the stubborn one had", "second", "first"]);
    let log = machine.command("dmesg");
    machine.expect(&log, "panicked: it was told to (");
    machine.expect(&log, "; while that was unwound, it panicked: it doesn't want to be dropped (");
}

#[test]
fn a_function_that_must_not_unwind_is_passed_over() {
    let dropped = dropped(&mut boot(), "extern");
    // Its caller doesn't expect it either.
    assert_eq!(dropped, ["fourth", "foreign", "second", "first"]);
}

#[test]
fn nothing_is_lost_a_hundred_times() {
    // So that no line of the log comes in the middle of an answer.
    let mut machine = boot_with("log=off");
    let heap = |machine: &mut Machine| machine.row("free", "Heap:")[2].parse::<u64>().expect("a number of KiB");
    let round = |machine: &mut Machine| {
        for command in ["insmod test-null", "insmod test-jump", "insmod test-stack", "insmod test-unwind mode=drop"] {
            let answer = machine.command(command);
            machine.expect(&answer, "the module ");
        }
    };
    // Until the log is full.
    (0..45).for_each(|_| round(&mut machine));
    let before = heap(&mut machine);
    (0..100).for_each(|_| round(&mut machine));
    let after = heap(&mut machine);
    assert!(after <= before + 8, "{before} KiB of heap became {after}");
}
