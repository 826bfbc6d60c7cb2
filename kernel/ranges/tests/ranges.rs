//! Both halves against a model that looks at every single address.

use ranges::{Allocator, subtract};
use std::ops::Range;

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn range(&mut self, limit: usize) -> Range<usize> {
        let (one, other) = (self.below(limit), self.below(limit));
        one.min(other)..one.max(other)
    }
}

#[test]
fn what_remains_is_what_no_hole_covers() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let mut ranges = vec![10..40, 50..50, 60..90];
        let whole = ranges.clone();
        let holes: Vec<_> = (0..random.below(5)).map(|_| random.range(100)).collect();
        holes.iter().for_each(|hole| subtract(&mut ranges, hole));
        for address in 0..100 {
            let within = |ranges: &[Range<usize>]| ranges.iter().any(|range| range.contains(&address));
            assert_eq!(within(&ranges), within(&whole) && !within(&holes), "{address} in {ranges:?} less {holes:?}");
        }
        assert!(ranges.is_sorted_by_key(|range| range.start));
    }
}

#[test]
fn parts_are_aligned_inside_and_apart_from_each_other() {
    let mut random = Random(2);
    let mut allocator = Allocator::new(100..1000);
    let mut parts: Vec<Range<usize>> = Vec::new();
    for _ in 0..5000 {
        if random.below(3) > 0 {
            let (size, alignment) = (1 + random.below(80), 1 << random.below(6));
            match allocator.allocate(size, alignment) {
                Some(start) => {
                    let part = start..start + size;
                    assert!(start % alignment == 0 && part.start >= 100 && part.end <= 1000);
                    assert!(parts.iter().all(|other| part.end <= other.start || other.end <= part.start));
                    parts.push(part);
                }
                None => {
                    // Every place that would do is taken in part.
                    for start in (100usize..=1000 - size).filter(|start| start % alignment == 0) {
                        assert!(parts.iter().any(|other| other.start < start + size && start < other.end));
                    }
                }
            }
        } else if !parts.is_empty() {
            let part = parts.swap_remove(random.below(parts.len()));
            allocator.free(part.start);
        }
    }
    parts.iter().for_each(|part| allocator.free(part.start));
    assert_eq!(allocator.allocate(900, 1), Some(100), "all of it is free again");
}

#[test]
fn what_cannot_be_had_is_none() {
    let mut allocator = Allocator::new(0..100);
    assert_eq!(allocator.allocate(101, 1), None);
    assert_eq!(allocator.allocate(usize::MAX, 1), None);
    assert_eq!(allocator.allocate(1, 1), Some(0));
    assert_eq!(allocator.allocate(usize::MAX, 1), None);
}
