//! What a processor keeps at hand of each class.

use crate::PAGE;
use crate::class::{CLASSES, Class, SIZES};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// How many pieces of a class a processor keeps at most, and how many bytes of it.
const PIECES: usize = 32;
const BYTES: usize = 8 << 10;

struct Magazine {
    count: usize,
    /// How many it may have.
    most: usize,
    /// As many as `count` are there.
    pieces: [MaybeUninit<NonNull<u8>>; PIECES],
}

/// The magazines of one processor.
#[repr(C, align(4096))]
pub(crate) struct Magazines([Magazine; CLASSES]);

const _: () = assert!(size_of::<Magazines>() == PAGE && CLASSES == 14);

impl Magazines {
    /// Makes a page the magazines of a processor, which are empty.
    ///
    /// # Safety
    /// The page must be the caller's, for good.
    pub unsafe fn new(page: NonNull<u8>) -> NonNull<Self> {
        let magazines = page.cast::<Self>();
        for (index, size) in SIZES.into_iter().enumerate() {
            // In place: the stack of whoever allocates may have no page to spare.
            // SAFETY: the page is the caller's, and has that many magazines. Their pieces may be anything.
            unsafe {
                let magazine = magazines.cast::<Magazine>().add(index).as_ptr();
                (&raw mut (*magazine).count).write(0);
                (&raw mut (*magazine).most).write(PIECES.min(BYTES / size));
            }
        }
        magazines
    }

    /// How many pieces are fetched at a time.
    pub fn batch(&self, class: Class) -> usize {
        self.0[class.index()].most / 2
    }

    /// Takes out what was put in last.
    #[inline]
    pub fn pop(&mut self, class: Class) -> Option<NonNull<u8>> {
        let magazine = &mut self.0[class.index()];
        let last = magazine.count.checked_sub(1)?;
        let piece = magazine.pieces.get(last)?;
        magazine.count = last;
        // SAFETY: as many as `count` are there.
        Some(unsafe { piece.assume_init() })
    }

    /// Adds a piece; false when there is no room for it.
    #[inline]
    pub fn push(&mut self, class: Class, piece: NonNull<u8>) -> bool {
        let magazine = &mut self.0[class.index()];
        let count = magazine.count;
        if count >= magazine.most {
            return false;
        }
        // SAFETY: `most` is at most as many as there are places.
        unsafe { magazine.pieces.get_unchecked_mut(count) }.write(piece);
        magazine.count = count + 1;
        true
    }

    /// Takes the older half out, rounded up.
    pub fn halve(&mut self, class: Class, mut action: impl FnMut(NonNull<u8>)) {
        let magazine = &mut self.0[class.index()];
        let half = magazine.count.div_ceil(2);
        // SAFETY: as many as `count` are there.
        magazine.pieces.iter().take(half).for_each(|piece| action(unsafe { piece.assume_init() }));
        magazine.pieces.copy_within(half..magazine.count, 0);
        magazine.count -= half;
    }
}
