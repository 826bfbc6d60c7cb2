//! A heap that scales with processors, knows who holds what, and takes back what the dead leaked.
//!
//! Small pieces come from slabs of one size each. A processor keeps some of each size at hand, in magazines that only it
//! uses; it fetches and returns them by the half magazine, so locks are taken once for many allocations. Whatever
//! processor frees a piece puts it into its own magazine, and what that can't hold goes back to the slab. Larger
//! allocations are whole pages.
//!
//! Each piece has a tag at the beginning of its slab that says on whose behalf it was allocated ([`Owner`]). The tags are
//! all the accounts there are: who wants to know what somebody holds counts them ([`Heap::count_holdings`]), and an
//! allocation pays no more than a store for it. They also tell the collector whose pieces may be garbage
//! ([`Heap::collect`]).
//!
//! What the heap needs of the machine is in [`Platform`].
#![no_std]

mod class;
mod collect;
mod large;
mod magazine;
mod slab;

use class::Class;
use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};
use large::Runs;
use magazine::Magazines;
use slab::{List, SLAB, Slab};
use spin::mutex::SpinMutex;

pub use class::CLASSES;
pub use collect::{Collected, Roots};

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// On whose behalf something was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Owner(u16);

impl Owner {
    /// The kernel.
    pub const KERNEL: Self = Self(0);
    /// The last number that an owner has; those beyond share it.
    const LAST: u16 = u16::MAX - 4;
    /// The heap's own records.
    const HEAP: Self = Self(u16::MAX - 3);
    /// Reached by the collector, which has yet to look into it.
    const REACHED: Self = Self(u16::MAX - 2);
    /// Reached by the collector, which has looked into it or is about to.
    const SCANNED: Self = Self(u16::MAX - 1);
    /// Nobody.
    const FREE: Self = Self(u16::MAX);

    /// The owner with that number: 0 is the kernel.
    #[inline]
    pub fn new(number: u32) -> Self {
        Self(number.min(u32::from(Self::LAST)) as u16)
    }

    /// Its number.
    #[inline]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// Whether this is somebody who asked for memory.
    fn is_holder(self) -> bool {
        self.0 <= Self::LAST
    }
}

/// What the heap stands on.
///
/// # Safety
/// Pages are handed out writable, as many and aligned as asked for, to nobody else until they are freed. Of two calls of
/// [`masked`](Self::masked) that overlap, nested ones included, no two have the same number.
pub unsafe trait Platform {
    /// Allocates contiguous pages with any contents, and charges them to `owner`. Must not use the heap.
    fn allocate_pages(&self, pages: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>>;

    /// Frees pages.
    ///
    /// # Safety
    /// They must have been allocated together, be charged to `owner`, and be used by nobody.
    unsafe fn free_pages(&self, start: NonNull<u8>, pages: usize, owner: Owner);

    /// Charges that many pages to `to` that were charged to `from`.
    fn charge_pages(&self, pages: usize, from: Owner, to: Owner);

    /// Calls `action` with the number of the processor that it runs on, while nothing else can run on that one.
    fn masked<R>(&self, action: impl FnOnce(usize) -> R) -> R;

    /// Called before what takes more than a few words of the stack and may not end halfway.
    fn claim_stack(&self) {}
}

/// What one owner holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Allocations.
    pub objects: usize,
    /// Bytes of them, rounded up to what was handed out.
    pub bytes: usize,
}

/// How the pieces of one size are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStatistics {
    /// Bytes in a piece.
    pub size: usize,
    /// Slabs that hold pieces of this size.
    pub slabs: usize,
    /// Bytes in these slabs.
    pub bytes: usize,
    /// Pieces that these slabs have room for.
    pub capacity: usize,
    /// Pieces that somebody holds.
    pub used: usize,
    /// Pieces that processors keep at hand.
    pub kept: usize,
}

