//! Takes what its node has, and panics in `probe`.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::registers::Opaque;

abi::driver!(TestPanic, compatible = ["lockstep,test-panic"], summary = "Panics in probe");

struct TestPanic;

impl Driver for TestPanic {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        // Given back as the panic unwinds.
        let _registers = resources.registers::<Opaque>(0)?;
        let _buffer = resources.dma().allocate(8192, 4096)?;
        // Left behind, for the kernel to take back.
        core::mem::forget(resources.interrupt(0)?);
        panic!("the driver of {} was told to panic", node.path())
    }
}
