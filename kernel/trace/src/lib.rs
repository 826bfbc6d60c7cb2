//! Rings of trace records: one for each processor, which alone writes it, while anybody may read.
//!
//! Writing takes no lock and allocates nothing. A full ring overwrites its oldest records; since all are numbered, readers
//! see how many they have missed.
#![no_std]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Something that happened. What the fields mean is between those who write and those who read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When, as a counter told: the rings are merged by it.
    pub time: u64,
    /// The number of the thread that ran.
    pub thread: u32,
    /// What happened.
    pub event: u32,
    /// What there is to say of it.
    pub words: [u64; 2],
}

const WORDS: usize = 4;

impl Record {
    fn encode(&self) -> [u64; WORDS] {
        let [one, other] = self.words;
        [self.time, u64::from(self.thread) << 32 | u64::from(self.event), one, other]
    }

    fn decode([time, what, one, other]: [u64; WORDS]) -> Self {
        Self { time, thread: (what >> 32) as u32, event: what as u32, words: [one, other] }
    }
}

/// The latest records of one processor.
#[derive(Debug)]
pub struct Ring {
    /// As many as a power of two. Record number n is in slot n modulo their count.
    slots: Box<[[AtomicU64; WORDS]]>,
    /// How many records have been written, which is the number of the next.
    written: AtomicU64,
}

impl Ring {
    /// A ring that keeps the latest `capacity` records at least.
    ///
    /// # Errors
    /// When there is no memory for them.
    pub fn new(capacity: usize) -> Result<Self, TryReserveError> {
        // The slot that is being written to holds no record.
        let count = (capacity + 1).next_power_of_two();
        let mut slots = Vec::new();
        slots.try_reserve_exact(count)?;
        slots.resize_with(count, Default::default);
        Ok(Self { slots: slots.into_boxed_slice(), written: AtomicU64::new(0) })
    }

    fn slot(&self, number: u64) -> Option<&[AtomicU64; WORDS]> {
        self.slots.get(number as usize & (self.slots.len() - 1))
    }

    /// How many records have been written, those included that are not kept any more.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// How many records have been overwritten.
    pub fn lost(&self) -> u64 {
        self.oldest(self.written())
    }

    /// The oldest record that can be read when `written` have been written: another may be on its way, into the slot of
    /// the one before.
    fn oldest(&self, written: u64) -> u64 {
        (written + 1).saturating_sub(self.slots.len() as u64)
    }

    /// Writes a record. Of two calls at the same time, one record may be lost or be a mixture of both: the owner of the
    /// ring prevents that, by masking interrupts on the one processor that writes.
    pub fn write(&self, record: &Record) {
        let number = self.written.load(Ordering::Relaxed);
        let Some(slot) = self.slot(number) else { return };
        // Whoever sees one of the words below also sees that the record before has been written, and so that this slot
        // is not to be trusted.
        fence(Ordering::Release);
        for (word, value) in slot.iter().zip(record.encode()) {
            word.store(value, Ordering::Relaxed);
        }
        self.written.store(number + 1, Ordering::Release);
    }

    /// The oldest record that is kept from number `from` on, with its number. None when there is none yet.
    pub fn read(&self, from: u64) -> Option<(u64, Record)> {
        loop {
            let written = self.written();
            let number = from.max(self.oldest(written));
            if number >= written {
                return None;
            }
            let mut words = [0; WORDS];
            for (word, value) in words.iter_mut().zip(self.slot(number)?) {
                *word = value.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if number >= self.oldest(self.written.load(Ordering::Relaxed)) {
                return Some((number, Record::decode(words)));
            }
        }
    }
}

/// A record that [`next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The index of its ring.
    pub ring: usize,
    /// The record.
    pub record: Record,
}

/// The earliest record of all rings, those before `positions` left out: the number from which on to read, for each ring.
/// Moves its ring's position behind it. The earlier ring comes first of two with the same time.
pub fn next(rings: &[Ring], positions: &mut [u64]) -> Option<Next> {
    let read = |(index, (ring, position)): (usize, (&Ring, &u64))| Some((index, ring.read(*position)?));
    let found = rings.iter().zip(positions.iter()).enumerate().filter_map(read);
    let (ring, (number, record)) = found.min_by_key(|(_, (_, record))| record.time)?;
    *positions.get_mut(ring)? = number + 1;
    Some(Next { ring, record })
}
