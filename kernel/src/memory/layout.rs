//! The map of the upper half of the address space. The lower half stays empty: it is for modules in spaces of their own.

use crate::chance;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// Bytes that one entry of a level-2 table maps.
pub const BLOCK_SIZE: usize = 2 << 20;

/// All memory, in the order of its physical addresses.
pub const LINEAR: usize = 0xffff_0000_0000_0000;
/// The highest physical address that the linear map has room for.
pub const LINEAR_SIZE: usize = 1 << 46;

/// Device registers. Where the first are is chosen at each boot, in the lower half of this.
pub const DEVICES: Range<usize> = 0xffff_8000_0000_0000..0xffff_8100_0000_0000;

/// Thread stacks, each in a slot of [`STACK_SLOT`]. Where the first is is chosen at each boot, in the lower half of this.
pub const STACKS: Range<usize> = 0xffff_9000_0000_0000..0xffff_9100_0000_0000;
/// A stack's slot: the upper half is the stack, the lower half its guard (see `exceptions.s`).
pub const STACK_SLOT: usize = 128 << 10;
/// Bytes in a stack. Unwinding alone takes some 6 KiB.
pub const STACK_SIZE: usize = STACK_SLOT / 2;

/// The stack that an address is on, or in the guard of: a thread's, or the one that the machine was booted with.
pub fn stack_of(address: usize) -> Option<Range<usize>> {
    let slot = address & !(STACK_SLOT - 1);
    let boot = super::boot_stack();
    let is_stack = STACKS.contains(&address) || slot + STACK_SLOT == boot.end;
    is_stack.then_some(slot + STACK_SIZE..slot + STACK_SLOT)
}

/// How many places there are for the image, besides the one that it was linked for (`linker.ld`): at each of so many
/// blocks, in each of so many GiB below.
pub const IMAGE_BLOCKS: usize = 448;
/// See [`IMAGE_BLOCKS`].
pub const IMAGE_GIBIBYTES: usize = 256;

/// Where modules are, from the start of the image: so close that a branch (128 MiB) from any to any reaches.
const MODULES: Range<usize> = 64 << 20..120 << 20;
/// How much before that the first module may be. The image is smaller than the rest.
const MODULES_BEFORE: usize = 48 << 20;

unsafe extern "C" {
    static __image_start: u8;
}

/// The start of the kernel's image: where `linker.ld` has it, unless `start.s` has moved it.
pub fn image() -> usize {
    &raw const __image_start as usize
}

/// Where to put modules. Each call may return another range.
pub fn modules() -> Range<usize> {
    image() + MODULES.start - chance::displacement(MODULES_BEFORE, PAGE_SIZE)..image() + MODULES.end
}

/// What is left of `range` when its beginning is moved by chance.
pub fn moved(range: Range<usize>, granule: usize) -> Range<usize> {
    range.start + chance::displacement(range.len() / 2, granule)..range.end
}

/// Where the image lies in physical memory.
static IMAGE_PHYSICAL: AtomicUsize = AtomicUsize::new(0);

/// Notes where the image was loaded.
pub fn set_image_physical(address: usize) {
    IMAGE_PHYSICAL.store(address, Ordering::Relaxed);
}

/// The physical address of memory in the linear map or in the image.
pub fn physical(address: usize) -> usize {
    if address >= image() { address - image() + IMAGE_PHYSICAL.load(Ordering::Relaxed) } else { address - LINEAR }
}

/// Where memory of that physical address is in the linear map.
pub const fn linear(physical: usize) -> usize {
    LINEAR + physical
}
