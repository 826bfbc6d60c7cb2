//! The collector, against a model that knows the graph.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Random, TestHeap, be_processor, heap};
use heap::{Collected, Heap, Holding, Owner, Roots};
use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ops::Range;
use std::ptr::NonNull;

const DEAD: u32 = 3;

/// Words outside of the heap.
struct Words(Vec<usize>);

// SAFETY: the words are there, and nobody changes them meanwhile.
unsafe impl Roots for Words {
    fn each(&self, visit: &mut dyn FnMut(Range<*const u8>)) {
        // In two ranges, the second of which begins in the middle of a word that is seen in neither.
        let bytes = self.0.as_ptr_range();
        let middle = bytes.start.wrapping_add(self.0.len() / 2);
        visit(bytes.start.cast()..middle.cast());
        visit(middle.cast::<u8>().wrapping_sub(3)..bytes.end.cast());
    }
}

struct Object {
    start: NonNull<usize>,
    layout: Layout,
    owner: u32,
    links: Vec<usize>,
}

impl Object {
    /// Words from one end to the other, all zeros.
    fn new(heap: &TestHeap, words: usize, owner: u32) -> Self {
        let layout = Layout::array::<usize>(words).unwrap();
        let start = heap.allocate(layout, Owner::new(owner)).unwrap().cast();
        // SAFETY: just allocated with that size.
        unsafe { start.write_bytes(0, words) };
        Self { start, layout, owner, links: Vec::new() }
    }

    fn words(&self) -> usize {
        self.layout.size() / size_of::<usize>()
    }

    fn set(&self, index: usize, word: usize) {
        assert!(index < self.words());
        // SAFETY: within the object, which nothing else uses.
        unsafe { self.start.add(index).write(word) };
    }

    /// An address somewhere inside.
    fn somewhere(&self, random: &mut Random) -> usize {
        let offset = if random.below(2) == 0 { 0 } else { random.below(self.layout.size()) };
        self.start.addr().get() + offset
    }
}

fn holding(heap: &TestHeap, owner: u32) -> Holding {
    let mut holdings = [Holding::default(); 10];
    heap.count_holdings(&mut holdings);
    holdings[owner as usize]
}

/// Sizes that a class has, so that a piece has no words but the object's.
const WORDS: [usize; 8] = [2, 6, 8, 32, 96, 256, 512, 4096];

#[test]
fn what_is_freed_is_what_no_root_and_nobody_else_can_reach() {
    let rounds = if cfg!(miri) { 2 } else { 300 };
    let (mut freed_in_all, mut kept_in_all) = (0, 0);
    for round in 0..rounds {
        be_processor(0);
        let (heap, host) = heap(1 << 20);
        let mut random = Random(round);
        let count = 1 + random.below(if round % 10 == 0 { 3000 } else { 60 });
        let dead_among = 1 + random.below(6);
        let mut objects: Vec<Object> = (0..count)
            .map(|_| {
                let owner = if random.below(dead_among) == 0 { random.below(6) as u32 } else { DEAD };
                Object::new(&heap, WORDS[random.below(WORDS.len())], owner)
            })
            .collect();
        // Some have been freed already, and leave what they held behind.
        for _ in 0..count / 4 {
            let object = objects.swap_remove(random.below(objects.len()));
            object.set(object.words() - 1, objects.first().map_or(0, |first| first.start.addr().get()));
            // SAFETY: nothing uses it any more.
            unsafe { heap.free(object.start.cast(), object.layout) };
        }
        let count = objects.len();
        for _ in 0..random.below(2 * count + 1) {
            let (from, to) = (random.below(count), random.below(count));
            let word = random.below(objects[from].words());
            let address = objects[to].somewhere(&mut random);
            // A link that is written over is none any more.
            let (object, links) = (&objects[from], objects[from].links.len());
            if word >= links.max(1) || links == 0 {
                let place = links % object.words();
                if links < object.words() {
                    object.set(place, address);
                    objects[from].links.push(to);
                }
            }
        }
        let rooted: Vec<usize> = (0..random.below(4)).map(|_| random.below(count)).collect();
        let mut words: Vec<usize> = rooted.iter().map(|object| objects[*object].somewhere(&mut random)).collect();
        // Words that are no addresses of objects; the last two are those of a slab's head and of its tags.
        words.extend([0, 1, usize::MAX]);
        if let Some(small) = objects.iter().find(|object| object.layout.size() <= 2048) {
            let slab = small.start.addr().get() & !0x3fff;
            words.extend([slab, slab + 50]);
        }

        let mut reached: BTreeSet<usize> = BTreeSet::new();
        let mut waiting: Vec<usize> = (0..count).filter(|object| objects[*object].owner != DEAD).collect();
        waiting.extend(&rooted);
        while let Some(object) = waiting.pop() {
            if reached.insert(object) {
                waiting.extend(&objects[object].links);
            }
        }
        let is_dead = |object: &usize| objects[*object].owner == DEAD;
        let (kept, lost): (Vec<usize>, Vec<usize>) =
            (0..count).filter(is_dead).partition(|object| reached.contains(object));
        let sum = |numbers: &[usize]| Holding {
            objects: numbers.len(),
            bytes: numbers.iter().map(|object| objects[*object].layout.size()).sum(),
        };
        let kernel = holding(&heap, 0);

        // SAFETY: there is no other thread, and all links are aligned words.
        let collected = unsafe { heap.collect(Owner::new(DEAD), &Words(words)) };
        let expected = Collected { freed: sum(&lost), kept: sum(&kept) };
        assert_eq!(collected, Some(expected), "round {round}, {count} objects");
        freed_in_all += lost.len();
        kept_in_all += kept.len();
        assert_eq!(holding(&heap, DEAD), sum(&kept));
        assert_eq!(holding(&heap, 0), kernel);
        for object in &reached {
            let object = &objects[*object];
            for (index, link) in object.links.iter().enumerate() {
                // SAFETY: it is still allocated.
                let word = unsafe { object.start.add(index).read() };
                let target = &objects[*link];
                assert!(word.wrapping_sub(target.start.addr().get()) < target.layout.size());
            }
        }
        // The memory of what was lost is handed out again, and nothing else is.
        let taken: BTreeSet<NonNull<usize>> = reached.iter().map(|object| objects[*object].start).collect();
        let again: Vec<Object> = lost.iter().map(|object| Object::new(&heap, objects[*object].words(), 1)).collect();
        assert!(again.iter().all(|object| !taken.contains(&object.start)));

        let state = host.0.lock().unwrap();
        // What is left of its own is whole pages.
        let runs = kept.iter().map(|object| objects[*object].layout.size()).filter(|size| *size > 2048);
        let charged = state.charged.get(&(DEAD as usize)).copied().unwrap_or(0);
        assert_eq!(charged, (runs.sum::<usize>() / heap::PAGE) as isize);
        assert_eq!(state.charged.values().sum::<isize>(), state.out as isize);
    }
    assert!(freed_in_all > 100 && kept_in_all > 100 || cfg!(miri), "{freed_in_all} freed, {kept_in_all} kept");
}

