//! Device trees with something wrong, and drivers that fail on theirs: the rest comes up, and the log and `lsdev` say
//! what happened.

use tests::{DeviceTree, Initramfs, Machine, PROMPT, READY, Setup, test_module};

use crate::plain;

/// Boots with a tree of our own.
fn with_tree(setup: Setup, tree: &DeviceTree) -> Machine {
    const MIB: u64 = 1 << 20;
    let start = 0x4000_0000;
    setup.placed(start + 16 * MIB, (start + 8 * MIB, tree), start + 64 * MIB).start()
}

fn tree() -> DeviceTree {
    DeviceTree::virt("cortex-a72", "512M")
}

#[test]
fn damage_inside_a_node() {
    let tree = tree().damaged(|bytes| {
        // The token of the first property of the clock: a name follows FDT_BEGIN_NODE, then FDT_PROP.
        let name = b"pl031@9010000\0\0\0\0\0\0\x03";
        let position = bytes.windows(name.len()).position(|window| window == name).expect("there is a clock");
        bytes[position + name.len() - 1] = 0x77;
    });
    let mut machine = with_tree(plain().network_cards(1), &tree);
    let shown = machine.wait_for(READY);
    machine.wait_for(PROMPT);
    let sentence = "the device tree is damaged in /pl031@9010000, at offset ";
    machine.expect(&shown, sentence);
    let log = machine.command("dmesg");
    machine.expect(&log, sentence);
    machine.wait_for_network();
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
}

