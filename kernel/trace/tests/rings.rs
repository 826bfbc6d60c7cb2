//! Rings against a model that forgets nothing, and with a writer and readers at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use trace::{Next, Record, Ring, next};

/// A record whose words all follow from its number.
fn record(number: u64) -> Record {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Record { time: number, thread: mixed as u32, event: !mixed as u32, words: [mixed, !mixed] }
}

#[test]
fn what_is_read_is_what_was_written_last() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let capacity = random.usize(1..40);
        let ring = Ring::new(capacity).unwrap();
        let mut model = Vec::new();
        let mut position = 0;
        for _ in 0..random.usize(0..300) {
            if random.u8(..) < 150 {
                let record = record(random.u64(..));
                ring.write(&record);
                model.push(record);
                continue;
            }
            // A reader that goes on where it was, and one that begins anywhere.
            let from = if random.bool() { position } else { random.u64(0..model.len() as u64 + 3) };
            let found = ring.read(from);
            let lost = ring.lost();
            assert_eq!(ring.written(), model.len() as u64);
            assert!(model.len() as u64 - lost <= 2 * capacity as u64, "{lost} of {} lost", model.len());
            assert!(lost == 0 || model.len() as u64 - lost >= capacity as u64, "{lost} of {} lost", model.len());
            let number = from.max(lost);
            let expected = model.get(number as usize).map(|record| (number, *record));
            assert_eq!(found, expected);
            position = found.map_or(position, |(number, _)| number + 1);
        }
    }
}

#[test]
fn records_that_are_written_while_they_are_read_are_whole_and_in_order() {
    const COUNT: u64 = 2_000_000;
    let ring = Ring::new(7).unwrap();
    let done = AtomicBool::new(false);
    let reader = || {
        let (mut position, mut read) = (0, 0);
        loop {
            let last_chance = done.load(Ordering::Acquire);
            match ring.read(position) {
                Some((number, found)) => {
                    assert!(number >= position);
                    assert_eq!(found, record(number));
                    position = number + 1;
                    read += 1;
                }
                None if last_chance => break (position, read),
                None => std::hint::spin_loop(),
            }
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        (0..COUNT).for_each(|number| ring.write(&record(number)));
        done.store(true, Ordering::Release);
        for reader in readers {
            let (position, read) = reader.join().unwrap();
            assert_eq!(position, COUNT);
            assert!(read >= 7);
        }
    });
}

#[test]
fn rings_are_merged_by_time_in_whatever_pieces() {
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        let rings: Vec<Ring> = (0..random.usize(1..5)).map(|_| Ring::new(64).unwrap()).collect();
        let mut expected: Vec<Next> = Vec::new();
        let mut time = 0;
        for _ in 0..random.usize(0..60) {
            time += random.u64(0..3);
            let ring = random.usize(0..rings.len());
            let record = Record { time, words: [random.u64(..), 0], ..Record::default() };
            rings[ring].write(&record);
            expected.push(Next { ring, record });
        }
        expected.sort_by_key(|Next { ring, record }| (record.time, *ring));
        let mut positions = vec![0; rings.len()];
        let mut found = Vec::new();
        while let Some(next) = next(&rings, &mut positions) {
            found.push(next);
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn a_ring_without_memory_is_an_error() {
    assert!(Ring::new(usize::MAX >> 8).is_err());
}
