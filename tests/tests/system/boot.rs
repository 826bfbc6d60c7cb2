//! Every machine that the system has to come up on: interrupt controllers, exception levels, amounts of memory,
//! processors, network cards, places in memory, boards. "Up" means that the first round of binding settles with the
//! right number of modules and devices, that the shell answers, and that the network, where there is one, works.

use tests::{DeviceTree, Machine, Setup};

/// Modules of the archive that every `virt` loads: interrupt controller, console, clock, power control, the bus of
/// virtio devices, the IP stack, the shell.
const MODULES: u32 = 7;

/// Devices that every `virt` has a driver for: interrupt controller, console, clock, power control.
const DEVICES: u32 = 4;

/// Boots and checks that everything is there that `cards` network cards ask for.
fn comes_up(setup: Setup, cards: u32) -> Machine {
    let mut machine = setup.start();
    let counts = machine.wait_for_shell();
    // A card is a device on a transport, which is a device as well. Its module takes a library.
    let expected = (MODULES + 2 * cards.min(1), DEVICES + 2 * cards);
    if counts != expected {
        machine.fail(&format!("expected {expected:?} modules and devices, found {counts:?}"));
    }
    if cards > 0 {
        machine.command_until("ip", |output| output.matches("inet 10.0.2.15/24").count() == cards as usize);
        let output = machine.command("ping 10.0.2.2 -c 1");
        machine.expect(&output, "1 packets transmitted, 1 received, 0% packet loss");
    }
    machine
}

fn virt(board: &str, processor: &str, memory: &str) -> Setup {
    Setup::virt(board, processor, memory).network_cards(1)
}

#[test]
fn gic_version_3() {
    let mut machine = comes_up(virt("virt,gic-version=3", "cortex-a72", "512M"), 1);
    assert_eq!(machine.row("lsdev", "/intc@8000000"), ["/intc@8000000", "arm,gic-v3", "arm-gic", "bound"]);
}

#[test]
fn entered_at_el2() {
    comes_up(virt("virt,virtualization=on", "cortex-a72", "512M"), 1);
}

#[test]
fn entered_at_el2_with_gic_version_3() {
    comes_up(virt("virt,virtualization=on,gic-version=3", "cortex-a72", "512M"), 1);
}

#[test]
fn cortex_a53_with_128_mib() {
    let mut machine = comes_up(virt("virt", "cortex-a53", "128M"), 1);
    assert_eq!(machine.row("free", "Mem:")[1], "131072");
}

/// As [`virt`], for hosts that have less memory: the guest touches little of it.
fn roomy(processor: &str, memory: &str) -> Setup {
    let backend = format!("memory-backend-ram,id=memory,size={memory},reserve=off");
    virt("virt,memory-backend=memory", processor, memory).argument("-object", &backend)
}

#[test]
fn cortex_a76_with_8_gib() {
    let mut machine = comes_up(roomy("cortex-a76", "8G"), 1);
    assert_eq!(machine.row("free", "Mem:")[1], "8388608");
}

#[test]
fn all_that_processors_can_have() {
    comes_up(virt("virt,gic-version=3,virtualization=on", "max", "512M"), 1);
    comes_up(virt("virt", "max", "512M"), 1);
}

#[test]
fn no_network_card() {
    let mut machine = comes_up(Setup::virt("virt", "cortex-a72", "512M"), 0);
    assert_eq!(machine.command("ip"), "");
    assert_eq!(
        machine.command("ping 10.0.2.2"),
        "PING 10.0.2.2: 56 data bytes\nping: no interface has a route to 10.0.2.2"
    );
}

#[test]
fn three_network_cards() {
    let mut machine = comes_up(Setup::virt("virt", "cortex-a72", "512M").network_cards(3), 3);
    let interfaces = machine.command("ip");
    for name in ["1: eth0: ", "2: eth1: ", "3: eth2: "] {
        machine.expect(&interfaces, name);
    }
}

#[test]
fn modern_virtio() {
    let modern = |setup: Setup| setup.argument("-global", "virtio-mmio.force-legacy=false");
    comes_up(modern(virt("virt", "cortex-a72", "512M")), 1);
    comes_up(modern(Setup::virt("virt,gic-version=3", "max", "512M").network_cards(3)), 3);
}

#[test]
fn a_kernel_at_other_places() {
    const MIB: u64 = 1 << 20;
    let start = 0x4000_0000;
    for (memory, kernel, device_tree, initramfs) in [
        // Behind everything else, close to the end of memory.
        ("512M", start + 506 * MIB, start + 16 * MIB, start + 64 * MIB),
        // The device tree crosses a boundary of 2 MiB; the archive begins on no page.
        ("512M", start + 130 * MIB, start + 128 * MIB - 4096, start + 300 * MIB + 260),
        // Beyond what 32 bits can address.
        ("6G", start + 5 * 1024 * MIB, start + 4 * 1024 * MIB, start + 4200 * MIB),
    ] {
        let tree = DeviceTree::virt("cortex-a72", memory);
        let mut machine = comes_up(roomy("cortex-a72", memory).placed(kernel, (device_tree, &tree), initramfs), 1);
        let log = machine.command("dmesg");
        machine.expect(&log, &format!("kernel at {kernel:#x}"));
    }
}
