//! Allocations of whole pages. Their records are pieces of the heap, found by the address.

use crate::{Heap, Owner, PAGE, Platform};
use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use spin::mutex::SpinMutex;

/// In how many lists the records are kept.
const LISTS: usize = 256;

/// The record of one allocation.
pub(crate) struct Run {
    next: *mut Run,
    pub start: NonNull<u8>,
    pub pages: usize,
    pub owner: Owner,
}

impl Run {
    /// Bytes in its pages.
    pub fn size(&self) -> usize {
        self.pages * PAGE
    }
}

/// The records of all, by address.
pub(crate) struct Runs([SpinMutex<*mut Run>; LISTS]);

impl Runs {
    pub const fn new() -> Self {
        Self([const { SpinMutex::new(null_mut()) }; LISTS])
    }

    fn list(&self, start: NonNull<u8>) -> &SpinMutex<*mut Run> {
        let page = start.addr().get() / PAGE;
        &self.0[(page ^ (page / LISTS)) % LISTS]
    }
}

impl<P: Platform, const PROCESSORS: usize> Heap<P, PROCESSORS> {
    #[cold]
    #[inline(never)]
    pub(crate) fn allocate_run(&self, layout: Layout, owner: Owner) -> Option<NonNull<u8>> {
        self.platform.claim_stack();
        let run = self.allocate(Layout::new::<Run>(), Owner::HEAP)?.cast::<Run>();
        let pages = layout.size().div_ceil(PAGE);
        let Some(start) = self.allocate_clear_pages(pages, layout.align().max(PAGE), owner) else {
            // SAFETY: just allocated with this layout, and not used.
            unsafe { self.free(run.cast(), Layout::new::<Run>()) };
            return None;
        };
        self.platform.masked(|_| {
            let mut list = self.runs.list(start).lock();
            // SAFETY: allocated for a record.
            unsafe { run.write(Run { next: *list, start, pages, owner }) };
            *list = run.as_ptr();
        });
        Some(start)
    }

    /// Frees whole pages, if they haven't been freed yet.
    ///
    /// # Safety
    /// Nothing may refer to them any more.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn free_run(&self, start: NonNull<u8>) {
        self.platform.claim_stack();
        let found = self.platform.masked(|_| {
            let mut list = self.runs.list(start).lock();
            let mut link: *mut *mut Run = &raw mut *list;
            // SAFETY: the lock is held, and all that are in the list are records.
            unsafe {
                while !(*link).is_null() && (**link).start != start {
                    link = &raw mut (**link).next;
                }
                let run = NonNull::new(*link)?;
                *link = (*run.as_ptr()).next;
                Some(run)
            }
        });
        let Some(run) = found else { return };
        // SAFETY: the record is in no list any more, so it and the pages are this function's; they were allocated together.
        unsafe {
            let Run { pages, owner, .. } = run.read();
            self.platform.free_pages(start, pages, owner);
            self.free(run.cast(), Layout::new::<Run>());
        }
    }

    /// Calls `visit` with each record, whose lock is held meanwhile.
    pub(crate) fn each_run(&self, mut visit: impl FnMut(NonNull<Run>)) {
        for list in &self.runs.0 {
            self.platform.masked(|_| {
                let list = list.lock();
                let mut next = *list;
                while let Some(run) = NonNull::new(next) {
                    // SAFETY: the lock is held, and all that are in the list are records.
                    next = unsafe { (*run.as_ptr()).next };
                    visit(run);
                }
            });
        }
    }
}
