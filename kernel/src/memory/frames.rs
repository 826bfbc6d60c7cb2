//! Physical memory, in runs of pages that are contiguous. Addressed through the linear map.
//!
//! Each page that is in use is charged to somebody. Modules don't get the last of them: those are for the kernel, so that
//! it can end a module that ran out of memory, and say so.

use super::layout::PAGE_SIZE;
use super::reserve;
use abi::sync::Lock;
use buddy_system_allocator::Heap as Buddies;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use heap::Owner;

/// Bytes that only the kernel gets.
const RESERVE: usize = 256 << 10;
/// Bytes above the reserve that only those get who hold less than that, so that one who hoards doesn't starve the others.
const MARGIN: usize = 1 << 20;

/// For how many owners pages are counted. Those beyond are the last one.
pub const OWNERS: usize = 1024;

/// Free memory. Its lists live in the free pages themselves.
struct Free {
    /// What all devices reach.
    near: Buddies<40>,
    /// What some don't reach, and who needs no device takes first.
    far: Buddies<40>,
    /// Where the one ends and the other begins.
    boundary: usize,
}

static FREE: Lock<Free> = Lock::new(Free { near: Buddies::empty(), far: Buddies::empty(), boundary: usize::MAX });

/// How many pages are charged to each owner.
static CHARGED: [AtomicUsize; OWNERS] = [const { AtomicUsize::new(0) }; OWNERS];

fn account(owner: Owner) -> &'static AtomicUsize {
    &CHARGED[owner.number().min(OWNERS - 1)]
}

/// Bytes in pages that are charged to an owner.
pub fn charged(owner: Owner) -> usize {
    account(owner).load(Ordering::Relaxed) * PAGE_SIZE
}

/// Charges pages to `to` that were charged to `from`.
pub fn charge(pages: usize, from: Owner, to: Owner) {
    account(from).fetch_sub(pages, Ordering::Relaxed);
    account(to).fetch_add(pages, Ordering::Relaxed);
}

/// Who has most, apart from the kernel, and how many bytes that is.
pub fn largest_holder() -> (Owner, usize) {
    let owners = (1..OWNERS as u32).map(Owner::new);
    owners.map(|owner| (owner, charged(owner))).max_by_key(|(_, bytes)| *bytes).unwrap_or((Owner::KERNEL, 0))
}

/// Says where in the linear map the memory ends that all devices reach, before any is added.
pub fn set_boundary(address: usize) {
    FREE.lock().boundary = address;
}

/// Gives a range of the linear map to the allocator.
///
/// # Safety
/// The range must be mapped, writable, page-aligned, and nobody else's.
pub unsafe fn add(start: usize, end: usize) {
    let mut free = FREE.lock();
    let boundary = free.boundary.clamp(start, end);
    if start < boundary {
        // SAFETY: the caller's obligation.
        unsafe { free.near.add_to_heap(start, boundary) }
    }
    if boundary < end {
        // SAFETY: as above.
        unsafe { free.far.add_to_heap(boundary, end) }
    }
}

/// Bytes that are free.
pub fn free_bytes() -> usize {
    unused(&FREE.lock())
}

fn unused(free: &Free) -> usize {
    let of = |part: &Buddies<40>| part.stats_total_bytes() - part.stats_alloc_actual();
    of(&free.near) + of(&free.far)
}

/// How much has to stay free of what an owner asks for.
fn floor(owner: Owner) -> usize {
    if owner == Owner::KERNEL || reserve::is_open() {
        0
    } else if charged(owner) < MARGIN {
        RESERVE
    } else {
        RESERVE + MARGIN
    }
}

fn layout(bytes: usize, alignment: usize) -> Option<Layout> {
    Layout::from_size_align(bytes, alignment.max(PAGE_SIZE)).ok()
}

/// Allocates contiguous pages, with any contents, aligned to `alignment` (a power of two), and charges them to `owner`.
pub fn allocate(pages: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>> {
    let from = |free: &mut Free, layout| free.far.alloc(layout).or_else(|()| free.near.alloc(layout));
    allocate_from(from, pages, alignment, owner)
}

/// As [`allocate`], where all devices reach them.
pub fn allocate_for_device(pages: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>> {
    allocate_from(|free, layout| free.near.alloc(layout), pages, alignment, owner)
}

fn allocate_from(
    from: impl FnOnce(&mut Free, Layout) -> Result<NonNull<u8>, ()>,
    pages: usize,
    alignment: usize,
    owner: Owner,
) -> Option<NonNull<u8>> {
    let bytes = pages.checked_mul(PAGE_SIZE).filter(|bytes| *bytes > 0)?;
    let rounded = bytes.checked_next_power_of_two()?.max(alignment);
    let layout = layout(rounded, alignment)?;
    let mut free = FREE.lock();
    // Who stays above the floor needs no look at it: only then is it worth the time.
    let left = unused(&free).checked_sub(bytes)?;
    if left < RESERVE + MARGIN && left < floor(owner) {
        return None;
    }
    let start = from(&mut free, layout).ok()?;
    // The allocator hands out powers of two: give back what lies beyond the end.
    // SAFETY: these pages are part of what was just allocated.
    unsafe { give_back(&mut free, start.as_ptr() as usize + bytes, start.as_ptr() as usize + rounded) };
    drop(free);
    account(owner).fetch_add(pages, Ordering::Relaxed);
    Some(start)
}

/// Frees contiguous pages.
///
/// # Safety
/// They must have been allocated, in one piece or several, be charged to `owner`, and be used by nobody.
pub unsafe fn free(start: NonNull<u8>, pages: usize, owner: Owner) {
    account(owner).fetch_sub(pages, Ordering::Relaxed);
    let start = start.as_ptr() as usize;
    // SAFETY: the caller's obligation.
    unsafe { give_back(&mut FREE.lock(), start, start + pages * PAGE_SIZE) }
}

/// # Safety
/// The pages from `address` to `end` must be allocated, and used by nobody.
unsafe fn give_back(free: &mut Free, mut address: usize, end: usize) {
    // What was allocated in one piece doesn't cross the boundary.
    let part = if address < free.boundary { &mut free.near } else { &mut free.far };
    while address < end {
        // The largest naturally aligned block that starts here and doesn't reach beyond the end.
        let size = (1 << address.trailing_zeros()).min(1 << (end - address).ilog2());
        if let (Some(block), Some(layout)) = (NonNull::new(address as *mut u8), layout(size, PAGE_SIZE)) {
            // SAFETY: a naturally aligned part of an allocated block is a block of its own to a buddy allocator, which
            // keeps no record of allocated blocks; the caller answers for the rest.
            unsafe { part.dealloc(block, layout) };
        }
        address += size;
    }
}
