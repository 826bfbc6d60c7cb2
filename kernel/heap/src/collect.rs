//! Taking back what an owner that is no more has left behind.
//!
//! What it allocated may live on in other hands, so reachability decides, as in the collector by Boehm and Weiser
//! ("Garbage collection in an uncooperative environment", Software: Practice and Experience 18(9), 1988): any word that
//! looks like an address inside a piece keeps the piece. Only the dead owner's pieces can be garbage; everybody else's
//! are where the search begins, together with what the platform names as [`Roots`].

use crate::large::Run;
use crate::slab::{SLAB, Slab};
use crate::{Heap, Holding, Owner, PAGE, Platform};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// How many reached pieces may wait to be looked into. Those beyond are found again by going through the heap.
const WAITING: usize = 256;

/// Where addresses of pieces may be, outside of the heap.
///
/// # Safety
/// Each range that is visited must be readable, and hold still until the collection is over.
pub unsafe trait Roots {
    /// Calls `visit` with each range, from its first byte to the one behind its last.
    fn each(&self, visit: &mut dyn FnMut(Range<*const u8>));
}

/// What came of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// What nothing could reach any more: it was freed.
    pub freed: Holding,
    /// What somebody has, or seems to.
    pub kept: Holding,
}

/// A part of the heap that has pieces of the dead owner: a slab, or a run of pages.
#[derive(Clone, Copy)]
struct Block {
    start: NonNull<u8>,
    size: usize,
    /// The run's record; none for a slab.
    run: Option<NonNull<Run>>,
}

/// Everything that may be garbage, and what was reached of it.
struct Search<'s> {
    dead: Owner,
    /// In the order of their addresses.
    blocks: &'s [Block],
    /// From the first block to the end of the last.
    span: Range<usize>,
    waiting: [MaybeUninit<(NonNull<u8>, usize)>; WAITING],
    count: usize,
    /// Some didn't find room among those that wait.
    overflowed: bool,
    kept: Holding,
}

impl Search<'_> {
    /// Looks into a range that is no garbage, and into what is reached from there.
    ///
    /// # Safety
    /// It must be readable, and so must all blocks.
    unsafe fn scan(&mut self, start: *const u8, size: usize) {
        // SAFETY: the caller's obligation.
        unsafe { self.scan_words(start, size) };
        while let Some(last) = self.count.checked_sub(1) {
            self.count = last;
            // SAFETY: as many as `count` are there. They are pieces, or runs of pages.
            unsafe {
                let (start, size) = self.waiting[last].assume_init();
                self.scan_words(start.as_ptr(), size);
            }
        }
    }

    /// # Safety
    /// As for [`scan`](Self::scan).
    unsafe fn scan_words(&mut self, start: *const u8, size: usize) {
        let skipped = start.align_offset(size_of::<usize>());
        let words = start.wrapping_add(skipped).cast::<usize>();
        for index in 0..size.saturating_sub(skipped) / size_of::<usize>() {
            // SAFETY: aligned, and within what the caller says can be read. Somebody's variables may be changed by nobody
            // now, but the compiler is to read them where they are.
            let word = unsafe { words.add(index).read_volatile() };
            if self.span.contains(&word) {
                self.reach(word);
            }
        }
    }

    /// Marks what `address` lies in, if it may be garbage.
    fn reach(&mut self, address: usize) {
        let behind = self.blocks.partition_point(|block| block.start.addr().get() <= address);
        let Some(block) = behind.checked_sub(1).and_then(|index| self.blocks.get(index)) else { return };
        let offset = address - block.start.addr().get();
        if offset >= block.size {
            return;
        }
        match block.run {
            Some(run) => {
                // SAFETY: records stay as long as the search does.
                let owner = unsafe { &mut (*run.as_ptr()).owner };
                if *owner == self.dead {
                    *owner = if self.wait(block.start, block.size) { Owner::SCANNED } else { Owner::REACHED };
                    self.count_kept(block.size);
                }
            }
            None => {
                let slab = block.start.cast::<Slab>();
                // SAFETY: slabs stay as long as the search does.
                let (class, used) = unsafe { ((*slab.as_ptr()).class, (*slab.as_ptr()).used()) };
                let index = class.piece_at(offset);
                if !used.contains(&index) {
                    return;
                }
                // SAFETY: the slab has that piece.
                let (tag, piece) = unsafe { (Slab::tag(slab, index), Slab::piece(slab, index)) };
                if tag.load(Ordering::Relaxed) == self.dead.0 {
                    let owner = if self.wait(piece, class.size()) { Owner::SCANNED } else { Owner::REACHED };
                    tag.store(owner.0, Ordering::Relaxed);
                    self.count_kept(class.size());
                }
            }
        }
    }

    fn count_kept(&mut self, bytes: usize) {
        self.kept.objects += 1;
        self.kept.bytes += bytes;
    }

    /// Notes that a piece has to be looked into; false when there is no room for the note.
    fn wait(&mut self, piece: NonNull<u8>, size: usize) -> bool {
        let Some(place) = self.waiting.get_mut(self.count) else {
            self.overflowed = true;
            return false;
        };
        place.write((piece, size));
        self.count += 1;
        true
    }
}

