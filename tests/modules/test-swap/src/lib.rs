//! A clock that counts how often it is asked, and hands that over to its successor.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;

abi::driver!(
    TestSwap: Clock,
    compatible = ["lockstep,test-swap"],
    summary = "Counts how often it is asked, also across instances",
    parameters = {
        /// The version in which it hands over its count
        writes: u32 = 1,
        /// The version in which it takes one over
        reads: u32 = 1,
        /// Whether it panics when it is to take one over
        panics: bool = false,
    },
);

/// The state's name: a count of eight bytes, little-endian.
const STATE: &str = "test-swap";

struct TestSwap {
    count: Lock<u64>,
}

impl Driver for TestSwap {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let Some(handover) = resources.handover() else { return Ok(Self { count: Lock::new(0) }) };
        assert!(!parameters::panics(), "it was told to");
        handover.version(STATE, parameters::reads()..=parameters::reads())?;
        let count = handover.bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(Self { count: Lock::new(count) })
    }

    fn hand_over(&self) -> Option<Handover> {
        let count = self.count.lock().to_le_bytes();
        Some(Handover::new(STATE, parameters::writes(), count.to_vec(), Vec::new()))
    }
}

impl Clock for TestSwap {
    fn now(&self) -> UnixTime {
        let mut count = self.count.lock();
        *count += 1;
        UnixTime::from_secs(*count)
    }
}
