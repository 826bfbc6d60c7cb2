//! Modules that break the rules for who calls others, or use more of the machine than their part: they pay, and not those whom
//! they call.

use tests::{Machine, Setup, test_module};

use crate::faults;

/// A machine with `test-faults` as its only disk.
fn machine() -> Machine {
    let archive = faults::archive().with_module("test-heedless", test_module("test-heedless"));
    let setup = Setup::virt("virt", "cortex-a72", "64M").initramfs(&archive);
    setup.boot_arguments("log=off restart.limit=0").boot()
}

/// Has it do that, which leads to something in the log; the disk is as it was then.
#[track_caller]
fn expect_failure(machine: &mut Machine, mode: &str, expected: &str) {
    let before = machine.command("dmesg").matches(expected).count();
    assert_eq!(machine.command(&format!("insmod test-heedless mode={mode}")), "");
    machine.command_until("dmesg", |log| log.matches(expected).count() > before);
    machine.command("rmmod test-heedless");
    assert_eq!(faults::clock_state(machine), "bound");
}

#[test]
fn callers_pay_for_what_they_do() {
    let mut machine = machine();
    let failed = "test-heedless: module test-heedless, thread 'heedless',";
    expect_failure(&mut machine, "keep", &format!("{failed} kept a lock that it had taken in a call"));
    let waited = "panicked: a wait in an interrupt handler or with a lock held";
    expect_failure(&mut machine, "locked", &format!("{failed} {waited}"));
    // Where there is too little stack to go on after the call, the caller fails with whom it calls.
    for room in [3, 4, 5] {
        expect_failure(&mut machine, &format!("little room={room}"), &format!("{failed} caused an exception: "));
    }
    expect_failure(&mut machine, "log", &format!("{failed} caused an exception: stack overflow"));
    let deep = "15 deep: calls into modules are nested 16 deep, and no deeper";
    expect_failure(&mut machine, "deep", deep);
}

#[test]
fn nobody_keeps_others_from_running() {
    let mut machine = machine();
    machine.command("insmod test-heedless mode=naps");
    let rows = machine.table("ps");
    assert_eq!(rows.iter().filter(|row| row.contains(&"heedless".to_owned())).count(), 16, "{rows:?}");
    assert_eq!(machine.command("rmmod test-heedless"), "");

    machine.command("insmod test-heedless mode=urgent");
    // The shell is less urgent.
    let rows: Vec<_> = machine.table("ps").into_iter().filter(|row| row.contains(&"heedless".to_owned())).collect();
    assert!(rows.len() == 2 && rows.iter().all(|row| row[2] == "normal"), "{rows:?}");
    assert_eq!(machine.command("rmmod test-heedless"), "");

    machine.command("insmod test-heedless mode=fork");
    assert_eq!(machine.command("rmmod test-heedless"), "");
    assert!(machine.table("ps").iter().all(|row| !row.contains(&"heedless".to_owned())));

    let heap = |machine: &mut Machine| machine.row("free", "Heap:")[2].parse::<u64>().expect("a number of KiB");
    let before = heap(&mut machine);
    assert_eq!(machine.command("insmod test-heedless mode=chatter"), "");
    assert_eq!(machine.command("rmmod test-heedless"), "");
    let after = heap(&mut machine);
    assert!(after < before + 300, "{before} KiB of heap became {after}");
}
