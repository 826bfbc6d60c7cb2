//! How much memory some work takes, measured by the global allocator.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// What texts of errors and the like may take whatever the size of the input, in bytes.
pub const SLACK: usize = 16 << 10;

/// Does `work` and returns what it returns.
///
/// # Panics
///
/// When it held more than `limit` bytes of the heap at a time, beyond what was held before.
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let (result, took) = measure(work);
    assert!(took <= limit, "it took {took} bytes of memory, and {limit} are its bound");
    result
}

/// Does `work`, and returns what it returns and the most bytes of the heap that it held at a time, beyond what was held
/// before. Not to be nested.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, (MOST.get() - before).cast_unsigned())
}

thread_local! {
    /// What this thread has allocated and not freed, in bytes. Below zero in a thread that frees what others allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that [`HELD`] has been since [`measure`] began.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which also counts.
struct Counter;

#[global_allocator]
static COUNTER: Counter = Counter;

// SAFETY: every request goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get() + layout.size() as isize;
        HELD.set(held);
        MOST.set(MOST.get().max(held));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_is_held_at_a_time_is_measured() {
        let earlier = vec![0_u8; 1000];
        let (kept, took) = measure(|| {
            drop(vec![0_u8; 3000]);
            drop(earlier);
            vec![0_u8; 3500]
        });
        assert_eq!((kept.len(), took), (3500, 3000));
        assert_eq!(measure(|| drop(kept)).1, 0);
    }

    #[test]
    #[should_panic(expected = "it took 101 bytes of memory, and 100 are its bound")]
    fn more_than_the_bound_is_noticed() {
        drop(within(100, || vec![0_u8; 101]));
    }
}
