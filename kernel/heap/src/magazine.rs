//! What a processor keeps at hand of each class.

use crate::PAGE;
use crate::class::{CLASSES, Class};
use core::ptr::NonNull;

/// How many pieces of a class a processor keeps at most, and how many bytes of it.
pub(crate) const PIECES: usize = 32;
pub(crate) const BYTES: usize = 8 << 10;

struct Magazine {
    count: usize,
    pieces: [*mut u8; PIECES],
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
        // SAFETY: the page is the caller's, and zeros are valid: counts of 0 and null pointers.
        unsafe { magazines.write_bytes(0, 1) };
        magazines
    }

    #[inline]
    pub fn pop(&mut self, class: Class) -> Option<NonNull<u8>> {
        let magazine = &mut self.0[class.index()];
        magazine.count = magazine.count.checked_sub(1)?;
        NonNull::new(*magazine.pieces.get(magazine.count)?)
    }

    /// Adds a piece; false when there is no room for it.
    #[inline]
    pub fn push(&mut self, class: Class, piece: NonNull<u8>) -> bool {
        let magazine = &mut self.0[class.index()];
        match magazine.pieces.get_mut(magazine.count) {
            Some(place) if magazine.count < class.most_kept() => {
                *place = piece.as_ptr();
                magazine.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Takes the older half out, rounded up.
    pub fn halve(&mut self, class: Class, mut action: impl FnMut(NonNull<u8>)) {
        let magazine = &mut self.0[class.index()];
        let half = magazine.count.div_ceil(2);
        magazine.pieces.iter().take(half).copied().filter_map(NonNull::new).for_each(&mut action);
        magazine.pieces.copy_within(half..magazine.count, 0);
        magazine.count -= half;
    }
}
