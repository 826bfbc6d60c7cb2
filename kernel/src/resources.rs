//! What modules hold of the kernel's: register mappings, interrupts, DMA memory. The ledger.

use crate::machine::Machine;
use crate::memory::space::{DeviceMapping, Permission};
use crate::memory::{dma, layout};
use crate::registry::{self, Kind};
use crate::{interrupt, machine, memory, thread};
use abi::dma::DmaBuffer;
use abi::gpio::PinControl;
use abi::kernel::MappedRegisters;
use abi::registry::ProviderId;
use abi::sync::Lock;
use abi::system::DeviceState;
use abi::{Class, Error, Handle, Reference, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;
use devicetree::Node;
use heap::{Collected, Holding};

struct Mapping {
    identifier: u64,
    owner: ProviderId,
    physical: Range<usize>,
    _mapping: DeviceMapping,
}

struct DmaMemory {
    owner: ProviderId,
    /// Its physical address, which is not to be taken for a reference.
    physical: usize,
    size: usize,
    /// The instance is no more that allocated it.
    is_left: bool,
}

struct Ledger {
    next: u64,
    mappings: Vec<Mapping>,
    dma: Vec<DmaMemory>,
}

static LEDGER: Lock<Ledger> = Lock::new(Ledger { next: 1, mappings: Vec::new(), dma: Vec::new() });

/// The node that a provider has its resources from.
pub fn node(machine: &Machine, provider: ProviderId) -> Option<Node<'_>> {
    match registry::kind(provider)? {
        Kind::Node(node) | Kind::Child { node, .. } => machine.tree.node(node),
        Kind::Service => None,
    }
}

