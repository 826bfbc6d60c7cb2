//! The device tree that firmware hands over.

use devicetree::{Node, Tree};

use super::hear;
use crate::{Target, heap, real};

pub const TARGET: Target = Target {
    name: "devicetree",
    summary: "the device tree that firmware hands over, with all that is asked of it",
    check,
    real_inputs: real::device_trees,
    structure: |blob| {
        let size = field(blob, 4).min(blob.len());
        vec![0..size.min(40), field(blob, 8)..size, field(blob, 12)..size]
    },
};

/// What the index of a tree takes at most, for each byte of the tree.
const INDEX_BOUND: usize = 16;

/// What an answer takes at most, for each byte of the tree: lists of references, of which each cell may be one.
const ANSWER_BOUND: usize = 64;

/// How many nodes, and properties of each, are looked for by name: a look-up may read all of its siblings.
const LOOK_UPS: usize = 64;

fn check(blob: &[u8]) -> bool {
    devicetree::chosen(blob).for_each(drop);
    let tree = heap::within(INDEX_BOUND * blob.len() + heap::SLACK, || hear(Tree::parse(blob)));
    let Some(tree) = tree else { return false };
    assert!(tree.size() <= blob.len());
    heap::within(ANSWER_BOUND * blob.len() + heap::SLACK, || {
        check_machine(&tree);
        for (index, node) in tree.nodes().enumerate() {
            assert_eq!(node.index(), index);
            check_place(&tree, node);
            check_properties(blob, node);
            check_addresses(node);
            check_interrupts(node);
        }
    });
    tree.nodes().all(|node| node.damage().is_none())
}

/// What the tree says about the machine as a whole.
fn check_machine(tree: &Tree) {
    for range in tree.memory().into_iter().chain(tree.memory_reservations()).filter_map(hear) {
        assert!(range.address.checked_add(range.size).is_some());
    }
    for reservation in tree.reserved_memory().into_iter().filter_map(hear) {
        assert!(reservation.node.is_enabled());
        assert!(reservation.range.is_none_or(|range| range.address.checked_add(range.size).is_some()));
    }
    for processor in tree.processors().into_iter().filter_map(hear) {
        assert_eq!(processor.node.parent(), tree.find("/cpus"));
    }
    if let Some(range) = hear(tree.initial_ramdisk()).flatten() {
        assert!(range.address.checked_add(range.size).is_some());
    }
    if let Some(console) = hear(tree.standard_output()).flatten() {
        assert!(tree.node(console.node.index()) == Some(console.node));
    }
    assert!(hear(tree.boot_arguments()).flatten().is_none_or(|arguments| !arguments.contains('\0')));
    tree.random_seed();
}

/// A node is where its parent says, and nowhere else.
fn check_place(tree: &Tree, node: Node) {
    assert_eq!(node.parent().is_none(), node == tree.root());
    assert!(node.parent().is_none_or(|parent| parent.index() < node.index()));
    assert!(node.children().all(|child| child.parent() == Some(node)));
    if let Some(damage) = node.damage() {
        hear::<(), _>(Err(damage));
    }
    if let Some(parent) = node.parent().filter(|_| node.index() < LOOK_UPS) {
        // Of several with one name the first is found.
        let found = parent.child(node.name()).expect("a node can be found by its name");
        assert!(found.index() <= node.index() && found.name().starts_with(node.name()));
        assert!(parent != tree.root() || tree.find(&node.path()) == Some(found));
    }
}

/// Properties lie inside the tree, and read as numbers and texts as their bytes say.
fn check_properties(blob: &[u8], node: Node) {
    let blob = blob.as_ptr_range();
    for (name, value) in node.properties() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        let value = value.as_ptr_range();
        assert!(blob.start <= value.start && value.end <= blob.end);
    }
    for (name, _) in node.properties().take(LOOK_UPS) {
        let first = node.properties().find(|(other, _)| *other == name);
        assert_eq!(node.property(name), first.map(|(_, value)| value), "of several with one name the first counts");
    }
    for name in ["compatible", "reg", "bootargs", "phandle"] {
        let value = node.property(name).unwrap_or_default();
        let number = |sizes: &[usize]| sizes.contains(&value.len()).then(|| number(value));
        assert_eq!(hear(node.u32(name)).flatten().map(u64::from), number(&[4]));
        assert_eq!(hear(node.u64(name)).flatten(), number(&[4, 8]));
        assert!(hear(node.cells(name)).is_none_or(|cells| cells.flat_map(u32::to_be_bytes).eq(value.iter().copied())));
        let is_value = |text: &str| text.bytes().chain([0]).eq(value.iter().copied());
        assert!(hear(node.string(name)).flatten().is_none_or(is_value));
        let strings = hear(node.strings(name)).map(|strings| strings.flat_map(|text| text.bytes().chain([0])));
        assert!(strings.is_none_or(|bytes| bytes.eq(value.iter().copied())));
    }
    hear(node.compatible()).map(Iterator::count);
    assert!(!node.is_enabled() || node.parent().is_none_or(Node::is_enabled));
    hear(node.references("clocks", "#clock-cells"));
    hear(node.reference("interrupt-parent"));
}

fn check_addresses(node: Node) {
    for range in hear(node.registers()).unwrap_or_default() {
        assert!(range.address.checked_add(range.size).is_some());
    }
    let windows = hear(node.dma_windows()).unwrap_or_default();
    assert!(windows.len() <= 16 && windows.iter().all(|window| window.size > 0));
}

/// Interrupts end at controllers, in the form that these ask for.
fn check_interrupts(node: Node) {
    let cells = node.u32("#interrupt-cells").ok().flatten().unwrap_or_default().min(8) as usize;
    let has_map = node.property("interrupt-map").is_some() && !node.is_interrupt_controller();
    let mapped = has_map.then(|| hear(node.map_interrupt(&[0x800, 0, 0], &[1; 8][..cells]))).flatten();
    for interrupt in hear(node.interrupts()).unwrap_or_default().into_iter().chain(mapped) {
        assert!(interrupt.controller.is_interrupt_controller());
        let cells = interrupt.controller.u32("#interrupt-cells");
        assert_eq!(cells, Ok(Some(interrupt.specifier.len() as u32)));
    }
    assert!(hear(node.interrupt_parent()).flatten() != Some(node));
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A field of the header.
fn field(blob: &[u8], offset: usize) -> usize {
    number(blob.get(offset..offset + 4).unwrap_or_default()) as usize
}
