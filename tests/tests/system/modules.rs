//! Taking modules out of the running system and putting them back.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::{Initramfs, Machine, Setup, test_module};

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
        (
            "rmmod arm-gic",
            "rmmod: module arm-gic is needed by /pl011@9000000 (module arm-pl011), \
             /virtio_mmio@a003e00/device1 (module virtio-net)",
        ),
        (
            "rmmod virtio-mmio",
            "rmmod: module virtio-mmio is needed by /virtio_mmio@a003e00/device1 (module virtio-net)",
        ),
        ("rmmod virtio", "rmmod: module virtio is needed by module virtio-net"),
        // Force stops modules, and not the kernel or the last way to talk to it.
        ("rmmod --force arm-gic", "rmmod: /intc@8000000 serves the kernel itself"),
        ("rmmod --force arm-pl011", "rmmod: the only console would be gone"),
        ("rmmod --force shell", "rmmod: the shell can't remove itself"),
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
fn what_needs_a_module_can_be_stopped_first() {
    let mut machine = plain().network_cards(1).boot();
    machine.wait_for_network();
    assert_eq!(machine.command("rmmod --force virtio-mmio"), "");
    machine.command_until("ip", str::is_empty);
    // The card's own module has lost its device, and stays for the next.
    assert_eq!(machine.row("lsmod", "virtio-net").len(), 3);
    assert_eq!(machine.command("insmod virtio-mmio"), "");
    machine.wait_for_network();
    assert_eq!(machine.command("rmmod --force virtio"), "");
    assert!(machine.table("lsmod").iter().all(|row| !["virtio", "virtio-net"].contains(&row[0].as_str())));
    assert_eq!(machine.command("insmod virtio-net"), "");
    machine.wait_for_network();
}

#[test]
fn parameters() {
    let mut machine = plain().network_cards(1).boot_arguments("virtio_net.mtu=1400").boot();
    let interface = machine.wait_for_network();
    machine.expect(&interface, "mtu 1400");
    let information = machine.command("modinfo virtio-net");
    machine.expect(&information, "mtu: Upper limit for the longest packet, in bytes");
    machine.expect(&information, "(u16 in 68..=65535, default 65535)");
    for (line, reason) in [
        ("rmmod virtio-net", ""),
        ("insmod virtio-net mtu=14OO", "parameter mtu is \"14OO\", expected a whole number from 68 to 65535"),
        ("insmod virtio-net mtu=67", "parameter mtu is \"67\", expected a whole number from 68 to 65535"),
        ("insmod virtio-net mtu", "parameter mtu is \"\", expected a whole number from 68 to 65535"),
        ("insmod virtio-net mtus=1400", "it has no parameter mtus, only mtu"),
        ("rmmod arm-pl031", ""),
        ("insmod arm-pl031 mtu=1400", "it has no parameter mtu, nor any other"),
    ] {
        let name = line.split(' ').nth(1).expect("a module");
        let answer = if reason.is_empty() { String::new() } else { format!("insmod: modules/{name}.o: {reason}") };
        assert_eq!(machine.command(line), answer);
    }
    // Linux's tools don't tell dashes from underscores.
    assert_eq!(machine.command("insmod virtio_net"), "");
    let interface = machine.wait_for_network();
    machine.expect(&interface, "mtu 1400");
    assert_eq!(machine.command("rmmod virtio_net"), "");
    // What insmod says goes before what bootargs say.
    assert_eq!(machine.command("insmod virtio-net mtu=0x514"), "");
    let interface = machine.wait_for_network();
    machine.expect(&interface, "mtu 1300");

    let mut machine = plain().network_cards(1).boot_arguments("virtio-net.mtu=much net.speed=9").boot();
    let log = machine.command("dmesg");
    machine.expect(&log, "bootargs: module net has no parameter speed");
    assert_eq!(machine.row("lsmod", "net").len(), 4);
    let device = machine.row("lsdev", "/virtio_mmio@a003e00/device1");
    machine.expect(&device[3], "parameter mtu is \"much\", expected a whole number from 68 to 65535");
}

