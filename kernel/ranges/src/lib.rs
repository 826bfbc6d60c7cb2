//! Ranges of addresses: what remains of one after others are taken out, and handing out parts of one.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

use alloc::vec::Vec;
use core::ops::Range;

/// Takes `hole` out of every range of `ranges`.
pub fn subtract(ranges: &mut Vec<Range<usize>>, hole: &Range<usize>) {
    if hole.is_empty() {
        return;
    }
    let mut index = 0;
    while let Some(range) = ranges.get(index).cloned() {
        if hole.end <= range.start || range.end <= hole.start {
            index += 1;
            continue;
        }
        ranges.remove(index);
        for part in [range.start..hole.start.max(range.start), hole.end.min(range.end)..range.end] {
            if !part.is_empty() {
                ranges.insert(index, part);
                index += 1;
            }
        }
    }
}

/// Hands out parts of a range, first fit.
pub struct Allocator {
    range: Range<usize>,
    /// What is in use, in order.
    used: Vec<Range<usize>>,
}

impl Allocator {
    /// All of `range` is free.
    pub const fn new(range: Range<usize>) -> Self {
        Self { range, used: Vec::new() }
    }

    /// Finds `size` addresses from a multiple of `alignment` (a power of two) on.
    pub fn allocate(&mut self, size: usize, alignment: usize) -> Option<usize> {
        let mut start = self.range.start.next_multiple_of(alignment);
        let mut index = 0;
        for used in &self.used {
            if start.checked_add(size)? <= used.start {
                break;
            }
            start = used.end.next_multiple_of(alignment);
            index += 1;
        }
        let end = start.checked_add(size).filter(|end| *end <= self.range.end)?;
        self.used.insert(index, start..end);
        Some(start)
    }

    /// Takes back what [`allocate`](Self::allocate) returned.
    pub fn free(&mut self, start: usize) {
        if let Ok(index) = self.used.binary_search_by_key(&start, |used| used.start) {
            self.used.remove(index);
        }
    }
}
