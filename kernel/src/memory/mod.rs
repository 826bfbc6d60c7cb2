//! Memory: what there is, who has it, and how it is mapped.

pub mod dma;
pub mod frames;
pub mod garbage;
pub mod heap;
mod holders;
pub mod layout;
pub mod reserve;
pub mod space;
mod tables;

use crate::{Handover, thread};
use ::heap::Owner;
use abi::registry::ProviderId;
use abi::sync::Lock;
use abi::system::MemoryStatus;
use abi::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::Tree;
use layout::PAGE_SIZE;
use space::Permission;

pub use holders::{heap_classes, holders, shortage};

unsafe extern "C" {
    static __text_end: u8;
    static __eh_frame_hdr: u8;
    static __eh_frame: u8;
    static __rodata_end: u8;
    static __boot_stack_guard: u8;
    static __boot_stack_start: u8;
    static __boot_stack_end: u8;
    static __image_end: u8;
}

/// Where the image ends, with what the build appended to it.
fn image_end() -> usize {
    // SAFETY: offset 16 of the Linux arm64 Image header (`start.s`) is the image's size; the header is constant.
    layout::image() + unsafe { ((layout::image() + 16) as *const u64).read() } as usize
}

/// What the build appended to the image: the kernel's own symbols.
pub fn image_appendix() -> &'static [u8] {
    let start = &raw const __image_end;
    // SAFETY: the image is loaded and mapped from its start to the end that its header gives, and this part is only read.
    unsafe { core::slice::from_raw_parts(start, image_end() - start as usize) }
}

/// The stack on which the kernel starts, and idles.
pub fn boot_stack() -> Range<usize> {
    &raw const __boot_stack_start as usize..&raw const __boot_stack_end as usize
}

/// The image's text.
pub fn image_text() -> Range<usize> {
    layout::image()..&raw const __text_end as usize
}

/// The unwind tables of a piece of code.
#[derive(Clone)]
pub struct UnwindTables {
    /// How each function is unwound: `.eh_frame`.
    pub frames: Range<usize>,
    /// `.eh_frame_hdr`, if there is one.
    pub index: Option<Range<usize>>,
    /// Memory with `.gcc_except_table`.
    pub actions: Range<usize>,
}

/// The image's own.
pub fn image_unwind_tables() -> UnwindTables {
    let [constants, index, frames, end] =
        [&raw const __text_end, &raw const __eh_frame_hdr, &raw const __eh_frame, &raw const __rodata_end]
            .map(|symbol| symbol as usize);
    UnwindTables { frames: frames..end, index: Some(index..frames), actions: constants..index }
}

/// What the kernel writes to for its own: the image's variables, but for the heap's first part.
pub fn image_data() -> [Range<usize>; 2] {
    let early = heap::early_memory();
    [&raw const __rodata_end as usize..early.start, early.end..&raw const __boot_stack_guard as usize]
}

/// What the heap calls a provider.
pub fn owner_of(provider: ProviderId) -> Owner {
    Owner::new(provider.raw().wrapping_add(1))
}

/// On whose behalf memory is allocated now.
#[inline]
pub fn owner() -> Owner {
    thread::owner().map_or(Owner::KERNEL, owner_of)
}

#[derive(Clone, Copy)]
struct Account {
    total: usize,
    reserved: usize,
}

static ACCOUNT: Lock<Account> = Lock::new(Account { total: 0, reserved: 0 });

/// What the device tree lists as memory.
static MEMORY: Lock<Vec<Range<usize>>> = Lock::new(Vec::new());

fn pages_outward(start: usize, end: usize) -> Range<usize> {
    start & !(PAGE_SIZE - 1)..end.next_multiple_of(PAGE_SIZE)
}

fn pages_inward(start: usize, end: usize) -> Range<usize> {
    start.next_multiple_of(PAGE_SIZE)..end & !(PAGE_SIZE - 1)
}

/// A range that the device tree gives, as addresses.
pub fn physical_range(range: &devicetree::Range) -> Range<usize> {
    range.address as usize..range.address.saturating_add(range.size) as usize
}

fn total(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
}

/// Where the memory ends that the devices of every bus reach: on a Raspberry Pi 4, some only reach the first GiB.
fn reach_of_devices(tree: &Tree<'_>) -> usize {
    let buses = tree.nodes().filter(|node| node.property("dma-ranges").is_some_and(|ranges| !ranges.is_empty()));
    let windows = buses.filter_map(|bus| bus.children().next()?.dma_windows().ok());
    let reach = windows
        .filter_map(|windows| windows.iter().map(|window| window.address.saturating_add(window.size) as usize).max());
    reach.min().unwrap_or(usize::MAX)
}

