//! Memory for devices: always in the linear map, so that what a device sees lies at one distance from what the
//! processor sees; where all devices reach it; and never in a cache line or a page with anything of the kernel's.

use super::frames;
use super::layout::PAGE_SIZE;
use abi::sync::Lock;
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use heap::Owner;

/// No piece shares a cache line with another: 64 bytes on the cores of interest.
const CACHE_LINE: usize = 64;
/// By how much the memory for pieces below a page grows.
const GROWTH: usize = 64 << 10;

static SMALL: Lock<Heap<16>> = Lock::new(Heap::empty());
/// Bytes taken from the frames.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are set aside for devices.
pub fn usage() -> usize {
    TAKEN.load(Ordering::Relaxed)
}

/// Pieces below a page: powers of two, aligned to their size.
fn small(size: usize) -> Option<Layout> {
    let rounded = size.checked_next_power_of_two()?.max(CACHE_LINE);
    if rounded < PAGE_SIZE { Layout::from_size_align(rounded, rounded).ok() } else { None }
}

/// Allocates zeros. Whole pages are charged to `owner`.
pub fn allocate(size: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>> {
    // Freeing goes by the size alone, and a piece is aligned to its size.
    let start = match small(size).filter(|layout| alignment <= layout.align()) {
        Some(layout) => {
            let mut heap = SMALL.lock();
            match heap.alloc(layout) {
                Ok(start) => start,
                Err(()) => {
                    let growth = frames::allocate_for_device(GROWTH / PAGE_SIZE, GROWTH, owner)?.as_ptr() as usize;
                    frames::charge(GROWTH / PAGE_SIZE, owner, Owner::KERNEL);
                    TAKEN.fetch_add(GROWTH, Ordering::Relaxed);
                    // SAFETY: these pages were just allocated for this heap, which keeps them for good.
                    unsafe { heap.add_to_heap(growth, growth + GROWTH) };
                    heap.alloc(layout).ok()?
                }
            }
        }
        None if small(size).is_some() => return None,
        None => {
            let pages = size.div_ceil(PAGE_SIZE);
            let start = frames::allocate_for_device(pages, alignment, owner)?;
            TAKEN.fetch_add(pages * PAGE_SIZE, Ordering::Relaxed);
            start
        }
    };
    // SAFETY: at least `size` bytes were just allocated; they are mapped writable.
    unsafe { start.as_ptr().write_bytes(0, size) };
    Some(start)
}

/// Frees what [`allocate`] allocated.
///
/// # Safety
/// `size` and `owner` must be those that were given, and nothing may refer to the memory any more.
pub unsafe fn free(start: NonNull<u8>, size: usize, owner: Owner) {
    match small(size) {
        // SAFETY: memory of this size was allocated with this layout, and the caller is done with it.
        Some(layout) => unsafe { SMALL.lock().dealloc(start, layout) },
        None => {
            let pages = size.div_ceil(PAGE_SIZE);
            TAKEN.fetch_sub(pages * PAGE_SIZE, Ordering::Relaxed);
            // SAFETY: memory of this size was allocated as this many pages, and the caller is done with it.
            unsafe { frames::free(start, pages, owner) }
        }
    }
}