#[test]
fn a_long_list_and_a_wide_tree_are_followed_to_their_ends() {
    be_processor(0);
    let count = if cfg!(miri) { 600 } else { 20_000 };
    for wide in [false, true] {
        let (heap, _) = heap(1 << 20);
        let top = Object::new(&heap, count, DEAD);
        let objects: Vec<Object> = (0..count).map(|_| Object::new(&heap, 4, DEAD)).collect();
        if wide {
            objects.iter().enumerate().for_each(|(index, object)| top.set(index, object.start.addr().get()));
            // Below each another one.
            objects.iter().for_each(|object| object.set(3, Object::new(&heap, 2, DEAD).start.addr().get()));
        } else {
            top.set(0, objects[count - 1].start.addr().get());
            objects.windows(2).for_each(|pair| pair[1].set(1, pair[0].start.addr().get()));
        }
        Object::new(&heap, 6, DEAD);
        // SAFETY: as above.
        let collected = unsafe { heap.collect(Owner::new(DEAD), &Words(vec![top.start.addr().get()])) }.unwrap();
        assert_eq!(collected.freed, Holding { objects: 1, bytes: 48 });
        assert_eq!(collected.kept.objects, 1 + count * if wide { 2 } else { 1 });
        // SAFETY: as above. Nothing refers to the top any more.
        let kept = unsafe { heap.collect(Owner::new(DEAD), &Words(vec![])) }.unwrap();
        assert_eq!(kept, Collected { freed: collected.kept, kept: Holding::default() });
        // SAFETY: as above.
        let none = unsafe { heap.collect(Owner::new(DEAD), &Words(vec![])) };
        assert_eq!(none, Some(Collected::default()));
    }
}

#[test]
fn what_pages_had_in_them_before_keeps_nothing() {
    be_processor(0);
    let (heap, _): (Heap<_, 8>, _) = heap(100);
    for words in [16, 4096] {
        let layout = Layout::array::<usize>(words).unwrap();
        let lost = heap.allocate(layout, Owner::new(DEAD)).unwrap();
        let kept = heap.allocate(layout, Owner::new(DEAD)).unwrap();
        // SAFETY: the roots live as long as the call.
        let collected = unsafe { heap.collect(Owner::new(DEAD), &Words(vec![0, kept.addr().get(), 0, 0])) }.unwrap();
        assert_eq!((collected.kept.objects, collected.freed.objects), (1, 1), "{words} words, {lost:?}");
        // SAFETY: it was kept, and is not used.
        unsafe { heap.free(kept, layout) };
    }
}

#[test]
fn without_memory_for_the_search_nothing_happens() {
    be_processor(0);
    let (heap, host): (Heap<_, 8>, _) = heap(100);
    let object = Object::new(&heap, 8, DEAD);
    let limit = host.0.lock().unwrap().out;
    host.0.lock().unwrap().limit = limit;
    // SAFETY: as above.
    let collect = || unsafe { heap.collect(Owner::new(DEAD), &Words(vec![])) };
    assert_eq!(collect(), None);
    assert_eq!(holding(&heap, DEAD).objects, 1);
    host.0.lock().unwrap().limit = limit + 1;
    assert_eq!(collect().map(|collected| collected.freed.bytes), Some(object.layout.size()));
}
