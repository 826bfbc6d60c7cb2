//! The kernel's address space: what is mapped where, and with which permission.

use super::layout::{self, BLOCK_SIZE, DEVICES, LINEAR, PAGE_SIZE, STACK_SIZE, STACK_SLOT, STACKS};
use super::tables::{self, Tables};
use super::{frames, owner};
use crate::processor::Protection;
use aarch64_cpu::registers::{ReadWriteable, TCR_EL1, TTBR0_EL1, Writeable};
use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, VaRange};
use aarch64_paging::{MapError, Mapping};
use abi::sync::Lock;
use abi::{Error, Result};
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;
use heap::Owner;

/// What may be done with a mapping. No permission has both writing and executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Code.
    Execute,
    /// Constants.
    Read,
    /// Variables.
    Write,
    /// Device registers, in order and uncached.
    Device,
    /// What a device shows: uncached, in any order, and several writes at once.
    Pixels,
}

impl Permission {
    fn attributes(self) -> El1Attributes {
        type A = El1Attributes;
        let valid = A::VALID | A::ACCESSED | A::UXN;
        // The memory types are those of MAIR_EL1 in `start.s`.
        let memory = valid | A::ATTRIBUTE_INDEX_0 | A::INNER_SHAREABLE;
        match self {
            Self::Execute if Protection::of_this().targets => memory | A::READ_ONLY | A::GP,
            Self::Execute => memory | A::READ_ONLY,
            Self::Read => memory | A::READ_ONLY | A::PXN,
            Self::Write => memory | A::PXN,
            Self::Pixels => valid | A::ATTRIBUTE_INDEX_2 | A::OUTER_SHAREABLE | A::PXN,
            Self::Device => valid | A::ATTRIBUTE_INDEX_1 | A::OUTER_SHAREABLE | A::PXN,
        }
    }
}

struct Space {
    mapping: Mapping<Tables, El1And0>,
    devices: ranges::Allocator,
    stacks: ranges::Allocator,
    modules: ranges::Allocator,
    /// Where modules' variables are mapped.
    variables: Vec<Range<usize>>,
}

static SPACE: Lock<Option<Space>> = Lock::new(None);

fn with<R>(action: impl FnOnce(&mut Space) -> R) -> R {
    match SPACE.lock().as_mut() {
        Some(space) => action(space),
        None => unreachable!("memory::initialise comes before everything that maps"),
    }
}

fn map_error(error: MapError) -> Error {
    Error::Invalid(alloc::format!("the kernel can't map that: {error}"))
}

impl Space {
    /// Maps what can be done without only if there is memory for its tables.
    fn map_prepared(&mut self, place: Range<usize>, physical: usize, permission: Permission) -> Result<()> {
        tables::prepare(&place, physical)?;
        self.map(place, physical, permission)
    }

    fn map(&mut self, place: Range<usize>, physical: usize, permission: Permission) -> Result<()> {
        let region = MemoryRegion::new(place.start, place.end);
        self.mapping
            .map_range(&region, PhysicalAddress(physical), permission.attributes(), Constraints::empty())
            .map_err(map_error)
    }

    fn unmap(&mut self, place: Range<usize>) {
        let region = MemoryRegion::new(place.start, place.end);
        let result = self.mapping.map_range(&region, PhysicalAddress(0), El1Attributes::empty(), Constraints::empty());
        if let Err(error) = result {
            unreachable!("what is unmapped was mapped in pages before, but: {error}");
        }
    }
}

/// Makes the final page tables and switches to them: the image by section, `memory` (physical ranges) in the linear
/// map, nothing else, and nothing at all in the lower half.
///
/// # Safety
/// To be called once, on the boot tables. `memory` must be ordinary memory.
pub unsafe fn initialise(memory: &[Range<usize>], sections: &[(Range<usize>, Permission)]) -> Result<()> {
    let mapping = Mapping::with_asid_and_va_range(Tables, 0, 0, El1And0, VaRange::Upper);
    let mut space = Space {
        mapping,
        devices: ranges::Allocator::new(layout::moved(DEVICES, BLOCK_SIZE)),
        stacks: ranges::Allocator::new(layout::moved(STACKS, STACK_SLOT)),
        modules: ranges::Allocator::new(layout::modules()),
        variables: Vec::new(),
    };
    for (section, permission) in sections {
        space.map(section.clone(), layout::physical(section.start), *permission)?;
    }
    for range in memory {
        space.map(LINEAR + range.start..LINEAR + range.end, range.start, Permission::Write)?;
    }
    let root = space.mapping.root_address().0;
    let switch = layout::physical(switch_tables as *const () as usize);
    // SAFETY: the boot tables map the image's first block at its physical address, where this function is; the new
    // tables map the whole image where it runs now, with the permissions that its sections need.
    unsafe {
        let switch: unsafe extern "C" fn(usize) = core::mem::transmute(switch);
        switch(root);
    }
    leave_lower_half();
    space.mapping.mark_active();
    *SPACE.lock() = Some(space);
    Ok(())
}

