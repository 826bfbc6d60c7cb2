//! Reads through a null pointer when it is started.
#![no_std]

use abi::prelude::*;

abi::service!(TestNull, summary = "Reads through a null pointer");

struct TestNull;

impl Service for TestNull {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let pointer = core::hint::black_box(core::ptr::null::<u32>());
        // SAFETY: there is no argument for it: that this goes wrong is what the module is for.
        let value = unsafe { pointer.read_volatile() };
        Err(Error::Device(format!("{value} could be read through a null pointer")))
    }
}
