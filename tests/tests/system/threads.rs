//! Which thread runs when, and on how many processors.

use tests::{Initramfs, Machine, Setup, test_module};

/// A machine with this many processors, on which what fails stays down.
fn machine(processors: u32) -> Machine {
    let archive = Initramfs::shipped().with_module("test-schedule", test_module("test-schedule"));
    Setup::virt("virt", "cortex-a72", "512M")
        .argument("-smp", &processors.to_string())
        .boot_arguments("restart.limit=0")
        .initramfs(&archive)
        .boot()
}

/// Has the module try something out; returns what it says of that.
fn found(machine: &mut Machine, mode: &str) -> String {
    machine.type_in(&format!("insmod test-schedule mode={mode}\r"));
    machine.wait_for(&format!("test-schedule: {mode}: "));
    machine.wait_for("\n")
}

#[test]
fn a_holder_runs_as_urgently_as_the_most_urgent_that_waits() {
    let mut machine = machine(1);
    // The one in between would keep the holder from ever letting go.
    machine.type_in("insmod test-schedule mode=inherit\r");
    machine.wait_for("inherit: the holder goes on after the hog");
    machine.wait_for("inherit: the waiter has it after ");
    // On several processors it may run on another.
    let mut machine = self::machine(4);
    machine.type_in("insmod test-schedule mode=inherit\r");
    machine.wait_for("inherit: the waiter has it after ");
}

#[test]
fn equals_take_turns() {
    for processors in [1, 4] {
        assert_eq!(found(&mut machine(processors), "turns"), "both had their turns");
    }
}

#[test]
fn a_more_urgent_thread_runs_at_once() {
    let found = found(&mut machine(1), "preempt");
    assert_eq!(found, "woken by time: true, at once when raised: 20 of 20");
}

#[test]
fn sleepers_wake_when_their_time_has_come() {
    assert_eq!(found(&mut machine(1), "sleep"), "17 woken in order, 0 of them early");
    // On several processors, the host's scheduler has a say in the order.
    let mut machine = machine(4);
    let found = found(&mut machine, "sleep");
    machine.expect(&found, "order, 0 of them early");
}

#[test]
fn waits_and_locks_that_would_never_end_are_contained() {
    for processors in [1, 4] {
        let mut machine = machine(processors);
        for (mode, reason) in [
            ("wait-locked", "panicked: a wait in an interrupt handler or with a lock held"),
            ("lock-twice", "panicked: a lock is taken by the thread that holds it already"),
            ("mutex-twice", "panicked: a mutex is taken by the thread that holds it already"),
        ] {
            machine.type_in(&format!("insmod test-schedule mode={mode}\r"));
            machine.wait_for(&format!("module test-schedule, thread 'test-schedule', {reason}"));
            machine.command("");
            // Unless the supervisor has given it up before.
            machine.command("rmmod test-schedule");
        }
        assert_eq!(found(&mut machine, "turns"), "both had their turns");
    }
}

#[test]
fn nothing_gets_lost_under_stress() {
    for processors in [1, 4, 8] {
        let mut machine = machine(processors);
        let found = found(&mut machine, "stress");
        machine.expect(&found, " threads, 0 errors");
        let number = |word: &str| {
            let count = found.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse::<u32>().ok());
            count.unwrap_or_else(|| machine.fail(&format!("{found:?} tells of no{word}")))
        };
        assert!([" round trips", " timeouts", " turns", " threads"].map(number).iter().all(|count| *count > 10));
        assert_eq!(machine.command("rmmod test-schedule"), "");
    }
}
