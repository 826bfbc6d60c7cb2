//! The trees of real machines: what is read is what libfdt reads, and what it means is what the machines are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{fdtget, find, interrupts, qemu, raspberry_pi_4, registers, virt};
use devicetree::{Range, Tree};

/// Compares every node, property and value with what fdtget(1) gives.
fn compare_with_libfdt(blob: &[u8]) {
    let tree = Tree::parse(blob).unwrap();
    let mut questions = Vec::new();
    let mut answers = Vec::new();
    for node in tree.nodes() {
        assert_eq!(node.damage(), None);
        let path = node.path();
        let children: Vec<_> = node.children().map(|child| child.name().to_string()).collect();
        assert_eq!(fdtget(blob, &["-l"], &[&path]), children, "children of {path}");
        let properties: Vec<_> = node.properties().map(|(name, _)| name.to_string()).collect();
        assert_eq!(fdtget(blob, &["-p"], &[&path]), properties, "properties of {path}");
        assert_eq!(tree.find(&path), Some(node));
        for (name, value) in node.properties().filter(|(_, value)| !value.is_empty()) {
            questions.extend([path.clone(), name.to_string()]);
            let bytes: Vec<_> = value.iter().map(|byte| format!("{byte:x}")).collect();
            answers.push(bytes.join(" "));
        }
    }
    let questions: Vec<_> = questions.iter().map(String::as_str).collect();
    assert_eq!(fdtget(blob, &["-t", "bx"], &questions), answers);
}

#[test]
fn virt_is_read_as_libfdt_reads_it() {
    compare_with_libfdt(&virt());
    compare_with_libfdt(&qemu("virt,gic-version=3,virtualization=on", &["-smp", "2", "-nic", "none"]));
}

#[test]
fn the_raspberry_pi_is_read_as_libfdt_reads_it() {
    let Some(blob) = raspberry_pi_4() else { return };
    compare_with_libfdt(&blob);
}

/// The crate `fdt` is a second witness, for both machines.
#[test]
fn nodes_are_those_of_the_crate_fdt() {
    for blob in [Some(virt()), raspberry_pi_4()].into_iter().flatten() {
        let tree = Tree::parse(&blob).unwrap();
        let other = fdt::Fdt::new_unaligned_fallible(&blob).unwrap();
        let mut others = other.all_nodes().unwrap();
        for node in tree.nodes().skip(1) {
            let (_, other) = others.next().unwrap().unwrap();
            assert_eq!(node.name(), other.name().unwrap().to_string());
            let properties = other.properties().unwrap().iter().map(|property| property.unwrap());
            assert!(node.properties().eq(properties.map(|property| (property.name, property.value))));
        }
        assert!(others.next().is_none());
    }
}

#[test]
fn virt_says_what_qemu_emulates() {
    let blob = virt();
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.memory(), [Ok(Range { address: 0x4000_0000, size: 512 << 20 })]);
    assert_eq!(tree.memory_reservations(), []);
    assert_eq!(tree.reserved_memory(), []);
    assert_eq!(tree.initial_ramdisk(), Ok(None));
    assert_eq!(tree.boot_arguments(), Ok(None));
    assert_eq!(tree.random_seed().unwrap().len(), 32);
    let console = tree.standard_output().unwrap().unwrap();
    assert_eq!((console.node.path().as_str(), console.options), ("/pl011@9000000", ""));

    let serial = console.node;
    assert!(serial.compatible().unwrap().eq(["arm,pl011", "arm,primecell"]));
    assert!(serial.is_enabled());
    assert_eq!(registers(&tree, "/pl011@9000000"), [(0x0900_0000, 0x1000)]);
    // Shared interrupt 1, high level.
    assert_eq!(interrupts(&tree, "/pl011"), [("/intc@8000000".to_string(), vec![0, 1, 4])]);
    assert_eq!(registers(&tree, "/intc"), [(0x0800_0000, 0x1_0000), (0x0801_0000, 0x1_0000)]);
    assert_eq!(interrupts(&tree, "/timer").len(), 4);

    let controller = find(&tree, "/intc");
    assert!(controller.is_interrupt_controller());
    assert_eq!(serial.interrupt_parent(), Ok(Some(controller)));
    assert_eq!(controller.interrupt_parent(), Ok(None));
    let clocks = serial.references("clocks", "#clock-cells").unwrap();
    assert_eq!(clocks.iter().map(|clock| clock.node.name()).collect::<Vec<_>>(), ["apb-pclk", "apb-pclk"]);

    let network_cards = tree.nodes().filter(|node| node.name().starts_with("virtio_mmio@"));
    for (number, node) in (0..32).zip(network_cards) {
        let address = 0x0a00_0000 + 0x200 * u64::from(number);
        assert_eq!(node.registers().unwrap(), [Range { address, size: 0x200 }]);
        assert_eq!(&*node.interrupts().unwrap()[0].specifier, [0, 16 + number, 1]);
        assert_eq!(node.dma_windows().unwrap()[0].size, u64::MAX);
    }
}

