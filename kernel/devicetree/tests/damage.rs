//! Damage to the structure costs the node that it is in and no other, and no bytes at all make trouble.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{compile, raspberry_pi_4, virt};
use devicetree::{Error, Node, Tree};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

fn word(blob: &[u8], offset: usize) -> usize {
    u32::from_be_bytes(blob[offset..offset + 4].try_into().unwrap()) as usize
}

/// Offsets of the tokens of a node in an undamaged tree.
#[derive(Default)]
struct Tokens {
    begin: usize,
    properties: Vec<usize>,
    end: usize,
}

/// The tokens of all nodes, by path.
fn tokens(blob: &[u8]) -> BTreeMap<String, Tokens> {
    let mut all = BTreeMap::new();
    let mut open: Vec<(String, Tokens)> = Vec::new();
    let mut offset = word(blob, 8);
    loop {
        match word(blob, offset) {
            1 => {
                let length = blob[offset + 4..].iter().position(|byte| *byte == 0).unwrap();
                let name = str::from_utf8(&blob[offset + 4..][..length]).unwrap();
                let parent = open.last().map_or("", |(path, _)| path.trim_end_matches('/'));
                open.push((format!("{parent}/{name}"), Tokens { begin: offset, ..Tokens::default() }));
                offset += (4 + length + 1).next_multiple_of(4);
            }
            2 => {
                let (path, mut tokens) = open.pop().unwrap();
                tokens.end = offset;
                all.insert(path, tokens);
                offset += 4;
            }
            3 => {
                open.last_mut().unwrap().1.properties.push(offset);
                offset += (12 + word(blob, offset + 4)).next_multiple_of(4);
            }
            _ => return all,
        }
    }
}

/// All that can be asked about a node, as text.
fn everything(node: Node) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {}",
        node.properties().collect::<Vec<_>>(),
        node.children().map(Node::name).collect::<Vec<_>>(),
        node.registers(),
        node.interrupts(),
        node.dma_windows(),
        node.is_enabled()
    )
}

fn by_path(tree: &Tree) -> BTreeMap<String, String> {
    tree.nodes().map(|node| (node.path(), everything(node))).collect()
}

/// Which word of which token is damaged.
const KINDS: [&str; 7] =
    ["begin", "first letter of the name", "end", "property", "property size", "smaller property size", "property name"];

