//! Memory whose content is on a screen.

use crate::registry::ProviderId;
use crate::{Result, kernel};
use core::ops::Range;
use core::ptr::NonNull;

/// The pixels of a frame buffer, of 32 bits each, mapped for as long as this lives.
///
/// Owned: no other driver has them. They can be written and not read, for reading what isn't cached is slow.
#[derive(Debug)]
pub struct Pixels {
    start: NonNull<u32>,
    count: usize,
    mapping: u64,
}

// SAFETY: an address, valid on every thread.
unsafe impl Send for Pixels {}
// SAFETY: a shared reference gives out numbers only.
unsafe impl Sync for Pixels {}

impl Pixels {
    pub(crate) fn map(provider: ProviderId, place: Option<Range<u64>>) -> Result<Self> {
        let mapped = kernel::pixels_map(provider, place)?;
        Ok(Self { start: mapped.start.cast(), count: mapped.size / size_of::<u32>(), mapping: mapped.identifier })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Sets the pixels from number `first` on, as far as there are so many.
    pub fn set(&mut self, first: usize, pixels: &[u32]) {
        for (index, pixel) in (first..self.count).zip(pixels) {
            // SAFETY: it lies within the mapping, which lives as long as `self` and is aligned to a pixel, and nobody else
            // has it.
            unsafe { self.start.add(index).write_volatile(*pixel) }
        }
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        // SAFETY: nothing else refers to the pixels, and this is the mapping that `map` made.
        unsafe { kernel::registers_unmap(self.mapping) }
    }
}
