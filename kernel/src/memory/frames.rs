//! Physical memory, in runs of pages that are contiguous. Addressed through the linear map.

use super::layout::PAGE_SIZE;
use abi::sync::Lock;
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Free memory. Its lists live in the free pages themselves.
static FREE: Lock<Heap<40>> = Lock::new(Heap::empty());

/// Gives a range of the linear map to the allocator.
///
/// # Safety
/// The range must be mapped, writable, page-aligned, and nobody else's.
pub unsafe fn add(start: usize, end: usize) {
    // SAFETY: the caller's obligation.
    unsafe { FREE.lock().add_to_heap(start, end) }
}

/// Bytes that are free.
pub fn free_bytes() -> usize {
    let heap = FREE.lock();
    heap.stats_total_bytes() - heap.stats_alloc_actual()
}

fn layout(bytes: usize, alignment: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, alignment.max(PAGE_SIZE)).ok()
}

/// Allocates contiguous pages, with any contents, aligned to `alignment` (a power of two).
pub fn allocate(pages: usize, alignment: usize) -> Option<NonNull<u8>> {
    let bytes = pages.checked_mul(PAGE_SIZE).filter(|bytes| *bytes > 0)?;
    let rounded = bytes.checked_next_power_of_two()?.max(alignment);
    let start = FREE.lock().alloc(layout(rounded, alignment)?).ok()?;
    // The allocator hands out powers of two: give back what lies beyond the end.
    // SAFETY: these pages are part of what was just allocated, and `free` takes any run of pages.
    unsafe { free(start.byte_add(bytes), (rounded - bytes) / PAGE_SIZE) };
    Some(start)
}

/// Frees contiguous pages.
///
/// # Safety
/// They must have been allocated, in one piece or several, and be used by nobody.
pub unsafe fn free(start: NonNull<u8>, pages: usize) {
    let (mut address, end) = (start.as_ptr() as usize, start.as_ptr() as usize + pages * PAGE_SIZE);
    let mut heap = FREE.lock();
    while address < end {
        // The largest naturally aligned block that starts here and doesn't reach beyond the end.
        let size = (1 << address.trailing_zeros()).min(1 << (end - address).ilog2());
        if let (Some(block), Some(layout)) = (NonNull::new(address as *mut u8), layout(size, PAGE_SIZE)) {
            // SAFETY: a naturally aligned part of an allocated block is a block of its own to a buddy allocator, which
            // keeps no record of allocated blocks; the caller answers for the rest.
            unsafe { heap.dealloc(block, layout) };
        }
        address += size;
    }
}