#[test]
fn virt_maps_pci_interrupts() {
    let blob = virt();
    let tree = Tree::parse(&blob).unwrap();
    let bridge = find(&tree, "/pcie");
    for device in 0..32 {
        for pin in 1..=4 {
            // PCI 2.2, 2.2.6: pins are rotated by the device number over four shared interrupts, from 3 on for virt.
            let expected = [0, 3 + (device + pin - 1) % 4, 4];
            let interrupt = bridge.map_interrupt(&[device << 11, 0, 0], &[pin]).unwrap();
            assert_eq!((interrupt.controller.name(), &*interrupt.specifier), ("intc@8000000", &expected[..]));
        }
    }
}

#[test]
fn virt_varies_with_its_options() {
    // QEMU passes on what it is given without looking into it.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let arguments =
        ["-nic", "none", "-m", "8G", "-smp", "4", "-kernel", file, "-initrd", file, "-append", "quiet panic=1"];
    let blob = qemu("virt,gic-version=3,virtualization=on", &arguments);
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.boot_arguments(), Ok(Some("quiet panic=1")));
    assert_eq!(tree.initial_ramdisk().unwrap().unwrap().size, std::fs::metadata(file).unwrap().len());
    assert_eq!(tree.memory(), [Ok(Range { address: 0x4000_0000, size: 8 << 30 })]);
    assert!(find(&tree, "/intc").compatible().unwrap().eq(["arm,gic-v3"]));
    assert_eq!(registers(&tree, "/intc"), [(0x0800_0000, 0x1_0000), (0x080a_0000, 0xf6_0000)]);
    // The maintenance interrupt of a controller goes to itself.
    assert_eq!(interrupts(&tree, "/intc"), [("/intc@8000000".to_string(), vec![1, 9, 4])]);
    let processors: Vec<_> = tree.processors().into_iter().map(Result::unwrap).collect();
    assert_eq!(processors.iter().map(|processor| processor.identifier).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(processors.iter().all(|processor| processor.enable_method == Some("psci")));
    assert_eq!(find(&tree, "/psci").string("method"), Ok(Some("smc")));
}

