//! Inputs that are made to take as long as possible stay within the time that a target may take.

use fuzz::{TARGETS, run_all};

/// The size of the trees, in bytes: that of many real ones together.
const SIZE: usize = 512 << 10;

/// A flattened device tree in the making (Devicetree Specification v0.4, chapter 5).
#[derive(Default)]
struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    fn words(&mut self, words: &[u32]) {
        self.structure.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    }

    /// Begins a node, with the numbers of cells that its children's addresses and sizes have.
    fn begin(&mut self, name: &str, cells: [u32; 2]) {
        self.words(&[1]);
        self.structure.extend(name.bytes().chain([0]));
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
        self.property("#address-cells", &cells[..1]);
        self.property("#size-cells", &cells[1..]);
    }

    fn property(&mut self, name: &str, value: &[u32]) {
        let found =
            self.strings.windows(name.len() + 1).position(|window| window.strip_suffix(b"\0") == Some(name.as_bytes()));
        let offset = found.unwrap_or_else(|| {
            self.strings.extend(name.bytes().chain([0]));
            self.strings.len() - name.len() - 1
        });
        self.words(&[3, 4 * value.len() as u32, offset as u32]);
        self.words(value);
    }

    fn end(&mut self) {
        self.words(&[2]);
    }

    /// How many things of this size fill the rest.
    fn rest(&self, size: usize) -> usize {
        (SIZE - 4096 - self.structure.len()) / size
    }

    /// Ends the root and what else is open, and gives the bytes.
    fn finish(mut self, open: usize) -> Vec<u8> {
        for _ in 0..open {
            self.end();
        }
        self.words(&[9]);
        let [structure, strings] = [self.structure.len() as u32, self.strings.len() as u32];
        let header = [0xd00d_feed, 56 + structure + strings, 56, 56 + structure, 40, 17, 16, 0, strings, structure];
        let header = header.iter().chain(&[0; 4]).flat_map(|word| word.to_be_bytes());
        header.chain(self.structure).chain(self.strings).collect()
    }
}

/// Runs a target on one input, and returns whether it was accepted.
fn run(name: &str, input: Vec<u8>) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    run_all(target, [input]).accepted == 1
}

/// Below 60 buses, each with a list of that name and these entries.
fn below_buses(list: &str, entries: &[u32], last: &[u32]) -> Tree {
    let mut tree = Tree::default();
    tree.begin("", [1, 1]);
    for _ in 0..60 {
        tree.begin("bus", [1, 1]);
        tree.property(list, &[entries, last].concat());
    }
    tree
}

#[test]
fn a_device_with_many_registers_below_many_buses_with_many_ranges() {
    let mut tree = below_buses("ranges", &[1 << 31, 1 << 30, 1].repeat(255), &[0, 0, 1 << 30]);
    tree.begin("device", [0, 0]);
    tree.property("reg", &[1, 1].repeat(tree.rest(8)));
    assert!(run("devicetree", tree.finish(62)));
}

#[test]
fn many_devices_below_many_buses_with_many_dma_ranges() {
    let entries: Vec<_> = (0..16).flat_map(|number| [64 * number, 64 * number, 32]).collect();
    let mut tree = below_buses("dma-ranges", &entries, &[]);
    for _ in 0..tree.rest(44) {
        tree.begin("dev", [0, 0]);
        tree.end();
    }
    assert!(run("devicetree", tree.finish(61)));
}

#[test]
fn many_interrupts_that_pass_through_long_maps() {
    let mut tree = Tree::default();
    tree.begin("", [0, 0]);
    tree.begin("controller", [0, 0]);
    for (name, value) in [("phandle", 1), ("interrupt-controller", 0), ("#interrupt-cells", 1)] {
        tree.property(name, &[value]);
    }
    tree.end();
    tree.begin("map", [0, 0]);
    for (name, value) in [("phandle", 2), ("#interrupt-cells", 1)] {
        tree.property(name, &[value]);
    }
    tree.property("interrupt-map", &[&[0, 1, 1].repeat(127)[..], &[7, 1, 1]].concat());
    tree.end();
    tree.begin("device", [0, 0]);
    tree.property("interrupt-parent", &[2]);
    tree.property("interrupts", &[7].repeat(tree.rest(4)));
    assert!(run("devicetree", tree.finish(2)));
}

#[test]
fn many_nodes_below_one_with_many_properties() {
    let mut tree = Tree::default();
    tree.begin("", [1, 1]);
    for _ in 0..tree.rest(24) {
        tree.property("nothing", &[]);
    }
    for _ in 0..tree.rest(44) {
        tree.begin("dev", [0, 0]);
        tree.end();
    }
    assert!(run("devicetree", tree.finish(1)));
}

#[test]
fn many_broken_nodes_with_long_paths() {
    let mut tree = Tree::default();
    tree.begin("", [1, 1]);
    for _ in 0..60 {
        tree.begin(&"a".repeat(127), [1, 1]);
    }
    for _ in 0..tree.rest(60) {
        tree.begin("dev", [1, 1]);
        tree.property("reg", &[1]);
        tree.end();
    }
    assert!(run("devicetree", tree.finish(61)));
}

#[test]
fn a_list_of_as_many_references_as_there_is_room_for() {
    let mut tree = Tree::default();
    tree.begin("", [1, 1]);
    for (name, value) in [("phandle", 1), ("#clock-cells", 0), ("#interrupt-cells", 0), ("interrupt-controller", 0)] {
        tree.property(name, &[value]);
    }
    tree.begin("device", [1, 1]);
    tree.property("clocks", &[1].repeat(tree.rest(8)));
    tree.property("interrupts-extended", &[1].repeat(tree.rest(4)));
    assert!(run("devicetree", tree.finish(2)));
}

#[test]
fn an_index_of_nothing_but_the_shortest_lines() {
    for (line, is_good) in [("a b\n", true), ("a\n", false), ("\u{80}\n", false), ("\n", true)] {
        assert_eq!(run("index", line.repeat(SIZE / line.len()).into()), is_good);
    }
}

#[test]
fn an_archive_of_nothing_but_the_shortest_entries() {
    let mut entry = b"070701".to_vec();
    // Thirteen numbers: the second is the mode, the twelfth the size of the name.
    let numbers = [0, 0o100_644, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    entry.extend(numbers.iter().flat_map(|number| format!("{number:08X}").into_bytes()));
    entry.extend(b"a\0");
    assert!(!run("initramfs", entry.repeat(SIZE / entry.len())));
}

#[test]
fn stamps_of_as_many_keys_as_there_is_room_for() {
    let mut stamp = String::from("format=1\n");
    stamp.extend((0..).map(|number| format!("{number:x}=\n")).take((stamp::LARGEST - 9) / 5));
    assert!(run("stamp", stamp.into()));
}
