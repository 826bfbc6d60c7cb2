//! How allocation scales: pairs of an allocation and a free a second, with 1 to 8 threads, beside the heap behind one
//! lock that a buddy allocator is.

use buddy_system_allocator::Heap as BuddyHeap;
use common::{THREADS, be_processor, heap};
use heap::Owner;
use spin::Mutex;
use std::alloc::Layout;
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

#[path = "../tests/common/mod.rs"]
mod common;

const PAIRS: usize = 4_000_000;
/// How many pieces each thread holds at a time.
const HELD: usize = 24;

/// Has each of `threads` do its part of the pairs; returns millions of pairs a second.
fn measure(
    threads: usize,
    allocate: impl Fn(Layout) -> NonNull<u8> + Sync,
    free: impl Fn(NonNull<u8>, Layout) + Sync,
) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..threads {
            let (allocate, free) = (&allocate, &free);
            scope.spawn(move || {
                be_processor(number);
                let layout = |step: usize| Layout::from_size_align(24 + step % 5 * 40, 8).expect("a layout");
                let mut held: [Option<NonNull<u8>>; HELD] = [None; HELD];
                for step in 0..PAIRS / threads {
                    let slot = step % HELD;
                    if let Some(piece) = held[slot].take() {
                        free(piece, layout(slot));
                    }
                    held[slot] = Some(black_box(allocate(layout(slot))));
                }
            });
        }
    });
    PAIRS as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn main() {
    println!("threads  magazines  one lock   (million pairs a second)");
    for threads in [1, 2, 4, THREADS] {
        let (heap, _) = heap(1 << 16);
        let magazines = measure(
            threads,
            |layout| heap.allocate(layout, Owner::KERNEL).expect("memory"),
            // SAFETY: each piece is freed once, with its layout.
            |piece, layout| unsafe { heap.free(piece, layout) },
        );
        let memory = vec![0u8; 4 << 20].leak();
        let buddy = Mutex::new(BuddyHeap::<24>::empty());
        // SAFETY: the memory is the heap's for good.
        unsafe { buddy.lock().init(memory.as_ptr().addr(), memory.len()) };
        let one_lock = measure(
            threads,
            |layout| buddy.lock().alloc(layout).expect("memory"),
            // SAFETY: as above.
            |piece, layout| unsafe { buddy.lock().dealloc(piece, layout) },
        );
        println!("{threads:7}  {magazines:9.1}  {one_lock:8.1}");
    }
}