impl<P: Platform, const PROCESSORS: usize> Heap<P, PROCESSORS> {
    /// Frees all that was allocated on behalf of `dead` and that nothing can reach any more: neither `roots`, nor what
    /// others hold. What can be reached stays the dead owner's, so that another search may find it to be garbage: what
    /// keeps it may be gone by then, or have been no address at all. None when there is no memory for the search, which
    /// takes 32 bytes for each slab and each run of pages that the dead owner has a part of; then nothing has happened.
    ///
    /// # Safety
    /// Nothing else may run: no other processor, and no interrupt on this one. Whatever refers to a piece that `dead`
    /// allocated must do so by an address inside of it, in a word that is aligned, in `roots` or in the heap.
    pub unsafe fn collect(&self, dead: Owner, roots: &impl Roots) -> Option<Collected> {
        let mut count = 0;
        self.each_block_of(dead, |_| count += 1);
        if count == 0 {
            return Some(Collected::default());
        }
        let pages = (count * size_of::<Block>()).div_ceil(PAGE);
        let memory = self.platform.allocate_pages(pages, PAGE, Owner::KERNEL)?;
        let list = memory.cast::<Block>();
        let mut index = 0;
        // SAFETY: there is room for as many blocks as were counted, and nothing has changed since.
        self.each_block_of(dead, |block| unsafe {
            list.add(index).write(block);
            index += 1;
        });
        // SAFETY: just written; the pages are this function's.
        let blocks = unsafe { core::slice::from_raw_parts_mut(list.as_ptr(), index) };
        blocks.sort_unstable_by_key(|block| block.start);
        let end = blocks.last().map_or(0, |block| block.start.addr().get() + block.size);
        let mut search = Search {
            dead,
            span: blocks.first().map_or(0, |block| block.start.addr().get())..end,
            blocks,
            waiting: [MaybeUninit::uninit(); WAITING],
            count: 0,
            overflowed: false,
            kept: Holding::default(),
        };
        // SAFETY: roots and allocations can be read, and nothing changes them.
        unsafe {
            roots.each(&mut |range| search.scan(range.start, range.end.addr() - range.start.addr()));
            self.scan_where(&mut search, |owner| owner.is_holder() && owner != dead);
            while core::mem::take(&mut search.overflowed) {
                self.scan_where(&mut search, |owner| owner == Owner::REACHED);
            }
        }
        let kept = search.kept;
        let freed = self.sweep(blocks, dead);
        // SAFETY: allocated above, and nothing refers to it any more.
        unsafe { self.platform.free_pages(memory, pages, Owner::KERNEL) };
        Some(Collected { freed, kept })
    }

    /// Shows all words in `roots` and in what is allocated: where an address would be of anything that is in use.
    ///
    /// # Safety
    /// As for [`collect`](Self::collect); `visit` must not allocate.
    pub unsafe fn each_word(&self, roots: &impl Roots, mut visit: impl FnMut(usize)) {
        let mut show = |start: *const u8, size: usize| {
            let skipped = start.align_offset(size_of::<usize>());
            let words = start.wrapping_add(skipped).cast::<usize>();
            for index in 0..size.saturating_sub(skipped) / size_of::<usize>() {
                // SAFETY: aligned, and within roots or an allocation, which can be read.
                visit(unsafe { words.add(index).read_volatile() });
            }
        };
        roots.each(&mut |range| show(range.start, range.end.addr() - range.start.addr()));
        self.each_slab(|slab| {
            // SAFETY: the slab is there as long as its lock is held.
            let (used, size) = unsafe { ((*slab.as_ptr()).used(), (*slab.as_ptr()).class.size()) };
            for index in used {
                // SAFETY: as above, and it has that piece.
                let (tag, piece) = unsafe { (Slab::tag(slab, index), Slab::piece(slab, index)) };
                if Owner(tag.load(Ordering::Relaxed)).is_holder() {
                    show(piece.as_ptr(), size);
                }
            }
        });
        self.each_run(|run| {
            // SAFETY: a record is there as long as its lock is held.
            let record = unsafe { run.as_ref() };
            show(record.start.as_ptr(), record.size());
        });
    }

