//! Calls itself until its stack is full when it is started.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;

abi::service!(TestStack, summary = "Overflows its stack");

struct TestStack;

impl Service for TestStack {
    fn start(_resources: &mut Resources) -> Result<Self> {
        Err(Error::Device(format!("{} calls returned", calls(0))))
    }
}

/// Counts for ever.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the point")]
fn calls(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 32]);
    calls(depth + 1) + frame.iter().sum::<u64>()
}
