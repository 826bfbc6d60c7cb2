//! What properties mean, and the sentence when they mean nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{compile, find, interrupts, registers, sentence};
use devicetree::{DmaWindow, Range, Tree};

/// A machine with a bit of everything, some of it wrong.
const MACHINE: &str = include_str!("machine.dts");

#[test]
fn memory_is_what_the_enabled_nodes_say() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let range = |address, size| Ok(Range { address, size });
    let mut memory = tree.memory();
    assert_eq!(
        sentence(memory.remove(2)),
        "'reg' of /memory@300000000 should be entries of 16 bytes (cells: [2, 2]), found 12 bytes"
    );
    let expected = [range(0x4000_0000, 0x1000_0000), range(1 << 32, 1 << 32), range(6 << 32, 0x2000)];
    assert_eq!(memory, expected);
    assert_eq!(tree.memory_reservations(), [range(0x1000, 0x2000), range(1 << 32, 0x1000)]);
}

#[test]
fn reserved_memory_is_fixed_or_to_be_placed() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let mut reserved = tree.reserved_memory();
    assert_eq!(
        sentence(reserved.pop().unwrap()),
        "'reg' of /reserved-memory/nothing should be there, or 'size', found neither"
    );
    let reserved: Vec<_> = reserved.into_iter().map(Result::unwrap).collect();
    let found: Vec<_> = reserved.iter().map(|one| (one.node.name(), one.range, one.no_map)).collect();
    let range = |address, size| Some(Range { address, size });
    assert_eq!(
        found,
        [
            ("secure@40000000", range(0x4000_0000, 0x10_0000), true),
            ("secure@40000000", range(0x4100_0000, 0x1000), true),
            ("pool", None, false),
        ]
    );
}

#[test]
fn processors_are_those_that_have_not_failed() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let mut processors = tree.processors();
    assert_eq!(sentence(processors.pop().unwrap()), "'reg' of /cpus/cpu@300 should be 4 bytes, found 0 bytes");
    let processors: Vec<_> = processors.into_iter().map(Result::unwrap).collect();
    let found: Vec<_> = processors.iter().map(|one| (one.identifier, one.enable_method, one.release_address)).collect();
    assert_eq!(found, [(0, Some("psci"), None), (0x100, Some("spin-table"), Some(0xd8))]);
}

#[test]
fn chosen_is_what_firmware_chose() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.boot_arguments(), Ok(Some("console=serial0 panic=1")));
    assert_eq!(tree.initial_ramdisk(), Ok(Some(Range { address: 0x4800_0000, size: 0x12_3456 })));
    assert_eq!(tree.random_seed(), Some(&[1, 2, 3][..]));
    let console = tree.standard_output().unwrap().unwrap();
    assert_eq!((console.node.path().as_str(), console.options), ("/bus@80000000/serial@7e201000", "115200n8"));
}

#[test]
fn what_firmware_chose_is_found_without_an_index() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let found: Vec<_> = devicetree::chosen(&blob).map(|(name, value)| (str::from_utf8(name).unwrap(), value)).collect();
    assert!(found.contains(&("rng-seed", &[1, 2, 3])), "{found:?}");
    assert_eq!(found, tree.find("/chosen").unwrap().properties().collect::<Vec<_>>());

    // Nodes below it and of the same name elsewhere are others.
    let blob = compile("/ { a { chosen { no = <1>; }; }; chosen { yes = <2>; below { no = <3>; }; }; };");
    let found: Vec<_> = devicetree::chosen(&blob).collect();
    assert_eq!(found, [(&b"yes"[..], &[0, 0, 0, 2][..])]);
    assert_eq!(devicetree::chosen(&compile("/ { };")).count(), 0);
}