#[test]
fn the_raspberry_pi_is_itself() {
    let Some(blob) = raspberry_pi_4() else { return };
    let tree = Tree::parse(&blob).unwrap();
    assert!(tree.root().compatible().unwrap().eq(["raspberrypi,4-model-b", "brcm,bcm2711"]));
    // Firmware fills the memory in.
    assert_eq!(tree.memory(), []);
    assert_eq!(tree.memory_reservations(), [Ok(Range { address: 0, size: 0x1000 })]);
    let reserved: Vec<_> = tree.reserved_memory().into_iter().map(Result::unwrap).collect();
    let pool = reserved.iter().find(|reservation| reservation.node.name() == "linux,cma").unwrap();
    assert_eq!((pool.range, pool.no_map), (None, false));

    let processors: Vec<_> = tree.processors().into_iter().map(Result::unwrap).collect();
    let starts: Vec<_> =
        processors.iter().map(|one| (one.identifier, one.enable_method, one.release_address)).collect();
    let start = |number| (number, Some("spin-table"), Some(0xd8 + 8 * number));
    assert_eq!(starts, [start(0), start(1), start(2), start(3)]);

    let console = tree.standard_output().unwrap().unwrap();
    assert_eq!((console.node.path().as_str(), console.options), ("/soc/serial@7e215040", "115200n8"));

    let controller = "/soc/interrupt-controller@40041000";
    assert_eq!(registers(&tree, "/soc/serial@7e201000"), [(0xfe20_1000, 0x200)]);
    assert_eq!(interrupts(&tree, "/soc/serial@7e201000"), [(controller.to_string(), vec![0, 121, 4])]);
    assert_eq!(registers(&tree, controller)[..2], [(0xff84_1000, 0x1000), (0xff84_2000, 0x2000)]);
    assert_eq!(registers(&tree, "/scb/ethernet@7d580000"), [(0xfd58_0000, 0x1_0000)]);
    assert_eq!(
        interrupts(&tree, "/scb/ethernet@7d580000"),
        [(controller.to_string(), vec![0, 157, 4]), (controller.to_string(), vec![0, 158, 4])]
    );
    let bridge = find(&tree, "/scb/pcie@7d500000");
    assert_eq!(&*bridge.map_interrupt(&[0, 0, 0], &[1]).unwrap().specifier, [0, 143, 4]);
}

/// The unit address in a name is the address on the bus, which says where `ranges` must lead.
#[test]
fn every_device_of_the_raspberry_pi_has_its_registers_where_the_processor_sees_them() {
    let Some(blob) = raspberry_pi_4() else { return };
    let tree = Tree::parse(&blob).unwrap();
    let mut devices = 0;
    for bus in ["/soc", "/scb"] {
        for node in find(&tree, bus).children().filter(|node| node.property("reg").is_some()) {
            let bus_address = u64::from_str_radix(node.name().split_once('@').unwrap().1, 16).unwrap();
            // BCM2711 ARM Peripherals, 1.2: legacy and 35-bit addresses against those with "low peripheral" mode on.
            let expected = match bus_address {
                0x4000_0000..0x4080_0000 => bus_address - 0x4000_0000 + 0xff80_0000,
                0x7c00_0000..0x8000_0000 => bus_address + 0x8000_0000,
                _ => bus_address,
            };
            assert_eq!(node.registers().unwrap()[0].address, expected, "{node:?}");
            devices += 1;
        }
    }
    assert!(devices > 50, "only {devices}");

    let sensor = find(&tree, "/soc").children().find(|node| node.property("interrupts").is_some()).unwrap();
    let windows = sensor.dma_windows().unwrap();
    let window = windows.iter().map(|window| (window.bus, window.address, window.size)).collect::<Vec<_>>();
    assert_eq!(window, [(0xc000_0000, 0, 0x4000_0000)]);
}

#[test]
fn every_enabled_device_has_its_resources() {
    for blob in [Some(virt()), raspberry_pi_4()].into_iter().flatten() {
        let tree = Tree::parse(&blob).unwrap();
        for node in tree.nodes().filter(|node| node.is_enabled() && node.property("compatible").is_some()) {
            node.interrupts().unwrap();
            node.dma_windows().unwrap();
            // On a bus without sizes, and for the part of a network card, addresses are not the processor's.
            let is_addressable = |bus: devicetree::Node| bus.u32("#size-cells") != Ok(Some(0));
            if node.parent().is_some_and(is_addressable) && node.name() != "mdio@e14" {
                node.registers().unwrap();
            }
        }
    }
}
