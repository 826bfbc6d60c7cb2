//! The kernel's heap, which modules share through the allocation functions of the language. How it works is in the crate
//! `heap`; here is what it stands on.

use super::{frames, owner};
use crate::processor::{self, InterruptsMasked};
use abi::sync::Lock;
use buddy_system_allocator::Heap as Buddies;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use heap::{CLASSES, ClassStatistics, Collected, Heap, Holding, Owner, PAGE, Platform, Roots};

/// What the heap has before there is an allocator of frames: a part of the image. A slab of each size, and the page tables
/// of a machine whose memory is in many pieces.
pub const EARLY: usize = 512 << 10;

#[repr(align(65536))]
struct Early(UnsafeCell<[u8; EARLY]>);

// SAFETY: only `initialise` touches it, once, and hands it to an allocator, which is behind a lock.
unsafe impl Sync for Early {}

static EARLY_MEMORY: Early = Early(UnsafeCell::new([0; EARLY]));

/// The pages of the early memory that are free.
static EARLY_PAGES: Lock<Buddies<20>> = Lock::new(Buddies::empty());

/// Where the early memory is.
pub fn early_memory() -> Range<usize> {
    let start = EARLY_MEMORY.0.get() as usize;
    start..start + EARLY
}

/// Makes the heap usable.
///
/// # Safety
/// To be called once, before the first allocation.
pub unsafe fn initialise() {
    // SAFETY: the static is used for nothing else, and the caller says that this happens once.
    unsafe { EARLY_PAGES.lock().init(early_memory().start, EARLY) }
}

/// Where the heap has its pages from.
struct Pages;

/// Bytes in pages that the heap has of the frames.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

fn early_layout(pages: usize, alignment: usize) -> Option<Layout> {
    Layout::from_size_align(pages * PAGE, alignment).ok()
}

// SAFETY: frames and early memory are handed out once. A processor's number is its own, and nothing else runs on it while
// its interrupts are masked; nobody calls `masked` from within `masked`, but for visits of slabs and runs, which don't
// allocate.
unsafe impl Platform for Pages {
    fn allocate_pages(&self, pages: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>> {
        // The early memory is the kernel's: all there is before there are frames, and no worse than those later.
        let early = early_layout(pages, alignment).filter(|_| owner == Owner::KERNEL);
        if let Some(start) = early.and_then(|layout| EARLY_PAGES.lock().alloc(layout).ok()) {
            return Some(start);
        }
        let start = frames::allocate(pages, alignment, owner)?;
        TAKEN.fetch_add(pages * PAGE, Ordering::Relaxed);
        Some(start)
    }

    unsafe fn free_pages(&self, start: NonNull<u8>, pages: usize, owner: Owner) {
        if !early_memory().contains(&start.addr().get()) {
            TAKEN.fetch_sub(pages * PAGE, Ordering::Relaxed);
            // SAFETY: these pages were allocated together, and the caller is done with them.
            unsafe { frames::free(start, pages, owner) };
        } else if let Some(layout) = early_layout(pages, PAGE) {
            // SAFETY: as above. The allocator goes by the size, to which larger alignments add nothing: slabs are aligned
            // to theirs, and what has whole pages to itself to a page.
            unsafe { EARLY_PAGES.lock().dealloc(start, layout) };
        }
    }

    fn charge_pages(&self, pages: usize, from: Owner, to: Owner) {
        frames::charge(pages, from, to);
    }

    #[inline]
    fn masked<R>(&self, action: impl FnOnce(usize) -> R) -> R {
        let _masked = InterruptsMasked::new();
        let index = processor::index();
        let busy = &BUSY[index % processor::MOST];
        busy.store(true, Ordering::Relaxed);
        let result = action(index);
        busy.store(false, Ordering::Relaxed);
        result
    }

    #[inline(always)]
    fn claim_stack(&self) {
        processor::claim_stack();
    }
}

/// Whether a processor is in the middle of something here.
static BUSY: [AtomicBool; processor::MOST] = [const { AtomicBool::new(false) }; processor::MOST];

/// Whether an allocation now wouldn't wait for one that has failed on this processor.
pub fn is_usable() -> bool {
    !BUSY[processor::index() % processor::MOST].load(Ordering::Relaxed)
}

struct KernelHeap(Heap<Pages, { processor::MOST }>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(Heap::new(Pages));

// SAFETY: the heap hands out each byte once and with the alignment asked for, and doesn't unwind.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.allocate(layout, owner()).map_or(null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: `alloc` returned it for that layout, so it isn't null; the caller is done with it.
        unsafe { self.0.free(NonNull::new_unchecked(start), layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that the size, rounded up to the alignment, is one that a layout may have.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if Heap::<Pages, { processor::MOST }>::is_in_place(layout, new) {
            return start;
        }
        // SAFETY: `start` was allocated with `layout` and is the caller's; what is copied is part of both.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(start, layout.size().min(size));
                // Whoever gets it next may not fill it, and what grows is often a list of addresses: who looks for what is in use
                // would find all of them there.
                start.write_bytes(0, layout.size());
                self.dealloc(start, layout);
            }
            moved
        }
    }
}

/// What the heap has taken, in bytes.
pub fn taken() -> usize {
    EARLY + TAKEN.load(Ordering::Relaxed)
}

/// Counts what each owner holds; see [`Heap::count_holdings`].
pub fn count_holdings(holdings: &mut [Holding]) {
    HEAP.0.count_holdings(holdings);
}

/// How the pieces of each size are used.
pub fn statistics() -> [ClassStatistics; CLASSES] {
    HEAP.0.statistics()
}

/// Takes back what an owner that is no more has left behind; see [`Heap::collect`].
///
/// # Safety
/// As there.
pub unsafe fn collect(dead: Owner, roots: &impl Roots) -> Option<Collected> {
    // SAFETY: the caller's obligation.
    unsafe { HEAP.0.collect(dead, roots) }
}

/// Shows all words that may be addresses; see [`Heap::each_word`].
///
/// # Safety
/// As there.
pub unsafe fn each_word(roots: &impl Roots, visit: impl FnMut(usize)) {
    // SAFETY: the caller's obligation.
    unsafe { HEAP.0.each_word(roots, visit) }
}
