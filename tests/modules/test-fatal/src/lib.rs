//! Does what nobody can go on from when it is started.
#![no_std]

extern crate alloc;

use abi::prelude::*;
use core::alloc::Layout;
use core::hint::black_box;

abi::service!(
    TestFatal,
    summary = "Ends the system",
    parameters = {
        /// `free` memory where nothing is, which has the kernel's allocator write there, or read from there with interrupts
        /// `masked`
        mode: String = "masked",
    },
);

struct TestFatal;

impl Service for TestFatal {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let nothing: *mut u8 = black_box(core::ptr::without_provenance_mut(0x1000));
        if parameters::mode() == "free" {
            // SAFETY: there is no argument for it: that this goes wrong is what the module is for.
            unsafe { alloc::alloc::dealloc(nothing, Layout::new::<[u64; 8]>()) };
            return Err(Error::Device("the allocator took what isn't there".to_owned()));
        }
        #[cfg(target_os = "none")]
        // SAFETY: none.
        unsafe {
            core::arch::asm!("msr daifset, #2")
        };
        // SAFETY: none.
        let value = unsafe { nothing.read_volatile() };
        Err(Error::Device(format!("{value} could be read from where nothing is")))
    }
}
