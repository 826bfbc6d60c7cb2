//! A driver that says what can't be, or asks for too much: what it says isn't taken, others go on, and nothing of it is left.

use tests::{Initramfs, Machine, Setup, test_module};

/// The real-time clock, which the driver takes from `arm-pl031`.
const DEVICE: &str = "/pl031@9010000";

fn boot() -> Machine {
    let archive = Initramfs::shipped()
        .with_module("test-liar", test_module("test-liar"))
        .with_claims("arm,pl031 test-liar\nlockstep,test-liar test-liar\n");
    let setup = Setup::virt("virt", "cortex-a72", "512M").initramfs(&archive).network_cards(1);
    let mut machine = setup.boot_arguments("log=off").boot();
    machine.wait_for_network();
    // Both claim it in the same words, and the other comes first in the index.
    assert_eq!(machine.row("lsdev", DEVICE)[2..], ["arm-pl031", "bound"]);
    assert_eq!(machine.command("rmmod arm-pl031"), "");
    machine
}

/// Has the driver lie; returns what it, or somebody about it, has logged, once that contains `expected`.
fn lie(machine: &mut Machine, about: &str, expected: &str) -> String {
    assert_eq!(machine.command(&format!("insmod test-liar lie={about}")), "");
    assert_eq!(machine.row("lsdev", DEVICE)[2..], ["test-liar", "bound"]);
    machine.command_until("dmesg", |log| log.contains(expected))
}

fn remove(machine: &mut Machine) {
    assert_eq!(machine.command("rmmod test-liar"), "");
    let rows = machine.table("lsdev");
    assert!(rows.iter().all(|row| !row[0].starts_with(&format!("{DEVICE}/"))), "{rows:?}");
}

#[test]
fn what_a_driver_says_of_its_device_is_taken_only_if_it_can_be() {
    let mut machine = boot();
    let expected = "pl031@9010000, can't be used: the device misbehaved: its driver says that its blocks have 1073741824 bytes, \
                    a power of two from 512 to 65536 is expected";
    lie(&mut machine, "block", expected);
    assert!(machine.table("lsblk").iter().all(|row| row.last().is_none_or(|device| device != DEVICE)));
    remove(&mut machine);

    let expected = format!(
        "{DEVICE} can't be used: the device misbehaved: its driver says that frames carry {} bytes, at most 65535 are expected",
        usize::MAX
    );
    lie(&mut machine, "network", &expected);
    machine.expect(&machine.shown(), "eth0");
    remove(&mut machine);

    lie(&mut machine, "gpio", "");
    let answer = machine.command("gpio");
    machine.expect(&answer, "its driver says that it has 4294967295 pins, at most 1024 are expected");
    remove(&mut machine);

    // Each record that it shows makes another.
    lie(&mut machine, "chatter", "it shows something");
    remove(&mut machine);

    // What it says by the way can't do harm either.
    lie(&mut machine, "none", "");
    assert_eq!(machine.row("gpio", "0")[1], "a\\r\\nb");
    remove(&mut machine);

    machine.wait_for_network();
    let log = machine.command("dmesg");
    assert!(!log.contains("panicked") && !log.contains("started again"), "{log}");
}

#[test]
fn what_a_bus_driver_finds_has_a_short_name_and_an_end() {
    let mut machine = boot();
    let log = lie(&mut machine, "names", "no slash is expected");
    machine.expect(
        &log,
        "a device behind it is left out: the module names a device with 131072 bytes, 1 to 64 are expected",
    );
    machine.expect(&log, "the module names a device `\\u{1b}[2J\\r\\n`, printable ASCII is expected");
    machine.expect(&log, "the module names a compatible device with 131072 bytes");
    let children = |machine: &mut Machine| {
        let rows = machine.table("lsdev").into_iter();
        let names = rows.filter_map(|row| row[0].strip_prefix(&format!("{DEVICE}/")).map(ToOwned::to_owned));
        names.collect::<Vec<_>>()
    };
    assert_eq!(children(&mut machine), ["good"]);
    remove(&mut machine);

    lie(&mut machine, "depth", "8 buses deep; they are left out");
    let names: Vec<String> = (1..8).map(|depth| vec!["again"; depth].join("/")).collect();
    assert_eq!(children(&mut machine), names);
    remove(&mut machine);

    lie(&mut machine, "number", "module test-liar has 256 devices behind its buses; the others are left out");
    assert_eq!(children(&mut machine).len(), 256);
    remove(&mut machine);
    // What is gone stays so, also for others who would claim it.
    assert_eq!(machine.command("insmod arm-pl031"), "");
    assert_eq!(children(&mut machine).len(), 0);
}

#[test]
fn what_a_driver_asks_the_kernel_for_has_a_limit() {
    let mut machine = boot();
    let log = lie(&mut machine, "thread", "with 1048576 bytes");
    machine.expect(&log, "test-liar: the module names a thread with 0 bytes, 1 to 64 are expected");
    machine.expect(&log, "test-liar: the module names a thread `\\u{1b}[2J`, printable ASCII is expected");
    remove(&mut machine);

    lie(&mut machine, "events", "1024 events, then the module has 1024 events, and may not have more");
    // There are some for others.
    assert_eq!(machine.command("rmmod virtio-net"), "");
    assert_eq!(machine.command("insmod virtio-net"), "");
    remove(&mut machine);
    lie(&mut machine, "events", "1024 events, then");
    remove(&mut machine);

    let kernel_heap = |machine: &mut Machine| machine.row("free", "Heap:")[2].parse::<u64>().expect("a number of KiB");
    let before = kernel_heap(&mut machine);
    lie(&mut machine, "watch", "");
    remove(&mut machine);
    let after = kernel_heap(&mut machine);
    assert!(after < before + 256, "{before} KiB of heap became {after}");
}

#[test]
fn insmod_says_why_a_driver_refuses_its_device() {
    let mut machine = boot();
    for _ in 0..2 {
        let answer = machine.command("insmod test-liar lie=probe");
        assert_eq!(
            answer,
            format!("insmod: {DEVICE}: module test-liar: the device misbehaved: it is \\u{{1b}}[31mred")
        );
        assert!(machine.table("lsmod").iter().all(|row| row[0] != "test-liar"));
        assert_eq!(machine.row("lsdev", DEVICE)[2], "test-liar");
    }
    assert_eq!(machine.command("insmod arm-pl031"), "");
    assert_eq!(machine.row("lsdev", DEVICE)[2..], ["arm-pl031", "bound"]);
}
