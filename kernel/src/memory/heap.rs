//! The kernel's heap, which modules share through the allocation functions of the language.

use super::{frames, layout::PAGE_SIZE};
use abi::sync::Lock;
use buddy_system_allocator::Heap;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Allocations from this size on are runs of pages of their own.
const LARGE: usize = 32 << 10;
/// By how much the heap grows.
const GROWTH: usize = 64 << 10;
/// What the heap has before there is an allocator of frames: a part of the image.
pub const EARLY: usize = 256 << 10;

static SMALL: Lock<Heap<24>> = Lock::new(Heap::empty());
/// Bytes in large allocations.
static LARGE_BYTES: AtomicUsize = AtomicUsize::new(0);

#[repr(align(65536))]
struct Early(core::cell::UnsafeCell<[u8; EARLY]>);

// SAFETY: only `initialise` touches it, once, and hands it to the heap, which is behind a lock.
unsafe impl Sync for Early {}

static EARLY_MEMORY: Early = Early(core::cell::UnsafeCell::new([0; EARLY]));

/// Makes the heap usable.
///
/// # Safety
/// To be called once, before the first allocation.
pub unsafe fn initialise() {
    let start = EARLY_MEMORY.0.get() as usize;
    // SAFETY: the static is used for nothing else, and the caller says that this happens once.
    unsafe { SMALL.lock().init(start, EARLY) }
}

/// What the heap has taken and how much of that is allocated, in bytes.
pub fn usage() -> (usize, usize) {
    let small = SMALL.lock();
    let large = LARGE_BYTES.load(Ordering::Relaxed);
    (small.stats_total_bytes() + large, small.stats_alloc_actual() + large)
}

/// Whether an allocation now wouldn't wait for one that has been interrupted.
pub fn is_usable() -> bool {
    SMALL.try_lock().is_some()
}

struct KernelHeap;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap;

/// Whether a piece of memory is in the heap's first part, before there were frames.
fn is_early(start: NonNull<u8>) -> bool {
    let first = EARLY_MEMORY.0.get() as usize;
    (first..first + EARLY).contains(&(start.as_ptr() as usize))
}

fn pages(layout: Layout) -> usize {
    layout.size().div_ceil(PAGE_SIZE)
}

// SAFETY: memory comes from `frames` or from the buddy heap, both of which hand out each byte once and with the
// alignment asked for; neither unwinds.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            if let Some(start) = frames::allocate(pages(layout), layout.align()) {
                LARGE_BYTES.fetch_add(pages(layout) * PAGE_SIZE, Ordering::Relaxed);
                return start.as_ptr();
            }
            // While there are no frames yet, the early memory has to do.
            let mut heap = SMALL.lock();
            return match heap.alloc(layout) {
                Ok(start) if is_early(start) => start.as_ptr(),
                Ok(start) => {
                    // SAFETY: just allocated with this layout, and not used.
                    unsafe { heap.dealloc(start, layout) };
                    null_mut()
                }
                Err(()) => null_mut(),
            };
        }
        let mut heap = SMALL.lock();
        if let Ok(start) = heap.alloc(layout) {
            return start.as_ptr();
        }
        let growth = GROWTH.max(layout.size().next_power_of_two()).max(layout.align());
        let Some(start) = frames::allocate(growth / PAGE_SIZE, growth) else {
            return null_mut();
        };
        let start = start.as_ptr() as usize;
        // SAFETY: these pages were just allocated for the heap, which keeps them for good.
        unsafe { heap.add_to_heap(start, start + growth) };
        heap.alloc(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        let Some(start) = NonNull::new(start) else { return };
        if layout.size() >= LARGE && !is_early(start) {
            LARGE_BYTES.fetch_sub(pages(layout) * PAGE_SIZE, Ordering::Relaxed);
            // SAFETY: `alloc` allocated that many pages for the same layout, and the caller is done with them.
            unsafe { frames::free(start, pages(layout)) };
        } else {
            // SAFETY: `alloc` took it from this heap with the same layout.
            unsafe { SMALL.lock().dealloc(start, layout) };
        }
    }
}