/// Damages every `step`th node in each way. The damage must be reported once, no node must be missing, and every node
/// must give the answers that it gave, but for the damaged one, its parent, those below it, and those that name it.
fn damage_nodes(blob: &[u8], step: usize) {
    let sound = Tree::parse(blob).unwrap();
    let expected = by_path(&sound);
    let (mut cases, mut others) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, Vec<String>>::new());
    for (path, tokens) in tokens(blob).iter().skip(1).step_by(step) {
        let first = tokens.properties.first().copied();
        let places = [
            Some((tokens.begin, 0xffff_ffff)),
            Some((tokens.begin + 4, 0xff00_0000 | word(blob, tokens.begin + 4) as u32 & 0xff_ffff)),
            Some((tokens.end, 0x8000_0002)),
            first.map(|offset| (offset, 0xffff_ffff)),
            first.map(|offset| (offset + 4, 0x7fff_ffff)),
            first.filter(|offset| word(blob, offset + 4) > 8).map(|offset| (offset + 4, 1)),
            first.map(|offset| (offset + 8, 0xffff_ffff)),
        ];
        for (kind, place) in KINDS.into_iter().zip(places) {
            let Some((offset, value)) = place else { continue };
            let mut damaged = blob.to_vec();
            damaged[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
            let tree = Tree::parse(&damaged).unwrap();
            *cases.entry(kind).or_default() += 1;

            let reports: Vec<_> = tree.nodes().filter_map(Node::damage).map(|error| error.to_string()).collect();
            let [report] = &reports[..] else { panic!("{kind} of {path}: {reports:?}") };
            let parent = path.rsplit_once('/').unwrap().0;
            let names = [format!("in {path},"), format!("in {parent}/(unreadable),")];
            assert!(names.iter().any(|name| report.contains(name)), "{report}");

            assert_eq!(tree.nodes().count(), expected.len(), "{kind} of {path}");
            let found = by_path(&tree);
            let is_other = |(other, answers): &(&String, &String)| {
                !other.starts_with(path) && ![parent, "/"].contains(&other.as_str()) && !answers.contains(path)
            };
            let lost = expected.iter().filter(is_other).filter(|(other, answers)| found.get(*other) != Some(answers));
            others.entry(kind).or_default().extend(lost.map(|(other, _)| format!("{other} when {path}")));
        }
    }
    println!("{cases:?}");
    let others: BTreeMap<_, _> = others.into_iter().filter(|(_, lost)| !lost.is_empty()).collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn damage_costs_one_node_of_virt() {
    damage_nodes(&virt(), 1);
}

#[test]
fn damage_costs_one_node_of_the_raspberry_pi() {
    if let Some(blob) = raspberry_pi_4() {
        damage_nodes(&blob, 7);
    }
}

/// QEMU and other firmware take a node away by writing the token over it that means nothing.
#[test]
fn a_blanked_out_node_is_gone_and_no_damage() {
    let blob = virt();
    let mut expected = by_path(&Tree::parse(&blob).unwrap());
    let gone = "/pl031@9010000";
    let Tokens { begin, end, .. } = tokens(&blob)[gone];
    let mut blanked = blob.clone();
    blanked[begin..end + 4].chunks_mut(4).for_each(|word| word.copy_from_slice(&[0, 0, 0, 4]));
    let tree = Tree::parse(&blanked).unwrap();
    assert_eq!(tree.nodes().find_map(Node::damage), None);
    let mut found = by_path(&tree);
    expected.remove(gone).unwrap();
    // The root lists its children.
    expected.remove("/");
    found.remove("/");
    assert_eq!(found, expected);
}

/// Paths are made of names, and sentences of paths: no tree makes them long.
#[test]
fn a_name_that_is_too_long_is_unreadable_and_costs_nothing_else() {
    for (length, is_readable) in [(127, true), (128, false)] {
        let name = "a".repeat(length);
        let blob = compile(&format!("/ {{ {name} {{ word = <1>; below {{ }}; }}; behind {{ }}; }};"));
        let tree = Tree::parse(&blob).unwrap();
        let names: Vec<_> = tree.nodes().map(Node::name).collect();
        assert_eq!(names, ["", if is_readable { &name } else { "(unreadable)" }, "below", "behind"]);
        let node = tree.node(1).unwrap();
        assert_eq!((node.u32("word"), node.damage().is_none()), (Ok(Some(1)), is_readable));
        assert_eq!(tree.nodes().filter_map(Node::damage).count(), usize::from(!is_readable));
    }
}

/// Asks everything that can be asked, and reads every sentence that comes instead of an answer.
fn interrogate(tree: &Tree) {
    fn hear<T>(answer: Result<T, Error>) -> Option<T> {
        answer.inspect_err(|error| assert!(!black_box(error.to_string()).is_empty())).ok()
    }
    hear(tree.boot_arguments());
    hear(tree.initial_ramdisk());
    hear(tree.standard_output());
    black_box(tree.random_seed());
    for range in tree.memory().into_iter().chain(tree.memory_reservations()).filter_map(hear) {
        assert!(range.address.checked_add(range.size).is_some());
    }
    tree.reserved_memory().into_iter().for_each(|one| _ = hear(one));
    tree.processors().into_iter().for_each(|one| _ = hear(one));
    for node in tree.nodes() {
        assert!(node.parent().is_none_or(|parent| parent.index() < node.index()));
        assert!(node.children().all(|child| child.parent() == Some(node)));
        node.damage().into_iter().for_each(|error| _ = hear::<()>(Err(error)));
        hear(node.compatible()).map(Iterator::count);
        hear(node.registers());
        hear(node.interrupts());
        hear(node.interrupt_parent());
        hear(node.dma_windows());
        hear(node.references("clocks", "#clock-cells"));
        black_box(node.is_enabled());
    }
}

/// A tree without the room that QEMU leaves for more.
fn compact(mut blob: Vec<u8>) -> Vec<u8> {
    let size = (word(&blob, 8) + word(&blob, 36)).max(word(&blob, 12) + word(&blob, 32));
    blob.truncate(size);
    blob[4..8].copy_from_slice(&(size as u32).to_be_bytes());
    blob
}

#[test]
fn twenty_five_thousand_damaged_trees_answer_all_questions() {
    let fixture = compile(include_str!("machine.dts"));
    let mut random = fastrand::Rng::with_seed(1);
    let (mut readable, mut largest) = (0, 0);
    for (blob, count) in [(compact(virt()), 20_000), (fixture, 5_000)] {
        for _ in 0..count {
            let mut damaged = blob.clone();
            // Small numbers are tokens, sizes and phandles; large ones are those near the end of what a word can hold.
            for _ in 0..=random.usize(..4) {
                let offset = random.usize(..damaged.len() - 4);
                let value = [random.u32(..10), random.u32(..), u32::MAX - random.u32(..16), 0x8002];
                match random.usize(..4) {
                    0 => damaged[offset] = random.u8(..),
                    1 => damaged[offset] ^= 1 << random.usize(..8),
                    _ => damaged[offset & !3..][..4].copy_from_slice(&value[random.usize(..4)].to_be_bytes()),
                }
            }
            if random.usize(..8) == 0 {
                damaged.truncate(random.usize(..damaged.len()));
            }
            let before = allocated();
            devicetree::chosen(&damaged).for_each(|property| _ = black_box(property));
            assert_eq!(allocated(), before);
            match Tree::parse(&damaged) {
                Ok(tree) => {
                    largest = largest.max(allocated() - before);
                    interrogate(&tree);
                    readable += 1;
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    println!("{readable} of 25000 had a readable header; the largest index took {largest} bytes");
    assert!(readable > 15_000);
    assert!(largest < 100_000);
}

/// Blocks that make a careless reader walk the same bytes again and again, or allocate without end.
#[test]
fn large_nonsense_takes_little_time_and_memory() {
    const SIZE: usize = 1 << 20;
    let patterns: [&[u32]; 9] = [
        &[4],
        &[1],
        &[2],
        &[3],
        &[9],
        &[0x6161_6161],
        &[1, 0x6100_0000],
        &[3, 0, 0],
        &[1, 0x6100_0000, 3, 4, 0, 1, 0x2000_0000, 2],
    ];
    for pattern in patterns {
        let mut words = vec![1, 0];
        words.extend(pattern.iter().cycle().take(SIZE / 4));
        let structure: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        // A name without an end, which every property has.
        let strings = vec![b'a'; SIZE];
        let header = [
            0xd00d_feed,
            (56 + structure.len() + strings.len()) as u32,
            56,
            (56 + structure.len()) as u32,
            40,
            17,
            16,
            0,
            strings.len() as u32,
            structure.len() as u32,
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        blob.extend([0; 16]);
        blob.extend(&structure);
        blob.extend(&strings);

        let (start, before) = (Instant::now(), allocated());
        let tree = Tree::parse(&blob).unwrap();
        assert!(allocated() - before < 16 * SIZE, "{pattern:?} takes {} bytes", allocated() - before);
        assert!(start.elapsed() < Duration::from_secs(5), "{pattern:?} takes {:?}", start.elapsed());
        let deepest = tree.nodes().last().unwrap();
        assert!(deepest.path().len() < 200);
        assert!(tree.nodes().filter_map(Node::damage).next().is_some());
    }
}

/// Counts the bytes that each thread has allocated and not freed.
struct Counter;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

fn allocated() -> usize {
    ALLOCATED.get()
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get().wrapping_add(layout.size()));
        // SAFETY: the caller keeps the promises that `System` asks for, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.set(ALLOCATED.get().wrapping_sub(layout.size()));
        // SAFETY: the caller keeps the promises that `System` asks for, which are the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTER: Counter = Counter;
