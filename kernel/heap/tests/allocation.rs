//! Allocating and freeing, against a model that remembers every allocation.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Host, Pages, Random, THREADS, TestHeap, be_processor, heap};
use heap::{Holding, Owner, PAGE};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::mpsc;

/// How much work a test does: little under Miri.
const fn scaled(count: usize) -> usize {
    if cfg!(miri) { count / 200 } else { count }
}

struct Piece {
    start: NonNull<u8>,
    layout: Layout,
    owner: u32,
    pattern: u8,
}

// SAFETY: memory that is whoever's the value is.
unsafe impl Send for Piece {}

impl Piece {
    fn new(heap: &TestHeap, layout: Layout, owner: u32, pattern: u8) -> Option<Self> {
        let start = heap.allocate(layout, Owner::new(owner))?;
        assert!(start.addr().get().is_multiple_of(layout.align()), "{layout:?} at {start:?}");
        // SAFETY: just allocated with that size.
        unsafe { start.write_bytes(pattern, layout.size()) };
        Some(Self { start, layout, owner, pattern })
    }

    /// Frees it, after a look whether anybody else has written to it.
    fn free(self, heap: &TestHeap) {
        // SAFETY: allocated with that size, and written in `new`.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) };
        assert!(bytes.iter().all(|byte| *byte == self.pattern));
        // SAFETY: nothing refers to it any more.
        unsafe { heap.free(self.start, self.layout) }
    }
}

fn layout(random: &mut Random) -> Layout {
    let most = [24, 24, 200, 200, 2100, 40_000][random.below(6)];
    let largest = if random.below(20) == 0 { 15 } else { 7 };
    let alignment = 1 << random.below(largest);
    Layout::from_size_align(1 + random.below(most), alignment).unwrap()
}

/// What the heap says that is held, without those who hold nothing.
fn holdings(heap: &TestHeap) -> BTreeMap<u32, usize> {
    let mut holdings = vec![Holding::default(); 100];
    heap.count_holdings(&mut holdings);
    let objects = holdings.iter().map(|holding| holding.objects).enumerate();
    objects.filter(|(_, objects)| *objects > 0).map(|(owner, objects)| (owner as u32, objects)).collect()
}

fn state(host: &Host) -> std::sync::MutexGuard<'_, Pages> {
    host.0.lock().unwrap()
}

#[test]
fn pieces_are_aligned_apart_from_each_other_and_counted_with_their_owners() {
    let (heap, host) = heap(1 << 20);
    let mut random = Random(1);
    let mut pieces: Vec<Piece> = Vec::new();
    for step in 0..scaled(60_000) {
        be_processor(random.below(3));
        if random.below(pieces.len() + 300) < 300 {
            let layout = layout(&mut random);
            pieces.push(Piece::new(&heap, layout, random.below(90) as u32, step as u8).unwrap());
        } else {
            pieces.swap_remove(random.below(pieces.len())).free(&heap);
        }
        if step % scaled(10_000) == 0 {
            let mut model = BTreeMap::new();
            pieces.iter().for_each(|piece| *model.entry(piece.owner).or_insert(0) += 1);
            assert_eq!(holdings(&heap), model);
            let held: usize = heap.statistics().iter().map(|class| class.used).sum();
            let large = pieces.iter().filter(|piece| piece.layout.pad_to_align().size() > 2048).count();
            // Each run of pages has a record in a slab.
            assert_eq!(held, pieces.len());
            assert!(large > 0 || step == 0);
        }
    }
    pieces.into_iter().for_each(|piece| piece.free(&heap));
    assert_eq!(holdings(&heap), BTreeMap::new());
    let state = state(host);
    assert_eq!(state.charged.values().sum::<isize>(), state.out as isize);
    assert!(state.charged.values().all(|pages| *pages >= 0));
}

#[test]
fn owners_beyond_the_last_number_share_it() {
    let (heap, _) = heap(100);
    let layout = Layout::new::<u64>();
    let pieces: Vec<Piece> =
        [65_000, 70_000, u32::MAX].map(|owner| Piece::new(&heap, layout, owner, 1).unwrap()).into();
    assert_eq!(holdings(&heap), BTreeMap::from([(99, 3)]));
    pieces.into_iter().for_each(|piece| piece.free(&heap));
    assert_eq!(holdings(&heap), BTreeMap::new());
}

