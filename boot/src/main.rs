//! The kernel image.
//!
//! `start.s` holds the first instructions: it takes the machine as the boot loader leaves it to the upper half of the
//! address space. From there on everything is the `kernel` crate's; this crate only adds what the build generates.
#![no_std]
#![no_main]

use kernel::Handover;

core::arch::global_asm!(include_str!("start.s"));

#[allow(missing_docs, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}

/// Where `start.s` goes once the processor runs in the upper half, on the boot stack.
#[unsafe(no_mangle)]
extern "C" fn boot_main(device_tree: usize, device_tree_physical: usize, image_physical: usize) -> ! {
    kernel::main(Handover { device_tree, device_tree_physical, image_physical, contract: &generated::CONTRACT })
}