#[test]
fn a_wrong_choice_is_a_sentence_of_its_own() {
    let chosen = |properties: &str| compile(&format!("/ {{ chosen {{ {properties} }}; }};"));
    let blob = chosen(r#"stdout-path = "serial9:9600"; linux,initrd-start = <9>; linux,initrd-end = <8>;"#);
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(
        sentence(tree.standard_output()),
        "'stdout-path' of /chosen should be the path or alias of a node, found 'serial9'"
    );
    assert_eq!(sentence(tree.initial_ramdisk()), "'linux,initrd-end' of /chosen should be at least 0x9, found 0x8");
    let blob = chosen("linux,initrd-start = <9>; bootargs = [61 ff 00];");
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(
        sentence(tree.initial_ramdisk()),
        "'linux,initrd-end' of /chosen should be there, found 'linux,initrd-start' alone"
    );
    assert_eq!(
        sentence(tree.boot_arguments()),
        r"'bootargs' of /chosen should be text in UTF-8 that ends with a zero byte, found 'a\xff\x00'"
    );

    let blob = compile("/ { };");
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.standard_output(), Ok(None));
    assert_eq!(tree.initial_ramdisk(), Ok(None));
    assert!(tree.memory().is_empty() && tree.processors().is_empty() && tree.reserved_memory().is_empty());
}

#[test]
fn nodes_are_found_by_path_and_alias() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let serial = find(&tree, "/bus@80000000/serial@7e201000");
    for path in ["serial0", "bus/serial", "/bus/serial@7e201000", "/bus@80000000//serial/"] {
        assert_eq!(tree.find(path), Some(serial), "{path}");
    }
    for path in ["serial1", "", "/bus@8", "/bus@80000000/serial@7e201000/x", "/serial"] {
        assert_eq!(tree.find(path), None, "{path}");
    }
    assert_eq!(tree.find("/"), Some(tree.root()));
    assert_eq!(tree.root().path(), "/");
    assert_eq!(serial.parent().unwrap().path(), "/bus@80000000");
    assert_eq!(tree.node(serial.index()), Some(serial));
    assert_eq!(tree.node(tree.nodes().count()), None);
}

#[test]
fn a_device_on_a_disabled_bus_is_disabled() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    assert!(find(&tree, "serial0").is_enabled());
    assert!(!find(&tree, "/bus/off").is_enabled());
    assert!(!find(&tree, "/bus/off/child").is_enabled());
}

#[test]
fn registers_are_translated_through_every_bus() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(registers(&tree, "serial0"), [(0xfe20_1000, 0x200), (0x4_0000_0000, 0x1_0000)]);
    assert!(find(&tree, "serial0").strings("reg-names").unwrap().eq(["registers", "buffer"]));
    assert_eq!(registers(&tree, "/bus/identity/leaf"), [(0xfe40_0000, 0x100)]);
    assert_eq!(registers(&tree, "/pcie/memory"), [(0x1000_1000, 0x1000)]);
    assert_eq!(registers(&tree, "/pcie/wide"), [(0x80_0000_0100, 0x1000)]);
    assert_eq!(registers(&tree, "/pcie/ports"), [(0x3eff_0040, 0x40)]);
    assert_eq!(registers(&tree, "/pcie"), []);

    let error = |path| sentence(find(&tree, path).registers());
    assert_eq!(
        error("/bus/outside"),
        "the processor can't reach 0x1000 bytes at 0x10000000 of /bus@80000000/outside@10000000: no entry in 'ranges' \
         of /bus@80000000 covers them"
    );
    assert!(error("/bus/edge").contains("0x1001 bytes at 0x7f7ff000"));
    assert!(error("/pcie/configuration").contains("no entry in 'ranges' of /pcie@10000000"));
    assert_eq!(
        error("/bus/short"),
        "'reg' of /bus@80000000/short@7e300000 should be entries of 8 bytes (cells: [1, 1]), found 4 bytes"
    );
    assert_eq!(
        error("/bus/i2c/clock"),
        "the processor can't reach the addresses of /bus@80000000/i2c@7e500000/clock@68: its bus \
         /bus@80000000/i2c@7e500000 has no 'ranges'"
    );
    assert_eq!(error("/huge"), "0x2000 bytes at 0xfffffffffffff000 of /huge@0 should end below 2^64");
}

