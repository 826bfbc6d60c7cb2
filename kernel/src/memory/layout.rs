//! The map of the upper half of the address space. The lower half stays empty: it is for modules in spaces of their own.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// Bytes that one entry of a level-2 table maps.
pub const BLOCK_SIZE: usize = 2 << 20;

/// All memory, in the order of its physical addresses.
pub const LINEAR: usize = 0xffff_0000_0000_0000;
/// The highest physical address that the linear map has room for.
pub const LINEAR_SIZE: usize = 1 << 46;

/// Device registers.
pub const DEVICES: core::ops::Range<usize> = 0xffff_8000_0000_0000..0xffff_8100_0000_0000;

/// Thread stacks, each in a slot of [`STACK_SLOT`].
pub const STACKS: core::ops::Range<usize> = 0xffff_9000_0000_0000..0xffff_9100_0000_0000;
/// A stack's slot: the upper half is the stack, the lower half its guard (see `exceptions.s`).
pub const STACK_SLOT: usize = 128 << 10;
/// Bytes in a stack. Unwinding alone takes some 6 KiB.
pub const STACK_SIZE: usize = STACK_SLOT / 2;

/// The kernel's image (`linker.ld`).
pub const IMAGE: usize = 0xffff_ffff_8000_0000;

/// Modules: so close to the image that a branch (128 MiB) from any to any reaches.
pub const MODULES: core::ops::Range<usize> = IMAGE + (64 << 20)..IMAGE + (120 << 20);

/// Where the image lies in physical memory.
static IMAGE_PHYSICAL: AtomicUsize = AtomicUsize::new(0);

/// Notes where the image was loaded.
pub fn set_image_physical(address: usize) {
    IMAGE_PHYSICAL.store(address, Ordering::Relaxed);
}

/// The physical address of memory in the linear map or in the image.
pub fn physical(address: usize) -> usize {
    if address >= IMAGE { address - IMAGE + IMAGE_PHYSICAL.load(Ordering::Relaxed) } else { address - LINEAR }
}

/// Where memory of that physical address is in the linear map.
pub const fn linear(physical: usize) -> usize {
    LINEAR + physical
}