/// The slabs of one class. Each has cache lines of its own.
#[repr(align(128))]
struct Shelf(SpinMutex<Slabs>);

struct Slabs {
    /// Those that have pieces to give, empty ones included.
    partial: List,
    full: List,
    /// How many are empty.
    empty: usize,
}

/// A heap for up to `PROCESSORS` processors.
pub struct Heap<P, const PROCESSORS: usize> {
    platform: P,
    /// Each processor's, or null as long as it hasn't freed or allocated anything.
    magazines: [AtomicPtr<Magazines>; PROCESSORS],
    shelves: [Shelf; CLASSES],
    runs: Runs,
}

// SAFETY: magazines are reached only by the processor whose they are, with everything else on it masked; slabs are behind
// locks, but for their tags, which are atomic.
unsafe impl<P: Sync, const PROCESSORS: usize> Sync for Heap<P, PROCESSORS> {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl<P: Send, const PROCESSORS: usize> Send for Heap<P, PROCESSORS> {}

impl<P: Platform, const PROCESSORS: usize> Heap<P, PROCESSORS> {
    /// An empty heap.
    pub const fn new(platform: P) -> Self {
        const EMPTY: Slabs = Slabs { partial: List::EMPTY, full: List::EMPTY, empty: 0 };
        Self {
            platform,
            magazines: [const { AtomicPtr::new(null_mut()) }; PROCESSORS],
            shelves: [const { Shelf(SpinMutex::new(EMPTY)) }; CLASSES],
            runs: Runs::new(),
        }
    }

    /// Allocates memory with any contents on behalf of `owner`.
    #[inline]
    pub fn allocate(&self, layout: Layout, owner: Owner) -> Option<NonNull<u8>> {
        let Some(class) = Class::of(layout) else { return self.allocate_run(layout, owner) };
        // SAFETY: nothing else runs on this processor.
        let kept = self.platform.masked(|processor| unsafe { self.magazines_of(processor) }?.pop(class));
        let Some(piece) = kept else { return self.refill(class, owner) };
        // SAFETY: the piece was taken from a slab of that class.
        unsafe { Slab::tag_of(piece, class) }.store(owner.0, Ordering::Relaxed);
        Some(piece)
    }

    /// Frees memory. What is free already stays so.
    ///
    /// # Safety
    /// It must have been allocated here with that layout, and nothing may refer to it any more.
    #[inline]
    pub unsafe fn free(&self, start: NonNull<u8>, layout: Layout) {
        let Some(class) = Class::of(layout) else {
            // SAFETY: the caller's obligation.
            return unsafe { self.free_run(start) };
        };
        // SAFETY: with that layout, it was taken from a slab of that class.
        let tag = unsafe { Slab::tag_of(start, class) };
        if tag.load(Ordering::Relaxed) == Owner::FREE.0 {
            // Somebody broke the rules, and has to be kept from having it handed out twice.
            return;
        }
        tag.store(Owner::FREE.0, Ordering::Relaxed);
        let is_kept = self.platform.masked(|processor| {
            // SAFETY: nothing else runs on this processor.
            unsafe { self.magazines_of(processor) }.is_some_and(|magazines| magazines.push(class, start))
        });
        if !is_kept {
            self.put_away(class, start);
        }
    }

    /// Whether what was allocated with one layout can stay where it is with another of the same alignment.
    #[inline]
    pub fn is_in_place(former: Layout, new: Layout) -> bool {
        match (Class::of(former), Class::of(new)) {
            (None, None) => former.size().div_ceil(PAGE) == new.size().div_ceil(PAGE),
            (former, new) => former == new,
        }
    }

    /// The magazines of a processor that has some.
    ///
    /// # Safety
    /// `processor` must be the number of this one, and nothing else run on it while they are used.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "they belong to the processor, not to the heap that keeps their address")]
    unsafe fn magazines_of(&self, processor: usize) -> Option<&mut Magazines> {
        // SAFETY: once made, they stay for good; the caller has them alone.
        unsafe { self.magazines.get(processor)?.load(Ordering::Relaxed).as_mut() }
    }