#[test]
fn what_one_processor_allocates_and_another_frees_doesn_t_pile_up() {
    let (heap, host) = heap(1 << 20);
    let (sender, receiver) = mpsc::sync_channel::<Piece>(100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            be_processor(1);
            receiver.into_iter().for_each(|piece| piece.free(&heap));
        });
        be_processor(0);
        let mut random = Random(2);
        for step in 0..scaled(200_000) {
            let layout = Layout::from_size_align(1 + random.below(2048), 8).unwrap();
            sender.send(Piece::new(&heap, layout, 5, step as u8).unwrap()).unwrap();
        }
        drop(sender);
    });
    assert_eq!(holdings(&heap), BTreeMap::new());
    // Two processors' magazines are 2 pages and hold up to 14 times 8 KiB each; an empty slab of each class may stay.
    let most = state(host).most;
    assert!(most < 2 + 2 * 14 * 2 + 2 * 14 * 4 + 200, "{most} pages");
}

#[test]
fn processors_allocate_and_free_at_the_same_time() {
    let (heap, host) = heap(1 << 20);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<Piece>()).unzip();
    std::thread::scope(|scope| {
        for (number, receiver) in receivers.into_iter().enumerate() {
            let (heap, senders) = (&heap, senders.clone());
            scope.spawn(move || {
                be_processor(number);
                let mut random = Random(number as u64);
                let mut pieces = Vec::new();
                for step in 0..scaled(20_000) {
                    match random.below(4) {
                        0 | 1 => {
                            let layout = layout(&mut random);
                            pieces.push(Piece::new(heap, layout, number as u32, step as u8).unwrap());
                        }
                        2 if !pieces.is_empty() => {
                            let piece = pieces.swap_remove(random.below(pieces.len()));
                            // The others may have ended.
                            if let Err(back) = senders[random.below(THREADS)].send(piece) {
                                back.0.free(heap);
                            }
                        }
                        _ => receiver.try_iter().for_each(|piece| piece.free(heap)),
                    }
                }
                drop(senders);
                pieces.into_iter().for_each(|piece| piece.free(heap));
                receiver.into_iter().for_each(|piece| piece.free(heap));
            });
        }
        drop(senders);
    });
    assert_eq!(holdings(&heap), BTreeMap::new());
    assert!(heap.statistics().iter().all(|class| class.used == 0));
    let state = state(host);
    assert_eq!(state.charged.values().sum::<isize>(), state.out as isize);
}

#[test]
fn a_heap_without_pages_says_so_and_recovers() {
    for size in [16, 700, 2048, 5000, 100_000] {
        let (heap, host) = heap(200);
        let layout = Layout::from_size_align(size, 8).unwrap();
        for _ in 0..3 {
            let pieces: Vec<Piece> = std::iter::from_fn(|| Piece::new(&heap, layout, 1, 7)).collect();
            assert!(pieces.len() * size > 100 * PAGE, "{} pieces of {size}", pieces.len());
            assert!(state(host).out <= 200);
            assert_eq!(holdings(&heap), BTreeMap::from([(1, pieces.len())]));
            pieces.into_iter().for_each(|piece| piece.free(&heap));
            assert_eq!(holdings(&heap), BTreeMap::new());
        }
        // What is left: magazines, what they hold, and an empty slab.
        assert!(state(host).out <= 1 + 3 * 4 + 4, "{} pages of {size}", state(host).out);
    }
}

#[test]
fn what_is_freed_twice_is_handed_out_once() {
    let (heap, _) = heap(100);
    for size in [64, 10_000] {
        let layout = Layout::from_size_align(size, 8).unwrap();
        let piece = heap.allocate(layout, Owner::KERNEL).unwrap();
        // SAFETY: nothing uses it. The second time is what a broken module may do.
        unsafe {
            heap.free(piece, layout);
            heap.free(piece, layout);
        }
        let (one, other) = (heap.allocate(layout, Owner::KERNEL), heap.allocate(layout, Owner::KERNEL));
        assert_ne!(one, other);
    }
}

#[test]
fn memory_stays_in_place_when_its_class_or_its_pages_do() {
    let in_place = |from: usize, to: usize| {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        TestHeap::is_in_place(layout(from), layout(to))
    };
    assert!(in_place(33, 48) && !in_place(33, 49) && !in_place(33, 32));
    assert!(in_place(2049, 4096) && !in_place(4096, 4097) && !in_place(2048, 2049));
}
