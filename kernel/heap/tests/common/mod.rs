//! What the tests share: a platform of threads instead of processors, and random numbers.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use heap::{Heap, Owner, PAGE, Platform};
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

/// How many threads a test may have.
pub const THREADS: usize = 8;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Makes the calling thread processor number `number`.
pub fn be_processor(number: usize) {
    NUMBER.set(number);
}

/// Pages from the host, and what became of them.
#[derive(Default)]
pub struct Pages {
    pub limit: usize,
    pub out: usize,
    pub most: usize,
    pub charged: BTreeMap<usize, isize>,
    live: BTreeMap<usize, (usize, usize)>,
}

pub struct Host(pub Mutex<Pages>);

pub type TestHeap = Heap<&'static Host, THREADS>;

/// A heap that can have that many pages.
pub fn heap(limit: usize) -> (TestHeap, &'static Host) {
    let host: &'static Host = Box::leak(Box::new(Host(Mutex::new(Pages { limit, ..Pages::default() }))));
    (Heap::new(host), host)
}

// SAFETY: pages come from the host's allocator, and each thread has a number of its own.
unsafe impl Platform for &'static Host {
    fn allocate_pages(&self, pages: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>> {
        let mut state = self.0.lock().unwrap();
        if state.out + pages > state.limit {
            return None;
        }
        let layout = Layout::from_size_align(pages * PAGE, alignment).unwrap();
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        // What pages had in them before are addresses of others, as a rule.
        let others = state.live.keys().copied().chain([0]).cycle();
        for (index, other) in others.take(layout.size() / size_of::<usize>()).enumerate() {
            // SAFETY: within what was just allocated.
            unsafe { start.cast::<usize>().add(index).write(other) };
        }
        state.live.insert(start.addr().get(), (pages, alignment));
        state.out += pages;
        state.most = state.most.max(state.out);
        *state.charged.entry(owner.number()).or_default() += pages as isize;
        Some(start)
    }

    unsafe fn free_pages(&self, start: NonNull<u8>, pages: usize, owner: Owner) {
        let mut state = self.0.lock().unwrap();
        let (size, alignment) = state.live.remove(&start.addr().get()).expect("pages that are out");
        assert_eq!(size, pages);
        state.out -= pages;
        *state.charged.entry(owner.number()).or_default() -= pages as isize;
        // SAFETY: allocated above with this layout.
        unsafe { dealloc(start.as_ptr(), Layout::from_size_align(pages * PAGE, alignment).unwrap()) };
    }

    fn charge_pages(&self, pages: usize, from: Owner, to: Owner) {
        let mut state = self.0.lock().unwrap();
        *state.charged.entry(from.number()).or_default() -= pages as isize;
        *state.charged.entry(to.number()).or_default() += pages as isize;
    }

    fn masked<R>(&self, action: impl FnOnce(usize) -> R) -> R {
        action(NUMBER.get())
    }
}

/// Pseudo-random numbers, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
