//! The sizes in which small pieces are handed out.

use crate::slab::SLAB;
use core::alloc::Layout;

/// How many sizes there are.
pub const CLASSES: usize = 14;

/// Each power of two, and one between it and the next. A piece is aligned to the largest power of two that divides its
/// size.
pub(crate) const SIZES: [usize; CLASSES] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, LARGEST];

/// The size from which on allocations are whole pages.
pub(crate) const LARGEST: usize = 2048;

const STEP: usize = 16;

/// A size, by its place among [`SIZES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Class(u8);

/// The class of each size, in steps of 16 bytes.
static CLASS_OF: [Class; LARGEST / STEP + 1] = {
    let mut table = [Class(0); LARGEST / STEP + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if step * STEP > SIZES[class as usize] {
            class += 1;
        }
        table[step] = Class(class);
        step += 1;
    }
    table
};

/// For each class, what a multiplication and a shift divide an offset in a slab by its size with.
static RECIPROCALS: [u32; CLASSES] = {
    let mut table = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = (1u32 << SHIFT).div_ceil(SIZES[class] as u32);
        class += 1;
    }
    table
};
const SHIFT: u32 = 25;

impl Class {
    /// The class that pieces of this layout are taken from; none when they are whole pages.
    #[inline]
    pub fn of(layout: Layout) -> Option<Self> {
        // A multiple of the alignment gets a class whose pieces have at least that alignment: one between two powers of
        // two is a multiple of half the smaller one, and no multiple of that one itself rounds up to it.
        let size = (layout.size() + layout.align() - 1) & !(layout.align() - 1);
        CLASS_OF.get(size.wrapping_add(STEP - 1) / STEP).copied()
    }

    /// Its place among all.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The size of its pieces in bytes.
    pub fn size(self) -> usize {
        SIZES[self.index()]
    }

    /// Which piece of a slab an offset lies in: `offset / size`.
    #[inline]
    pub fn piece_at(self, offset: usize) -> usize {
        debug_assert!(offset < SLAB);
        (offset * RECIPROCALS[self.index()] as usize) >> SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Class> {
        (0..CLASSES as u8).map(Class)
    }

    #[test]
    fn every_layout_gets_the_smallest_class_that_holds_it_aligned() {
        for shift in 0..=12 {
            let alignment = 1 << shift;
            for size in 1..=2 * LARGEST {
                let layout = Layout::from_size_align(size, alignment).expect("a layout");
                let holds = |class: &Class| class.size() >= size && class.size().is_multiple_of(alignment);
                assert_eq!(Class::of(layout), all().find(holds), "{layout:?}");
            }
        }
    }

    #[test]
    fn a_multiplication_divides_as_a_division_does() {
        for class in all() {
            for offset in 0..SLAB {
                assert_eq!(class.piece_at(offset), offset / class.size(), "{offset} by {}", class.size());
            }
        }
    }
}
