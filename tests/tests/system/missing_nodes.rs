//! A Raspberry Pi 4 whose tree lacks nodes: the rest works, and what is missing is told.

use tests::{DeviceTree, Machine, READY, Setup};

use crate::raspberry_pi::PI_4;

/// What QEMU has a device for, the module that drives it, and the nodes without which that can't.
const DRIVEN: [(&str, &str, &[&str]); 9] = [
    ("/soc/interrupt-controller@40041000", "arm-gic", &[]),
    ("/soc/serial@7e215040", "bcm2835-aux-uart", &[]),
    ("/soc/serial@7e201000", "arm-pl011", &[]),
    ("/soc/timer@7e003000", "bcm2835-system-timer", &[]),
    ("/soc/mailbox@7e00b880", "bcm2835-mbox", &[]),
    ("/soc/firmware", "raspberrypi-firmware", &["/soc/mailbox@7e00b880"]),
    ("/soc/gpio@7e200000", "bcm2711-gpio", &[]),
    ("/soc/watchdog@7e100000", "bcm2835-pm", &[]),
    ("/leds", "gpio-leds", &["/soc/gpio@7e200000"]),
];

/// Without these there is no shell that could be asked, and no LED that is driven.
const NEEDED: [&str; 8] = [
    "/",
    "/soc",
    "/soc/interrupt-controller@40041000",
    "/soc/serial@7e215040",
    "/aliases",
    "/chosen",
    "/memory@0",
    "/leds/led-act",
];

fn boot(tree: &DeviceTree) -> Machine {
    Setup::raspberry_pi("raspi4b").device_tree(tree).boot()
}

#[test]
fn with_half_of_the_nodes_missing_the_others_are_driven() {
    let tree = DeviceTree::of_firmware(PI_4);
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut missing: Vec<String> = Vec::new();
        for path in tree.nodes() {
            let is_gone = missing.iter().any(|other| path.starts_with(&format!("{other}/")));
            if !is_gone && !NEEDED.contains(&path.as_str()) && random.bool() {
                missing.push(path);
            }
        }
        let missing: Vec<_> = missing.iter().map(String::as_str).collect();
        let tree = tree.clone().without(&missing);
        let left = tree.nodes();
        let mut machine = boot(&tree);
        let (devices, log) = (machine.table("lsdev"), machine.command("dmesg"));
        for (node, module, needs) in DRIVEN {
            let row = devices.iter().find(|row| row[0] == node);
            let is_left = |path: &str| left.iter().any(|node| node == path);
            match row {
                None => assert!(!is_left(node), "seed {seed}: {node}"),
                Some(row) if needs.iter().all(|path| is_left(path)) => {
                    assert_eq!(row[2..], [module, "bound"], "seed {seed}: {node}");
                }
                Some(row) => {
                    assert_ne!(row[3], "bound", "seed {seed}: {node}");
                    machine.expect(&log, &format!(" {node}: "));
                }
            }
        }
        assert!(!log.contains("panic"), "seed {seed}: {log}");
    }
}

#[test]
fn what_is_missing_is_told_by_who_needs_it() {
    for (path, sentences) in [
        (
            "/soc/mailbox@7e00b880",
            [
                "/soc/firmware: module raspberrypi-firmware: 'mboxes' of /soc/firmware should point to a node",
                "/soc/mmc@7e300000: it waits for firmware, which nobody provides",
            ],
        ),
        (
            "/soc/gpio@7e200000",
            [
                "/soc/serial@7e215040: its pins stay as they are: 'pinctrl-0' of /soc/serial@7e215040 should point to a node",
                "/leds: it waits for /soc/firmware/gpio, which nobody provides",
            ],
        ),
        ("/timer", ["the tree has no timer whose interrupt can be had: waits poll the counter", " 4 processors\n"]),
        ("/cpus", ["raspberrypi-firmware: board revision ", "lockstep: ready "]),
    ] {
        let mut machine = boot(&DeviceTree::of_firmware(PI_4).without(&[path]));
        let log = machine.command("dmesg");
        sentences.iter().for_each(|sentence| machine.expect(&log, sentence));
    }
}

#[test]
fn without_an_interrupt_controller_the_early_console_says_so() {
    let tree = DeviceTree::of_firmware(PI_4).without(&["/soc/interrupt-controller@40041000"]);
    let mut machine = Setup::raspberry_pi("raspi4b").device_tree(&tree).start();
    let log = machine.wait_for(READY);
    machine.expect(&log, "/soc/serial@7e215040: 'interrupt-parent' of / should point to a node");
    machine.expect(&log, "there is no interrupt controller that could signal it");
}