    /// The magazines of a processor, made if need be.
    ///
    /// # Safety
    /// As for [`magazines_of`](Self::magazines_of).
    #[allow(clippy::mut_from_ref, reason = "they belong to the processor, not to the heap that keeps their address")]
    unsafe fn make_magazines(&self, processor: usize) -> Option<&mut Magazines> {
        let place = self.magazines.get(processor)?;
        if place.load(Ordering::Relaxed).is_null() {
            let page = self.platform.allocate_pages(1, PAGE, Owner::KERNEL)?;
            // SAFETY: the page was just allocated, and is never freed.
            place.store(unsafe { Magazines::new(page) }.as_ptr(), Ordering::Relaxed);
        }
        // SAFETY: the caller's obligation.
        unsafe { self.magazines_of(processor) }
    }

    /// Fills half of an empty magazine, and allocates a piece more.
    #[cold]
    #[inline(never)]
    fn refill(&self, class: Class, owner: Owner) -> Option<NonNull<u8>> {
        self.platform.claim_stack();
        let piece = self.platform.masked(|processor| {
            let mut slabs = self.shelves[class.index()].0.lock();
            let piece = self.take(&mut slabs, class, Some(owner))?;
            // SAFETY: nothing else runs on this processor.
            if let Some(magazines) = unsafe { self.make_magazines(processor) } {
                for _ in 0..magazines.batch(class) {
                    let Some(piece) = self.take(&mut slabs, class, None) else { break };
                    magazines.push(class, piece);
                }
            }
            Some(piece)
        })?;
        // SAFETY: the piece was taken from a slab of that class.
        unsafe { Slab::tag_of(piece, class) }.store(owner.0, Ordering::Relaxed);
        Some(piece)
    }

    /// Puts a piece away that has no place in the magazine, and half of the magazine with it.
    #[cold]
    #[inline(never)]
    fn put_away(&self, class: Class, piece: NonNull<u8>) {
        self.platform.claim_stack();
        self.platform.masked(|processor| {
            let mut slabs = self.shelves[class.index()].0.lock();
            // SAFETY: nothing else runs on this processor.
            if let Some(magazines) = unsafe { self.make_magazines(processor) } {
                // SAFETY: what is in a magazine of this class was taken out of a slab of the class.
                magazines.halve(class, |piece| unsafe { self.put(&mut slabs, piece) });
                if magazines.push(class, piece) {
                    return;
                }
            }
            // SAFETY: as above.
            unsafe { self.put(&mut slabs, piece) }
        });
    }

    /// Allocates pages with zeros: whoever gets a part of them doesn't seem to refer to what their old contents refer to.
    fn allocate_clear_pages(&self, pages: usize, alignment: usize, owner: Owner) -> Option<NonNull<u8>> {
        let start = self.platform.allocate_pages(pages, alignment, owner)?;
        // SAFETY: just allocated, with that many bytes.
        unsafe { start.write_bytes(0, pages * PAGE) };
        Some(start)
    }

    /// Takes a piece out of a slab; when all are full, out of a new one that is charged to `owner`, if there is one.
    fn take(&self, slabs: &mut Slabs, class: Class, owner: Option<Owner>) -> Option<NonNull<u8>> {
        let slab = match (slabs.partial.first(), owner) {
            (Some(slab), _) => slab,
            (None, None) => return None,
            (None, Some(owner)) => {
                let pages = self.allocate_clear_pages(SLAB / PAGE, SLAB, owner)?;
                // SAFETY: the pages were just allocated; the new slab is in no list.
                unsafe {
                    let slab = Slab::new(pages, class, owner);
                    slabs.partial.insert(slab);
                    slabs.empty += 1;
                    slab
                }
            }
        };
        // SAFETY: the slab is in the first list, which the lock protects.
        unsafe {
            slabs.empty -= usize::from((*slab.as_ptr()).is_empty());
            let piece = Slab::take(slab);
            if (*slab.as_ptr()).is_full() {
                slabs.partial.remove(slab);
                slabs.full.insert(slab);
            }
            piece
        }
    }

