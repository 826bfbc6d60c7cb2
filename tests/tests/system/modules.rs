//! Taking modules out of the running system and putting them back.

use std::time::Duration;

use tests::Machine;

use crate::plain;

/// Rounds of removing and loading a module again.
const ROUNDS: usize = 20;

#[test]
fn the_network_card_goes_and_comes_back() {
    let mut machine = plain().network_cards(1).boot();
    machine.wait_for_network();
    assert_eq!(machine.command("rmmod virtio-net"), "");
    machine.command_until("ip", str::is_empty);
    let output = machine.command("ping 10.0.2.2");
    machine.expect(&output, "no interface has a route to 10.0.2.2");
    assert!(machine.table("lsmod").iter().all(|row| row[0] != "virtio-net"));
    let device = machine.row("lsdev", "/virtio_mmio@a003e00/device1");
    assert_ne!(device[3], "bound");

    assert_eq!(machine.command("insmod virtio-net"), "");
    let interface = machine.wait_for_network();
    machine.expect(&interface, "inet 10.0.2.15/24 scope global dynamic eth0");
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
    let device = machine.row("lsdev", "/virtio_mmio@a003e00/device1");
    assert_eq!(device[2..], ["virtio-net", "bound"]);
}

#[test]
fn the_clock_goes_and_comes_back() {
    let mut machine = plain().boot();
    assert_eq!(machine.command("rmmod arm-pl031"), "");
    assert_eq!(machine.command("date"), "date: the machine has no clock that knows the date");
    let device = machine.row("lsdev", "/pl031@9010000");
    machine.expect(&device[3], "removed");
    assert_eq!(machine.command("insmod arm-pl031"), "");
    assert_eq!(machine.row("lsdev", "/pl031@9010000")[2..], ["arm-pl031", "bound"]);
    let date = machine.command("date");
    machine.expect(&date, "Z");
}

#[test]
fn the_ip_stack_goes_and_comes_back() {
    let mut machine = plain().network_cards(1).boot();
    machine.wait_for_network();
    assert_eq!(machine.command("rmmod net"), "");
    assert_eq!(machine.command("ip"), "ip: there is no IP stack; the module net provides one");
    assert_eq!(machine.command("insmod net"), "");
    machine.wait_for_network();
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
}

#[test]
fn what_others_need_stays() {
    let mut machine = plain().network_cards(1).boot();
    for (line, answer) in [
        ("rmmod arm-gic", "rmmod: interrupt controller /intc@8000000 is in use"),
        ("rmmod virtio-mmio", "rmmod: bus /virtio_mmio@a003e00 leads to /virtio_mmio@a003e00/device1, which is in use"),
    ] {
        assert_eq!(machine.command(line), answer);
    }
    // In the right order it works, and everything comes back.
    assert_eq!(machine.command("rmmod virtio-net"), "");
    assert_eq!(machine.command("rmmod virtio-mmio"), "");
    assert_eq!(machine.command("insmod virtio-mmio"), "");
    machine.wait_for_network();
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
}

#[test]
fn no_memory_is_lost() {
    let mut machine = plain().network_cards(1).boot();
    // The first round may leave something that every later one finds: a log entry, a larger table.
    round(&mut machine);
    let before = memory(&mut machine);
    for _ in 0..ROUNDS {
        round(&mut machine);
    }
    let after = memory(&mut machine);
    assert_eq!(before, after, "KiB that are used in all and by modules");
}

/// Removes what can be removed and loads it again.
fn round(machine: &mut Machine) {
    for module in ["virtio-net", "arm-pl031"] {
        assert_eq!(machine.command(&format!("rmmod {module}")), "");
        assert_eq!(machine.command(&format!("insmod {module}")), "");
    }
    machine.wait_for_network();
}

/// KiB that are used in all, and by modules, once threads that were told to end have done so.
fn memory(machine: &mut Machine) -> [u64; 2] {
    let mut readings = Vec::new();
    while readings.len() < 3 {
        let mut used = |row| machine.row("free", row)[2].parse::<u64>().expect("a number of KiB");
        let reading = [used("Mem:"), used("Modules:")];
        if readings.last() != Some(&reading) {
            readings.clear();
        }
        readings.push(reading);
        std::thread::sleep(Duration::from_millis(100));
    }
    readings[0]
}