fn with_node<R>(
    provider: ProviderId,
    resource: &str,
    index: usize,
    action: impl FnOnce(Node<'_>) -> Result<R>,
) -> Result<R> {
    let missing = || Error::Missing { resource: resource.to_owned(), index };
    let machine = machine::get().ok_or_else(missing)?;
    action(node(machine, provider).ok_or_else(missing)?)
}

/// The device tree is at fault.
fn tree_error(error: devicetree::Error) -> Error {
    Error::Invalid(error.to_string())
}

/// Maps a node's registers, at least so many bytes.
///
/// # Errors
/// See [`abi::Resources::registers`].
pub fn map_registers(owner: ProviderId, index: usize, least: usize) -> Result<MappedRegisters> {
    let mut physical = registers_of(owner, index)?;
    physical.end = physical.end.max(physical.start.saturating_add(least));
    map(owner, physical, Permission::Device, &format!("registers {index} of the node"))
}

/// Maps a frame buffer, at these physical addresses or else where a node's first registers are.
///
/// # Errors
/// See [`abi::Resources::pixels`].
pub fn map_pixels(owner: ProviderId, place: Option<Range<u64>>) -> Result<MappedRegisters> {
    let physical = match place {
        Some(place) => place.start as usize..place.end as usize,
        None => registers_of(owner, 0)?,
    };
    let Range { start, end } = physical;
    if physical.is_empty() || !start.is_multiple_of(size_of::<u32>()) {
        return Err(Error::Invalid(format!("{start:#x}..{end:#x} is no place for a frame buffer")));
    }
    // An address that firmware has named is worth as much as its driver is. Another device's registers are not pixels.
    let machine = machine::get().ok_or(Error::Missing { resource: "frame buffer".to_owned(), index: 0 })?;
    let own = node(machine, owner);
    let meets = |range: &devicetree::Range| overlap(&memory::physical_range(range), &physical);
    let mut others = machine.tree.nodes().filter(|node| Some(*node) != own);
    if let Some(other) = others.find(|node| node.registers().is_ok_and(|ranges| ranges.iter().any(meets))) {
        return Err(Error::Invalid(format!(
            "{start:#x}..{end:#x} belongs to {}, and is no frame buffer",
            other.path()
        )));
    }
    map(owner, physical, Permission::Pixels, "its pixels")
}

/// Where the registers of this index are that a provider's node lists.
fn registers_of(owner: ProviderId, index: usize) -> Result<Range<usize>> {
    let physical = with_node(owner, "registers", index, |node| {
        let ranges = node.registers().map_err(tree_error)?;
        let missing = Error::Missing { resource: "registers".to_owned(), index };
        ranges.get(index).map(memory::physical_range).ok_or(missing)
    })?;
    if physical.is_empty() {
        return Err(Error::Invalid(format!("registers {index} of the node are empty")));
    }
    Ok(physical)
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Maps what no other provider has, and what isn't memory.
fn map(owner: ProviderId, physical: Range<usize>, permission: Permission, what: &str) -> Result<MappedRegisters> {
    let Range { start, end } = physical;
    if memory::meets_memory(&physical) {
        return Err(Error::Invalid(format!("{what}, at {start:#x}..{end:#x}, lie in memory")));
    }
    let is_taken = |mapping: &&Mapping| overlap(&mapping.physical, &physical);
    if let Some(other) = LEDGER.lock().mappings.iter().find(is_taken) {
        let other = registry::name(other.owner);
        return Err(Error::Busy(format!("{what}, at {start:#x}..{end:#x}, are taken by {other}")));
    }
    let mapping = DeviceMapping::with(physical.clone(), permission)?;
    let start = mapping.start;
    let size = physical.len();
    let mut ledger = LEDGER.lock();
    let identifier = ledger.next;
    ledger.next += 1;
    ledger.mappings.push(Mapping { identifier, owner, physical, _mapping: mapping });
    Ok(MappedRegisters { start, size, identifier })
}

/// Unmaps registers.
///
/// # Safety
/// Nothing may refer to them any more.
pub unsafe fn unmap_registers(identifier: u64) {
    let mut ledger = LEDGER.lock();
    let index = ledger.mappings.iter().position(|mapping| mapping.identifier == identifier);
    let mapping = index.map(|index| ledger.mappings.swap_remove(index));
    drop(ledger);
    drop(mapping);
}

/// Whether the controllers that a node's interrupts go to are bound. Its own, such as a GIC's maintenance interrupt, don't
/// count.
///
/// # Errors
/// [`Error::Deferred`] naming the first that isn't, [`Error::Invalid`] when the tree is at fault.
pub fn check_controllers(node: Node<'_>) -> Result<()> {
    for interrupt in node.interrupts().map_err(tree_error)? {
        let controller = interrupt.controller;
        let state = registry::by_node(controller.index()).and_then(registry::state);
        if controller.index() != node.index() && state != Some(DeviceState::Bound) {
            return Err(Error::Deferred(format!("interrupt controller {}", controller.path())));
        }
    }
    Ok(())
}

/// Takes a node's interrupt.
///
/// # Errors
/// See [`abi::Resources::interrupt`].
pub fn claim_interrupt(owner: ProviderId, index: usize) -> Result<u64> {
    with_node(owner, "interrupt", index, |node| {
        let (controller, specifier) = interrupt_of(node, index)?;
        interrupt::claim_for_driver(controller, &specifier, owner, index).map(u64::from)
    })
}

/// The controller of a node's interrupt, and the cells that tell it which line is meant.
///
/// # Errors
/// As [`claim_interrupt`].
pub fn interrupt_of(node: Node<'_>, index: usize) -> Result<(ProviderId, Vec<u32>)> {
    let missing = Error::Missing { resource: "interrupt".to_owned(), index };
    let interrupts = node.interrupts().map_err(tree_error)?;
    let interrupt = interrupts.get(index).ok_or(missing)?;
    let controller = registry::by_node(interrupt.controller.index())
        .ok_or_else(|| Error::Deferred(format!("interrupt controller {}", interrupt.controller.path())))?;
    Ok((controller, interrupt.specifier.to_vec()))
}

/// Allocates zeroed memory for a node's device.
///
/// # Errors
/// See [`abi::dma::Dma::allocate`].
pub fn allocate_dma(owner: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer> {
    if size == 0 || !alignment.is_power_of_two() {
        return Err(Error::Invalid(format!("{size} bytes of DMA memory aligned to {alignment}")));
    }
    // Small pieces are aligned to their size.
    let size = if size < layout::PAGE_SIZE { size.max(alignment) } else { size };
    let start = dma::allocate(size, alignment, memory::owner_of(owner)).ok_or(Error::OutOfMemory(size))?;
    let physical = layout::physical(start.as_ptr() as usize) as u64;
    let windows = with_node(owner, "DMA window", 0, |node| node.dma_windows().map_err(tree_error));
    let address = windows.and_then(|windows| {
        let fits = |window: &&devicetree::DmaWindow| {
            physical.checked_sub(window.address).is_some_and(|offset| {
                offset.checked_add(size as u64).is_some_and(|end| window.size == u64::MAX || end <= window.size)
            })
        };
        let window = windows.iter().find(fits).ok_or(Error::OutOfMemory(size))?;
        Ok(physical - window.address + window.bus)
    });
    match address {
        Ok(address) => {
            LEDGER.lock().dma.push(DmaMemory { owner, physical: physical as usize, size, is_left: false });
            // SAFETY: the memory was just allocated and zeroed, `free_dma` frees it, and the tree says how the device
            // sees it.
            Ok(unsafe { DmaBuffer::from_raw(start, size, address) })
        }
        Err(error) => {
            // SAFETY: just allocated, with this size and alignment, and not used.
            unsafe { dma::free(start, size, memory::owner_of(owner)) };
            Err(error)
        }
    }
}

/// Where the processor sees `size` bytes that a node's device sees at `device_address`.
///
/// # Errors
/// See [`abi::dma::Dma::processor_address`].
pub fn processor_address(owner: ProviderId, device_address: u64, size: u64) -> Result<u64> {
    let windows = with_node(owner, "DMA window", 0, |node| node.dma_windows().map_err(tree_error))?;
    let address = |window: &devicetree::DmaWindow| {
        let offset = device_address.checked_sub(window.bus)?;
        let is_inside = offset.checked_add(size).is_some_and(|end| end <= window.size);
        is_inside.then_some(window.address.checked_add(offset)).flatten()
    };
    windows.iter().find_map(address).ok_or_else(|| {
        Error::Invalid(format!("the device tree has no memory at {device_address:#x} for the device, {size:#x} bytes"))
    })
}

/// A node as its driver sees it.
pub fn description(node: Node<'_>) -> abi::Node {
    let property = |(name, value): (&str, &[u8])| abi::Property { name: name.to_owned(), value: value.to_vec() };
    abi::Node::new(node.path(), String::new(), node.properties().map(property).collect())
}

/// The children of a node that are no devices of their own.
pub fn children(owner: ProviderId) -> Vec<abi::Node> {
    let Some(machine) = machine::get() else { return Vec::new() };
    let children = node(machine, owner).into_iter().flat_map(Node::children);
    children.filter(|child| child.property("compatible").is_none() && child.is_enabled()).map(description).collect()
}

/// What a property of the node of this path points to.
///
/// # Errors
/// See [`abi::Resources::references`].
pub fn references(path: &str, property: &str, cells: &str) -> Result<Vec<Reference>> {
    let missing = || Error::Invalid(format!("the device tree has no node {path}"));
    let node = machine::get().and_then(|machine| machine.tree.find(path)).ok_or_else(missing)?;
    let reference = |reference: devicetree::Reference<'_>| {
        let target = reference.node;
        let no_device = || Error::Invalid(format!("'{property}' of {path} points to {}, no device", target.path()));
        let provider = registry::by_node(target.index()).ok_or_else(no_device)?;
        Ok(Reference::new(provider, reference.arguments.to_vec()))
    };
    node.references(property, cells).map_err(tree_error)?.into_iter().map(reference).collect()
}

/// Has pins set as a node's driver will find them: by the state `default` of the node's `pinctrl-N` (Linux binding
/// `pinctrl/pinctrl-bindings.txt`). Those of a controller that nobody drives stay as firmware has left them.
///
/// # Errors
/// [`Error::Deferred`] naming a controller that isn't bound yet, [`Error::Invalid`] when the tree is at fault.
pub fn select_pins(node: Node<'_>) -> Result<()> {
    let mut names = node.strings("pinctrl-names").map_err(tree_error)?;
    let Some(number) = names.position(|name| name == "default") else { return Ok(()) };
    let states = node.pointers(&format!("pinctrl-{number}")).unwrap_or_else(|error| {
        // Firmware may have set them, as it has those of a console.
        log::warn!("{}: its pins stay as they are: {error}", node.path());
        Vec::new()
    });
    for state in states {
        let has_driver = |node: &Node<'_>| node.property("compatible").is_some();
        let above = core::iter::successors(state.parent(), |node| node.parent()).find(has_driver);
        let above = above.filter(|controller| *controller != node);
        let Some(provider) = above.and_then(|controller| registry::by_node(controller.index())) else { continue };
        if let Some(DeviceState::Deferred(_)) = registry::state(provider) {
            return Err(Error::Deferred(format!("pin controller {}", registry::name(provider))));
        }
        if let Some(publication) = registry::publication(provider, Class::PinControl) {
            // SAFETY: it is of the class.
            let controller: Handle<dyn PinControl> = unsafe { Handle::from_publication(publication) };
            let nodes: Vec<abi::Node> = core::iter::once(state).chain(state.children()).map(description).collect();
            controller.call(|controller| controller.apply(&nodes))??;
        }
    }
    Ok(())
}

/// Takes back all that `owner` still holds; says so if that is anything.
pub fn release_all(owner: ProviderId) {
    let interrupts = interrupt::release_all(owner);
    let events = thread::event::destroy_all(owner);
    let mut ledger = LEDGER.lock();
    let (theirs, others) =
        core::mem::take(&mut ledger.mappings).into_iter().partition(|mapping| mapping.owner == owner);
    ledger.mappings = others;
    drop(ledger);
    let theirs: Vec<Mapping> = theirs;
    if interrupts + events + theirs.len() > 0 {
        log::warn!(
            "{}: its module left {interrupts} interrupts, {} register mappings and {events} events behind; they are taken back",
            registry::name(owner),
            theirs.len()
        );
    }
    // Either a consumer still has it and will drop it, or it was lost. Nothing tells yet that the device is done with it.
    let mut ledger = LEDGER.lock();
    let (mut pieces, mut bytes) = (0, 0);
    for memory in ledger.dma.iter_mut().filter(|memory| memory.owner == owner) {
        memory.is_left = true;
        pieces += 1;
        bytes += memory.size;
    }
    drop(ledger);
    if pieces > 0 {
        log::warn!("{}: {pieces} pieces of DMA memory, {bytes} bytes, are still out", registry::name(owner));
    }
}

/// Takes back the DMA memory that former instances of `owner` have left and that nothing refers to, now that another has
/// reset the device.
pub fn collect_dma(owner: ProviderId) {
    let left = |memory: &&DmaMemory| memory.owner == owner && memory.is_left;
    let piece = |memory: &DmaMemory| (memory.physical..memory.physical + memory.size, false);
    let mut pieces: Vec<_> = LEDGER.lock().dma.iter().filter(left).map(piece).collect();
    if pieces.is_empty() {
        return;
    }
    pieces.sort_unstable_by_key(|(piece, _)| piece.start);
    memory::garbage::find_in_use(&mut pieces);
    for (piece, _) in pieces.iter().filter(|(_, is_in_use)| !is_in_use) {
        let start = layout::linear(piece.start) as *mut u8;
        if let Some(start) = NonNull::new(start) {
            // SAFETY: nothing refers to it, and the device has been reset.
            unsafe { free_dma(start, piece.len()) };
        }
    }
}

/// Frees what [`allocate_dma`] allocated.
///
/// # Safety
/// Nothing may refer to it any more.
pub unsafe fn free_dma(start: NonNull<u8>, size: usize) {
    let mut ledger = LEDGER.lock();
    // What was allocated last is usually freed first.
    let physical = layout::physical(start.as_ptr() as usize);
    let index = ledger.dma.iter().rposition(|memory| memory.physical == physical);
    let Some(memory) = index.map(|index| ledger.dma.swap_remove(index)) else { return };
    drop(ledger);
    // SAFETY: the caller's obligation; the ledger knows who asked for it.
    unsafe { dma::free(start, size, memory::owner_of(memory.owner)) }
}

/// Bytes of DMA memory that a provider has.
pub fn dma_of(owner: ProviderId) -> usize {
    LEDGER.lock().dma.iter().filter(|memory| memory.owner == owner).map(|memory| memory.size).sum()
}

/// Takes back what a provider has left on the heap, once its object and its threads are gone, and its module as far as it
/// goes; says so if that is anything.
pub fn collect_garbage(owner: ProviderId) {
    thread::reap();
    // SAFETY: the caller has ended what the provider ran.
    match unsafe { memory::garbage::collect(owner) } {
        Some(Collected { freed: Holding { objects: 0, .. }, .. }) => {}
        Some(Collected { freed: Holding { objects, bytes }, .. }) => log::warn!(
            "{}: its module left {objects} allocations, {bytes} bytes, behind; they are taken back",
            registry::name(owner)
        ),
        None => log::warn!("{}: there is no memory to look for what its module left behind", registry::name(owner)),
    }
}