/// Switches this processor's lower half off, with which it came up: no walks, no tables.
pub fn leave_lower_half() {
    TCR_EL1.modify(TCR_EL1::EPD0::DisableTTBR0Walks);
    TTBR0_EL1.set(0);
    // SAFETY: drops what the processor remembers of the boot tables.
    unsafe { core::arch::asm!("isb", "tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags)) }
}

// Replaces the tables of the upper half while running in the lower: old and new entries for one address must never be
// in use together (Arm ARM D8.16.1, break before make).
core::arch::global_asm!(
    ".section .text.switch_tables, \"ax\"",
    ".global switch_tables",
    "switch_tables:",
    "    mrs     x1, tcr_el1",
    "    orr     x2, x1, #(1 << 23)", // EPD1: no walks of the upper half
    "    msr     tcr_el1, x2",
    "    isb",
    "    tlbi    vmalle1",
    "    dsb     nsh",
    "    isb",
    "    dsb     ish",
    "    msr     ttbr1_el1, x0",
    "    msr     tcr_el1, x1",
    "    isb",
    "    ret",
);

unsafe extern "C" {
    fn switch_tables(root: usize);
}

/// What belongs to a device, mapped.
pub struct DeviceMapping {
    /// What names the run of addresses to its allocator.
    reserved: usize,
    pages: Range<usize>,
    /// Where the first byte is.
    pub start: NonNull<u8>,
}

impl DeviceMapping {
    /// Maps the registers at `physical`.
    ///
    /// # Errors
    /// When the address space is full.
    pub fn new(physical: Range<usize>) -> Result<Self> {
        Self::with(physical, Permission::Device)
    }

    /// Maps what is at `physical`.
    ///
    /// # Errors
    /// When the address space is full.
    pub fn with(physical: Range<usize>, permission: Permission) -> Result<Self> {
        // Large regions lie in a block as they do physically, so that they take no table of pages.
        let granule = if physical.len() < BLOCK_SIZE { PAGE_SIZE } else { BLOCK_SIZE };
        let first_page = physical.start & !(PAGE_SIZE - 1);
        let size = physical.end.next_multiple_of(PAGE_SIZE) - first_page;
        let skipped = first_page % granule;
        with(|space| {
            let reserved = space.devices.allocate(skipped + size, granule).ok_or(Error::OutOfMemory(size))?;
            let pages = reserved + skipped..reserved + skipped + size;
            if let Err(error) = space.map_prepared(pages.clone(), first_page, permission) {
                space.devices.free(reserved);
                return Err(error);
            }
            match NonNull::new((pages.start + physical.start - first_page) as *mut u8) {
                Some(start) => Ok(Self { reserved, pages, start }),
                None => unreachable!("the upper half has no address 0"),
            }
        })
    }
}

impl Drop for DeviceMapping {
    fn drop(&mut self) {
        with(|space| {
            space.unmap(self.pages.clone());
            space.devices.free(self.reserved);
        });
    }
}

// SAFETY: an address, valid on every thread.
unsafe impl Send for DeviceMapping {}

/// Memory that may be missing from the linear map, mapped as it is there: firmware's.
pub struct MemoryMapping(DeviceMapping);

impl MemoryMapping {
    /// Maps the memory at `physical`.
    ///
    /// # Errors
    /// When the address space is full.
    pub fn new(physical: Range<usize>) -> Result<Self> {
        DeviceMapping::with(physical, Permission::Write).map(Self)
    }

    /// Where the first byte is.
    pub fn start(&self) -> NonNull<u8> {
        self.0.start
    }
}

/// A thread's stack with its guard.
pub struct Stack {
    slot: usize,
    memory: Pages,
}

impl Stack {
    /// Allocates a stack.
    ///
    /// # Errors
    /// When memory or address space is used up.
    pub fn new() -> Result<Self> {
        let memory = Pages::new(STACK_SIZE / PAGE_SIZE)?;
        with(|space| {
            let slot = space.stacks.allocate(STACK_SLOT, STACK_SLOT).ok_or(Error::OutOfMemory(STACK_SLOT))?;
            let place = slot + STACK_SIZE..slot + STACK_SLOT;
            if let Err(error) = space.map_prepared(place, memory.physical(), Permission::Write) {
                space.stacks.free(slot);
                return Err(error);
            }
            Ok(Self { slot, memory })
        })
    }

    /// The address above the first byte pushed.
    pub fn end(&self) -> usize {
        self.slot + STACK_SLOT
    }

    /// Where it is.
    pub fn place(&self) -> Range<usize> {
        self.slot + STACK_SIZE..self.end()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        debug_assert_eq!(self.memory.pages, STACK_SIZE / PAGE_SIZE);
        with(|space| {
            space.unmap(self.place());
            space.stacks.free(self.slot);
        });
    }
}

/// Contiguous pages of memory, owned. Written through the linear map, where they are never executable.
pub struct Pages {
    start: NonNull<u8>,
    pages: usize,
    /// Whom they are charged to.
    owner: Owner,
}

impl Pages {
    /// Allocates that many pages (or none), with any contents, on behalf of the running thread's owner.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(pages: usize) -> Result<Self> {
        let owner = owner();
        if pages == 0 {
            return Ok(Self { start: NonNull::dangling(), pages, owner });
        }
        let start = frames::allocate(pages, PAGE_SIZE, owner).ok_or(Error::OutOfMemory(pages * PAGE_SIZE))?;
        Ok(Self { start, pages, owner })
    }

    /// Charges them to the kernel, whoever asked for them.
    pub fn charge_to_kernel(&mut self) {
        frames::charge(self.pages, self.owner, Owner::KERNEL);
        self.owner = Owner::KERNEL;
    }

    /// Their physical address.
    pub fn physical(&self) -> usize {
        layout::physical(self.start.as_ptr() as usize)
    }

    /// How many bytes they are.
    pub fn size(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    /// Their bytes, through the linear map.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the pages are allocated, mapped writable in the linear map, and owned by `self`, which is borrowed
        // exclusively. Any bytes are initialised as far as memory from firmware can be.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.size()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: they were allocated in `new`, and owned since.
        unsafe { frames::free(self.start, self.pages, self.owner) }
    }
}

// SAFETY: an address, valid on every thread.
unsafe impl Send for Pages {}
// SAFETY: a shared reference gives out addresses only.
unsafe impl Sync for Pages {}

/// Where the variables of all modules are that are in memory.
pub fn module_variables() -> Vec<Range<usize>> {
    with(|space| space.variables.clone())
}

/// A run of addresses for one module, in which its segments are mapped one by one.
pub struct ModuleSpace {
    place: Range<usize>,
    mapped: Vec<Range<usize>>,
}

impl ModuleSpace {
    /// Finds room for `size` bytes (whole pages) at a multiple of `alignment`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the modules' part of the address space is full.
    pub fn new(size: usize, alignment: usize) -> Result<Self> {
        let start = with(|space| space.modules.allocate(size, alignment)).ok_or(Error::OutOfMemory(size))?;
        Ok(Self { place: start..start + size, mapped: Vec::new() })
    }

    /// The addresses.
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Maps `pages` at `offset` with the permission that they keep for good.
    ///
    /// # Errors
    /// When they don't fit.
    pub fn map(&mut self, offset: usize, pages: &Pages, permission: Permission) -> Result<()> {
        let start = self.place.start + offset;
        let place = start..start + pages.size();
        if place.end > self.place.end || matches!(permission, Permission::Device | Permission::Pixels) {
            return Err(Error::Invalid(alloc::format!("{place:x?} lies outside of the module")));
        }
        with(|space| {
            space.map_prepared(place.clone(), pages.physical(), permission)?;
            if permission == Permission::Write {
                space.variables.push(place.clone());
            }
            Ok(())
        })?;
        self.mapped.push(place);
        Ok(())
    }
}

impl Drop for ModuleSpace {
    fn drop(&mut self) {
        with(|space| {
            for place in self.mapped.drain(..) {
                space.variables.retain(|other| *other != place);
                space.unmap(place);
            }
            space.modules.free(self.place.start);
        });
    }
}
