//! Writes to its own code when it is started.
#![no_std]

use abi::prelude::*;

abi::service!(TestWrite, summary = "Writes to its own code");

struct TestWrite;

impl Service for TestWrite {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let code = core::hint::black_box(Self::start as *mut u32);
        // SAFETY: there is no argument for it: that this goes wrong is what the module is for.
        unsafe { code.write_volatile(0) };
        Err(Error::Device("code could be written to".to_owned()))
    }
}