#[test]
fn dma_windows_are_what_all_buses_let_through() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let windows = |path| find(&tree, path).dma_windows().unwrap();
    let window = |bus, address, size| DmaWindow { bus, address, size };
    assert_eq!(windows("serial0"), [window(0xc000_0000, 0, 0x4000_0000)]);
    assert_eq!(windows("/interrupt-controller"), [window(0, 0, u64::MAX)]);
    // The last of the three is at an address that the bus above doesn't pass on.
    let expected = [window(0, 0x1000_0000, 0x1000), window(0x5000, 0x2000_0000, 0x1000)];
    assert_eq!(windows("/bus/identity/leaf"), expected);
}

/// What no machine has is refused where reading it for every device would take minutes.
#[test]
fn lists_are_bounded_on_the_way_to_the_processor() {
    let entries = |count, entry: &str| entry.repeat(count);
    let tree = |ranges, dma_ranges, map| {
        compile(&format!(
            "/ {{ #address-cells = <1>; #size-cells = <1>; gic: gic {{ interrupt-controller; #interrupt-cells = <1>; }};
                bus: bus {{
                    #address-cells = <1>; #size-cells = <1>; #interrupt-cells = <1>;
                    ranges = <{} 0 0 0x1000>; dma-ranges = <{}>; interrupt-map = <{} 0x10 1 &gic 7>;
                    device {{ reg = <0x10 4>; interrupts = <1>; interrupt-parent = <&bus>; }};
                }};
            }};",
            entries(ranges, "0x80000000 0 1 "),
            entries(dma_ranges, "0 0 0x1000 "),
            entries(map, "0 2 &gic 3 ")
        ))
    };
    let blob = tree(255, 16, 127);
    let tree_within = Tree::parse(&blob).unwrap();
    assert_eq!(registers(&tree_within, "/bus/device"), [(0x10, 4)]);
    assert_eq!(find(&tree_within, "/bus/device").dma_windows().unwrap().len(), 16);
    assert_eq!(interrupts(&tree_within, "/bus/device"), [("/gic".to_string(), vec![7])]);

    let blob = tree(256, 17, 128);
    let tree_beyond = Tree::parse(&blob).unwrap();
    let device = find(&tree_beyond, "/bus/device");
    assert_eq!(sentence(device.registers()), "'ranges' of /bus should be at most 256 entries, found 257");
    assert_eq!(sentence(device.dma_windows()), "'dma-ranges' of /bus should be at most 16 entries, found 17");
    assert_eq!(
        sentence(device.interrupts()),
        "the interrupt maps should lead to a controller after 128 entries at most, found a circle or a map too long at \
         /bus"
    );
}

#[test]
fn interrupts_lead_to_controllers() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let gic = "/interrupt-controller@8000000".to_string();
    let to_gic = |cells: [u32; 3]| (gic.clone(), cells.to_vec());
    assert_eq!(interrupts(&tree, "serial0"), [to_gic([0, 1, 4]), to_gic([0, 2, 4])]);
    assert_eq!(interrupts(&tree, "/extended"), [("/controller@9000".to_string(), vec![5]), to_gic([1, 2, 3])]);
    // Through one map, masked, and through two.
    assert_eq!(interrupts(&tree, "/pcie/wide"), [to_gic([0, 99, 1])]);
    assert_eq!(find(&tree, "/pcie").map_interrupt(&[0xffff_0000, 1, 2], &[2]).unwrap().specifier[1], 4);
    assert_eq!(interrupts(&tree, "/bus/i2c/clock"), []);

    let second = find(&tree, "/controller");
    assert!(second.is_interrupt_controller());
    assert_eq!(second.interrupt_parent(), Ok(tree.find(&gic)));
    assert_eq!(find(&tree, &gic).interrupt_parent(), Ok(None));
    assert_eq!(find(&tree, "/pcie/wide").interrupt_parent(), Ok(tree.find("/pcie")));
}

