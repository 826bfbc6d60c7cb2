//! A heap that counts what is allocated and never reuses it: a run takes a few MiB.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use crate::machine::HEAP;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static NEXT: AtomicUsize = AtomicUsize::new(HEAP.start);
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// How many allocations have not been freed.
pub fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

// SAFETY: each allocation begins where the one before it ends, rounded up to its alignment, and lies in memory that is
// the heap's alone. There is one processor, and it takes no interrupts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = NEXT.load(Ordering::Relaxed).next_multiple_of(layout.align());
        let end = start.saturating_add(layout.size());
        if end > HEAP.end {
            return ptr::null_mut();
        }
        NEXT.store(end, Ordering::Relaxed);
        LIVE.fetch_add(1, Ordering::Relaxed);
        ptr::with_exposed_provenance_mut(start)
    }

    unsafe fn dealloc(&self, _start: *mut u8, _layout: Layout) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