/// Takes over all memory that the tree lists and nobody has reserved, and switches to the final page tables.
///
/// # Errors
/// When the tree lists no memory, or the tables can't be made.
///
/// # Safety
/// To be called once, on the boot tables, with the heap initialised.
pub unsafe fn initialise(tree: &Tree<'_>, handover: &Handover) -> Result<()> {
    let image = pages_outward(handover.image_physical, handover.image_physical + (image_end() - layout::image()));
    let mut memory: Vec<Range<usize>> = Vec::new();
    for range in tree.memory() {
        match range.map(|range| physical_range(&range)) {
            Ok(range) if range.end > layout::LINEAR_SIZE => {
                log::warn!("memory at {range:#x?} is beyond what this kernel can map");
            }
            Ok(range) => {
                let mut new = vec![pages_inward(range.start, range.end)];
                // Listed twice, it is still there once.
                memory.iter().for_each(|known| ranges::subtract(&mut new, known));
                memory.extend(new.into_iter().filter(|range| range.start < range.end));
            }
            Err(error) => log::error!("{error}"),
        }
    }
    if memory.is_empty() {
        return Err(Error::Invalid("the device tree lists no memory".to_owned()));
    }

    // What is read later.
    let mut kept = vec![pages_outward(handover.device_tree_physical, handover.device_tree_physical + tree.size())];
    if let Ok(Some(archive)) = tree.initial_ramdisk() {
        let archive = physical_range(&archive);
        kept.push(pages_outward(archive.start, archive.end));
    }
    let mut reserved = kept.clone();
    reserved.push(image.clone());
    for range in tree.memory_reservations() {
        match range.map(|range| physical_range(&range)) {
            Ok(range) => reserved.push(pages_outward(range.start, range.end)),
            Err(error) => log::error!("{error}"),
        }
    }
    let mut unmapped = Vec::new();
    for reservation in tree.reserved_memory() {
        match reservation {
            Ok(reservation) => {
                // One without a place is for whoever wants it; nobody does.
                let Some(range) = reservation.range.as_ref().map(physical_range) else { continue };
                let range = pages_outward(range.start, range.end);
                if reservation.no_map {
                    unmapped.push(range.clone());
                }
                reserved.push(range);
            }
            Err(error) => log::error!("{error}"),
        }
    }

    kept.iter().for_each(|range| ranges::subtract(&mut unmapped, range));
    unmapped.push(image);

    frames::set_boundary(layout::linear(reach_of_devices(tree).min(layout::LINEAR_SIZE)));
    let sum = total(&memory);
    MEMORY.lock().clone_from(&memory);
    let mut usable = memory.clone();
    reserved.iter().for_each(|range| ranges::subtract(&mut usable, range));
    unmapped.iter().for_each(|range| ranges::subtract(&mut memory, range));

    let sections = [
        (image_text(), Permission::Execute),
        (&raw const __text_end as usize..&raw const __rodata_end as usize, Permission::Read),
        (&raw const __rodata_end as usize..&raw const __boot_stack_guard as usize, Permission::Write),
        (&raw const __boot_stack_start as usize..&raw const __image_end as usize, Permission::Write),
        (&raw const __image_end as usize..image_end().next_multiple_of(PAGE_SIZE), Permission::Read),
    ];
    let sections: Vec<_> = sections.into_iter().filter(|(range, _)| !range.is_empty()).collect();
    // SAFETY: the caller says that this is the first call and that the boot tables are in use; the tree's `/memory`
    // nodes list ordinary memory, less what it asks not to map.
    unsafe { space::initialise(&memory, &sections)? };

    for range in &usable {
        // SAFETY: ordinary memory, mapped just now, that neither firmware nor the image nor the tree nor the archive uses.
        unsafe { frames::add(layout::linear(range.start), layout::linear(range.end)) }
    }
    *ACCOUNT.lock() = Account { total: sum, reserved: sum - total(&usable) };
    Ok(())
}

/// Bytes of the linear map that hold something for good, such as the initramfs.
///
/// # Safety
/// The range must lie in memory that `/memory` lists, be reserved, and never be written.
pub unsafe fn reserved_bytes(physical: Range<usize>) -> &'static [u8] {
    // SAFETY: the caller's obligation; the linear map is never unmapped.
    unsafe { core::slice::from_raw_parts(layout::linear(physical.start) as *const u8, physical.len()) }
}

/// Whether all of a physical range lies in memory that `/memory` lists.
pub fn is_memory(physical: &Range<usize>) -> bool {
    MEMORY.lock().iter().any(|range| range.start <= physical.start && physical.end <= range.end)
}

/// Whether any of a physical range is memory that `/memory` lists.
pub fn meets_memory(physical: &Range<usize>) -> bool {
    MEMORY.lock().iter().any(|range| range.start < physical.end && physical.start < range.end)
}

/// How the memory is used; `modules` is what loaded modules are mapped in.
pub fn status(modules: usize) -> MemoryStatus {
    let account = *ACCOUNT.lock();
    let heap_used = holders::count().iter().map(|holding| holding.bytes as u64).sum();
    let image = image_end() - layout::image();
    MemoryStatus {
        total: account.total as u64,
        reserved: account.reserved.saturating_sub(image) as u64,
        // The heap's first part lies in the image.
        kernel: (image - heap::EARLY) as u64,
        heap: heap::taken() as u64,
        heap_used,
        modules: modules as u64,
        dma: dma::usage() as u64,
        free: frames::free_bytes() as u64,
    }
}