#[test]
fn interrupts_that_lead_nowhere_are_explained() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let error = |path| sentence(find(&tree, path).interrupts());
    assert_eq!(
        error("/bus/short"),
        "'interrupts' of /bus@80000000/short@7e300000 should be entries of 12 bytes, as /interrupt-controller@8000000 \
         wants them, found 8 bytes"
    );
    assert_eq!(
        error("/pcie/configuration"),
        "'interrupt-map' of /pcie@10000000 should have an entry for interrupt <0x1> of the device at <0x1800 0x0 0x0>, \
         found none"
    );
    assert_eq!(
        error("/nowhere"),
        "the interrupts of /nowhere lead to /plain, which should have 'interrupt-controller' or 'interrupt-map', but \
         has neither"
    );
    assert_eq!(
        error("/in-a-circle"),
        "the interrupt maps should lead to a controller after 128 entries at most, found a circle or a map too long at \
         /circle-a"
    );
    assert_eq!(
        error("/dangling"),
        "'interrupt-parent' of /dangling should point to a node, found phandle 0xdead, which none has"
    );
    let blob = compile("/ { orphan { interrupts = <1>; }; };");
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(
        sentence(find(&tree, "/orphan").interrupts()),
        "the interrupts of /orphan should have a controller, found no 'interrupt-parent' in it or above it"
    );
}

#[test]
fn properties_have_types() {
    let blob = compile(MACHINE);
    let tree = Tree::parse(&blob).unwrap();
    let words = find(&tree, "/words");
    assert!(words.cells("number").unwrap().eq([1, 2, 3]));
    assert!(words.strings("list").unwrap().eq(["a", "b"]));
    assert_eq!(words.strings("missing").unwrap().count(), 0);
    assert_eq!(words.u32("missing"), Ok(None));
    assert_eq!(sentence(words.u32("number")), "'number' of /words should be 4 bytes, found 12 bytes");
    assert_eq!(sentence(words.u64("number")), "'number' of /words should be 4 or 8 bytes, found 12 bytes");
    assert_eq!(sentence(words.string("list")), "'list' of /words should be one string, found \"a\\0b\"");
    assert_eq!(
        sentence(words.string("text")),
        r"'text' of /words should be text in UTF-8 that ends with a zero byte, found 'f\xff\x00'"
    );
    let cells = words.cells("cells").err().unwrap().to_string();
    assert_eq!(cells, "'cells' of /words should be a multiple of 4 bytes, found 3 bytes");
    assert_eq!(
        sentence(words.references("number", "#clock-cells")),
        "'#clock-cells' of /interrupt-controller@8000000 should be there, found nothing"
    );
}

#[test]
fn a_damaged_header_is_an_error() {
    let blob = compile("/ { };");
    let with = |offset: usize, value: u32| {
        let mut blob = blob.clone();
        blob[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        Tree::parse(&blob).err().unwrap().to_string()
    };
    let size = blob.len();
    assert_eq!(with(0, 7), "the device tree should begin with 0xd00dfeed, found 0x00000007");
    assert_eq!(with(20, 16), "the device tree should be compatible with version 17 of the format, found 16");
    assert_eq!(with(24, 18), "the device tree should be compatible with version 17 of the format, found 18");
    assert_eq!(with(4, 5000), format!("the device tree should have 5000 bytes, found {size}: it's truncated"));
    assert_eq!(
        with(8, u32::MAX),
        format!("the device tree's structure block should end within its {size} bytes, found the end at 4294967311")
    );
    assert!(with(12, 4000).contains("strings block"));
    assert_eq!(sentence(Tree::parse(&blob[..39])), "the device tree should have 40 bytes, found 39: it's truncated");

    let mut endless = blob.clone();
    endless[16..20].copy_from_slice(&(size as u32 - 8).to_be_bytes());
    let tree = Tree::parse(&endless).unwrap();
    assert!(sentence(tree.memory_reservations().pop().unwrap()).contains("memory reservation block"));
}