    /// Calls `visit` with each slab and run in which `owner` has something, or that is charged to it.
    fn each_block_of(&self, owner: Owner, mut visit: impl FnMut(Block)) {
        self.each_slab(|slab| {
            // SAFETY: the slab is there as long as its lock is held, and has those pieces.
            let (has, charged) = unsafe {
                let head = &*slab.as_ptr();
                let has = |piece| Slab::tag(slab, piece).load(Ordering::Relaxed) == owner.0;
                (head.used().any(has), head.charged == owner)
            };
            if has || charged {
                visit(Block { start: slab.cast(), size: SLAB, run: None });
            }
        });
        self.each_run(|run| {
            // SAFETY: a record is there as long as its lock is held.
            let record = unsafe { run.as_ref() };
            if record.owner == owner {
                visit(Block { start: record.start, size: record.size(), run: Some(run) });
            }
        });
    }

    /// Looks into all pieces whose owners are meant.
    ///
    /// # Safety
    /// As for [`collect`](Self::collect).
    unsafe fn scan_where(&self, search: &mut Search<'_>, is_meant: impl Fn(Owner) -> bool) {
        let scan = |search: &mut Search<'_>, start: NonNull<u8>, size| {
            // SAFETY: pieces and runs can be read, and nobody changes them.
            unsafe { search.scan(start.as_ptr(), size) }
        };
        self.each_slab(|slab| {
            // SAFETY: the slab is there as long as its lock is held.
            let (used, size) = unsafe { ((*slab.as_ptr()).used(), (*slab.as_ptr()).class.size()) };
            for index in used {
                // SAFETY: as above, and it has that piece.
                let (tag, piece) = unsafe { (Slab::tag(slab, index), Slab::piece(slab, index)) };
                let owner = Owner(tag.load(Ordering::Relaxed));
                if is_meant(owner) {
                    if owner == Owner::REACHED {
                        tag.store(Owner::SCANNED.0, Ordering::Relaxed);
                    }
                    scan(search, piece, size);
                }
            }
        });
        self.each_run(|run| {
            // SAFETY: a record is there as long as its lock is held.
            let (start, size, owner) = unsafe {
                let record = &mut *run.as_ptr();
                (record.start, record.size(), &mut record.owner)
            };
            if is_meant(*owner) {
                if *owner == Owner::REACHED {
                    *owner = Owner::SCANNED;
                }
                scan(search, start, size);
            }
        });
    }

    /// Frees what still has the dead owner's tag, and gives it back to what was reached. Slabs are the kernel's from now on:
    /// others have pieces of them.
    fn sweep(&self, blocks: &[Block], dead: Owner) -> Holding {
        let mut freed = Holding::default();
        // Slabs first: to free a run ends its record, and that may end the record's slab.
        for block in blocks.iter().filter(|block| block.run.is_none()) {
            self.sweep_slab(block.start.cast(), dead, &mut freed);
        }
        for (block, run) in blocks.iter().filter_map(|block| Some((block, block.run?))) {
            // SAFETY: records stay as long as their pages do.
            let owner = unsafe { &mut (*run.as_ptr()).owner };
            if *owner != dead {
                *owner = dead;
                continue;
            }
            freed.objects += 1;
            freed.bytes += block.size;
            // SAFETY: nothing refers to these pages any more.
            unsafe { self.free_run(block.start) };
        }
        freed
    }

    fn sweep_slab(&self, slab: NonNull<Slab>, dead: Owner, freed: &mut Holding) {
        // SAFETY: it has not been swept yet, so it is there.
        let head = unsafe { &mut *slab.as_ptr() };
        let (class, used) = (head.class, head.used());
        if head.charged == dead {
            head.charged = Owner::KERNEL;
            self.platform.charge_pages(SLAB / PAGE, dead, Owner::KERNEL);
        }
        let mut slabs = self.shelves[class.index()].0.lock();
        // The slab ends with the last piece that is put back, if no other is out: garbage has to be counted first.
        let mut garbage = 0;
        let tags = used.clone().map(|index| {
            // SAFETY: the slab is there, and has that piece.
            unsafe { Slab::tag(slab, index) }
        });
        tags.for_each(|tag| match Owner(tag.load(Ordering::Relaxed)) {
            owner if owner == dead => {
                tag.store(Owner::REACHED.0, Ordering::Relaxed);
                garbage += 1;
            }
            Owner::SCANNED => tag.store(dead.0, Ordering::Relaxed),
            _ => {}
        });
        freed.objects += garbage;
        freed.bytes += garbage * class.size();
        for index in used {
            if garbage == 0 {
                break;
            }
            // SAFETY: as long as garbage is out, the slab is there; it has that piece, and nothing refers to garbage. Zeros,
            // so that whoever gets the piece next doesn't seem to refer to anything.
            unsafe {
                let tag = Slab::tag(slab, index);
                if tag.load(Ordering::Relaxed) == Owner::REACHED.0 {
                    tag.store(Owner::FREE.0, Ordering::Relaxed);
                    Slab::piece(slab, index).write_bytes(0, class.size());
                    self.put(&mut slabs, Slab::piece(slab, index));
                    garbage -= 1;
                }
            }
        }
    }
}