    /// Puts a piece back into its slab. One empty slab is kept for the next who needs it.
    ///
    /// # Safety
    /// The piece must be one of these slabs' that is out, and nobody's.
    unsafe fn put(&self, slabs: &mut Slabs, piece: NonNull<u8>) {
        let slab = Slab::of(piece);
        // SAFETY: the slab is in one of the lists, which the lock protects, and in the second if it is full.
        unsafe {
            if (*slab.as_ptr()).is_full() {
                slabs.full.remove(slab);
                slabs.partial.insert(slab);
            }
            Slab::put(slab, piece);
            if !(*slab.as_ptr()).is_empty() {
                return;
            }
            if slabs.empty == 0 {
                slabs.empty = 1;
                return;
            }
            slabs.partial.remove(slab);
            let charged = (*slab.as_ptr()).charged;
            self.platform.free_pages(slab.cast(), SLAB / PAGE, charged);
        }
    }

    /// Calls `visit` with each slab, whose lock is held meanwhile.
    fn each_slab(&self, mut visit: impl FnMut(NonNull<Slab>)) {
        for shelf in &self.shelves {
            self.platform.masked(|_| {
                let slabs = shelf.0.lock();
                // SAFETY: the lock protects the lists.
                let (partial, full) = unsafe { (slabs.partial.iter(), slabs.full.iter()) };
                full.chain(partial).for_each(&mut visit);
            });
        }
    }

    /// Adds what each owner holds to the element of `holdings` with its number; what those beyond the last hold, to the
    /// last. Exact when nobody allocates or frees meanwhile.
    pub fn count_holdings(&self, holdings: &mut [Holding]) {
        let Some(last) = holdings.len().checked_sub(1) else { return };
        let mut count = |owner: Owner, bytes: usize| {
            if let Some(holding) = holdings.get_mut(owner.number().min(last)).filter(|_| owner.is_holder()) {
                holding.objects += 1;
                holding.bytes += bytes;
            }
        };
        self.each_slab(|slab| {
            // SAFETY: the slab is there as long as its lock is held.
            let (used, size) = unsafe { ((*slab.as_ptr()).used(), (*slab.as_ptr()).class.size()) };
            for piece in used {
                // SAFETY: as above, and it has that piece.
                count(Owner(unsafe { Slab::tag(slab, piece) }.load(Ordering::Relaxed)), size);
            }
        });
        // SAFETY: a record is there as long as its lock is held.
        self.each_run(|run| unsafe { count((*run.as_ptr()).owner, (*run.as_ptr()).size()) });
    }

    /// How the pieces of each size are used.
    pub fn statistics(&self) -> [ClassStatistics; CLASSES] {
        let mut all = class::SIZES.map(|size| ClassStatistics { size, ..ClassStatistics::default() });
        self.each_slab(|slab| {
            // SAFETY: the slab is there as long as its lock is held.
            let (class, used, out) =
                unsafe { ((*slab.as_ptr()).class, (*slab.as_ptr()).used(), (*slab.as_ptr()).out()) };
            // SAFETY: as above, and it has that piece.
            let is_held = |piece: &usize| unsafe { Slab::tag(slab, *piece) }.load(Ordering::Relaxed) != Owner::FREE.0;
            let held = used.filter(is_held).count();
            let statistics = &mut all[class.index()];
            statistics.slabs += 1;
            statistics.bytes += SLAB;
            statistics.capacity += Slab::pieces(class) - Slab::first_piece(class);
            statistics.used += held;
            statistics.kept += out.saturating_sub(held);
        });
        all
    }
}