/// A name that is there as it is written means that module, also beside one that differs by a dash.
#[test]
fn names_that_differ_by_a_dash() {
    let shipped = Initramfs::shipped();
    let clock = shipped.module("arm-pl031").to_owned();
    let mut machine = plain().initramfs(&shipped.with_module("arm_pl031", clock)).boot();
    assert_eq!(machine.command("insmod arm_pl031"), "");
    assert_eq!(machine.row("lsmod", "arm_pl031").len(), 3);
    assert_eq!(machine.command("rmmod arm_pl031"), "");
    assert_eq!(machine.row("lsmod", "arm-pl031").len(), 4);
}

/// What loading took is told in full on demand.
#[test]
fn load_reports() {
    let mut machine = plain().network_cards(1).boot_arguments("log=debug").start();
    let shown = machine.wait_for(tests::READY);
    for module in ["arm-gic", "virtio-net", "net", "shell"] {
        machine.expect(&shown, &format!("{module}: "));
    }
    machine.expect(&shown, " bytes of text, ");

    let mut machine = plain().network_cards(1).boot();
    let modules = machine.table("lsmod").len();
    assert_eq!(machine.table("modinfo -v").len(), modules);
    let card = machine.row("modinfo -v", "virtio-net");
    let numbers: Vec<u64> = card[1..9].iter().map(|cell| cell.parse().expect("a number")).collect();
    assert!(numbers.iter().all(|number| *number > 0), "{card:?}");
    for step in ["verify ", "parse ", "check ", "dependencies ", "place ", "link ", "seal ", "start "] {
        machine.expect(&card[9], step);
    }
    let output = machine.command("modinfo -v virtio-net");
    machine.expect(&output, "us in all");
}

/// Instructions that trigger a fault of some processors are replaced there, and compute the same.
#[test]
fn erratum_843419() {
    // QEMU's Cortex-A53 says that it was mended; of a second one, which isn't started, the tree doesn't say so.
    for (processor, count, fixes) in [("cortex-a53", "2", "2"), ("cortex-a53", "1", "0"), ("cortex-a72", "2", "0")] {
        let archive = Initramfs::shipped().with_module("test-erratum", test_module("test-erratum"));
        let setup = Setup::virt("virt", processor, "512M").argument("-smp", count);
        let mut machine = setup.initramfs(&archive).boot();
        assert_eq!(machine.command("insmod test-erratum"), "");
        assert_eq!(machine.row("modinfo -v test-erratum", "erratum fixes"), ["erratum fixes", fixes]);
    }
}

/// Ten thousand rounds leave the free memory where it was.
#[test]
fn ten_thousand_rounds() {
    let archive = Initramfs::shipped().with_module("test-rounds", test_module("test-rounds"));
    let mut machine = plain().initramfs(&archive).boot();
    machine.type_in("insmod test-rounds module=arm-pl031 rounds=10000\r");
    machine.wait_for("10000 rounds of arm-pl031: free +0, heap +0, modules +0, DMA +0");
}

/// A card goes and comes back in the middle of things, and nothing is lost but time.
#[test]
fn rounds_under_traffic() {
    let archive = Initramfs::shipped().with_module("test-rounds", test_module("test-rounds"));
    let mut machine = plain().initramfs(&archive).reachable_network_card().boot();
    machine.wait_for_network();
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = {
        let (stop, port) = (stop.clone(), machine.ports()[0]);
        std::thread::spawn(move || flood(port, &stop))
    };
    machine.type_in("insmod test-rounds module=virtio-net rounds=200 pause=20\r");
    machine.wait_for("200 rounds of virtio-net: free ");
    stop.store(true, Ordering::Relaxed);
    let answered = traffic.join().expect("the traffic's thread is well");
    assert!(answered > 0, "no datagram came back in all that time");
    let before = machine.row("free", "DMA:");
    machine.wait_for_network();
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
    assert_eq!(machine.row("free", "DMA:"), before);
}

/// Sends datagrams to the echo service as fast as it answers, or every few milliseconds; returns how many came back.
fn flood(port: u16, stop: &AtomicBool) -> usize {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a timeout");
    let mut answered = 0;
    let mut buffer = [0; 1024];
    while !stop.load(Ordering::Relaxed) {
        // While nobody listens the host may say so.
        let _ = socket.send_to(&[0x55; 1000], (Ipv4Addr::LOCALHOST, port));
        answered += usize::from(socket.recv(&mut buffer).is_ok());
    }
    answered
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
    // The heap may have some slabs more; a page that is lost in each round would show.
    assert!(after[0] <= before[0] + 64 && after[1] == before[1], "{before:?} KiB were used, and {after:?} are");
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