#[test]
fn nodes_whose_properties_make_no_sense() {
    let tree = tree().with(
        "/ {
            no-controller { compatible = \"arm,pl031\"; reg = <0 0xa100000 0 0x1000>; interrupts = <0 2 4>; interrupt-parent = <0x7777>; };
            short-register { compatible = \"arm,pl031\"; reg = <0 0xa200000 0>; };
            no-registers { compatible = \"arm,pl031\"; };
            same-registers { compatible = \"arm,pl031\"; reg = <0 0x9010000 0 0x1000>; };
            nobodys { compatible = \"lockstep,nobodys\", \"lockstep,really-nobodys\"; };
            off { compatible = \"arm,pl031\"; reg = <0 0xa300000 0 0x1000>; status = \"disabled\"; };
        };",
    );
    let mut machine = with_tree(plain(), &tree);
    machine.wait_for_shell();
    for (node, state) in [
        ("/no-controller", "'interrupt-parent' of /no-controller should point to a node, found phandle 0x7777"),
        ("/short-register", "'reg' of /short-register should be"),
        ("/no-registers", "failed: module arm-pl031: the node has no registers number 0"),
        ("/nobodys", "unclaimed: no module claims it"),
        ("/off", "disabled: its status is \"disabled\""),
    ] {
        let device = machine.row("lsdev", node);
        machine.expect(&device[3], state);
    }
    // Of two nodes with the same registers one gets them, and the other says who has them.
    let states = ["/pl031@9010000", "/same-registers"].map(|node| machine.row("lsdev", node)[3].clone());
    assert_eq!(states.iter().filter(|state| *state == "bound").count(), 1, "{states:?}");
    machine.expect(&states.concat(), "are taken by");
}

#[test]
fn a_driver_that_panics_in_probe() {
    let initramfs = Initramfs::shipped()
        .with_module("test-panic", test_module("test-panic"))
        .with_claims("lockstep,test-panic test-panic\n");
    // Two nodes with the resources of the clock: the second can only get as far as the first if the first has lost
    // everything again. Then the clock itself takes them.
    let panicking = |name: &str| {
        format!(
            "{name} {{ compatible = \"lockstep,test-panic\"; reg = <0 0x9010000 0 0x1000>; interrupts = <0 2 4>; }};"
        )
    };
    let clock = "clock { compatible = \"arm,pl031\"; reg = <0 0x9010000 0 0x1000>; interrupts = <0 2 4>; };";
    let nodes = format!(
        "/ {{ pl031@9010000 {{ status = \"disabled\"; }}; {} {} {clock} }};",
        panicking("first"),
        panicking("second")
    );
    let mut machine = with_tree(plain().network_cards(1).initramfs(&initramfs), &tree().with(&nodes));
    let shown = machine.wait_for(READY);
    machine.wait_for(PROMPT);
    let log = machine.command("dmesg");
    for node in ["/first", "/second"] {
        let message = format!("the module panicked: the driver of {node} was told to panic");
        machine.expect(&shown, &message);
        machine.expect(&log, &format!("{node}: module test-panic: {message}"));
        let device = machine.row("lsdev", node);
        machine.expect(&device[3], &format!("failed: module test-panic: {message}"));
    }
    assert_eq!(machine.row("lsdev", "/clock")[2..], ["arm-pl031", "bound"]);
    let date = machine.command("date");
    machine.expect(&date, "Z");

    machine.wait_for_network();
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
    // It can be loaded again, with the same result, and nothing is lost on the way.
    let mut again = || {
        machine.command("rmmod test-panic");
        machine.command("insmod test-panic");
        machine.row("free", "Mem:")[2].parse::<u64>().expect("a number of KiB")
    };
    let before = again();
    let after = (0..10).map(|_| again()).min().unwrap_or(u64::MAX);
    // The heap may have two slabs more; a page that is lost each time would show.
    assert!(after <= before + 32, "{before} KiB were used, and {after} are");
}

#[test]
fn a_driver_that_leaves_threads_behind() {
    let initramfs = Initramfs::shipped()
        .with_module("test-threads", test_module("test-threads"))
        .with_claims("lockstep,test-threads test-threads\n");
    let nodes = "/ { fails { compatible = \"lockstep,test-threads\"; fail; }; \
                 works { compatible = \"lockstep,test-threads\"; }; };";
    let mut machine = with_tree(plain().initramfs(&initramfs), &tree().with(nodes));
    machine.wait_for(READY);
    machine.wait_for(PROMPT);
    let device = machine.row("lsdev", "/fails");
    machine.expect(&device[3], "failed: module test-threads: the device misbehaved: it was told to fail");
    // The module's code goes away with its last thread, and not before.
    let mut rounds = || {
        assert_eq!(machine.command("rmmod test-threads"), "");
        assert_eq!(machine.row("lsdev", "/works")[3], "released: its module was removed");
        let answer = machine.command("insmod test-threads");
        machine.expect(&answer, "insmod: /fails: module test-threads: the device misbehaved: it was told to fail");
        // It is of use to the other.
        assert_eq!(machine.row("lsdev", "/works")[2..], ["test-threads", "bound"]);
        machine.row("free", "Mem:")
    };
    rounds();
    let before = rounds();
    for _ in 0..5 {
        assert_eq!(rounds(), before);
    }
}

#[test]
fn memory_that_is_listed_twice() {
    let nodes = "/ { ram@40000000 { device_type = \"memory\"; reg = <0 0x40000000 0 0x20000000>; }; \
                 ram@70000001 { device_type = \"memory\"; reg = <0 0x70000001 0 1>; }; };";
    let mut machine = with_tree(plain().network_cards(1), &tree().with(nodes));
    let shown = machine.wait_for(READY);
    machine.expect(&shown, "512 MiB of memory");
    machine.wait_for(PROMPT);
    machine.wait_for_network();
}

#[test]
fn no_timer() {
    let tree = tree().with("/ { /delete-node/ timer; };");
    let mut machine = with_tree(plain().network_cards(1), &tree);
    let shown = machine.wait_for(READY);
    machine.expect(&shown, "the tree has no timer whose interrupt can be had");
    machine.wait_for(PROMPT);
    machine.wait_for_network();
    let output = machine.command("ping 10.0.2.99 -c 1");
    machine.expect(&output, "0 received");
}

#[test]
fn the_archive_must_not_be_mapped() {
    let nodes = "/ { reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; \
                 hole@44000000 { reg = <0 0x44000000 0 0x10000>; no-map; }; }; };";
    let mut machine = with_tree(plain().network_cards(1), &tree().with(nodes));
    machine.wait_for(READY);
    machine.wait_for(PROMPT);
    machine.wait_for_network();
}

#[test]
fn registers_in_memory() {
    let nodes = "/ { pl031@9010000 { reg = <0 0x50000000 0 0x1000>; }; };";
    let mut machine = with_tree(plain().network_cards(1), &tree().with(nodes));
    machine.wait_for(READY);
    machine.wait_for(PROMPT);
    let device = machine.row("lsdev", "/pl031@9010000");
    machine.expect(&device[3], "registers 0 of the node, at 0x50000000..0x50001000, lie in memory");
}
