//! Memory that devices reach, and what a test needs to be the device.

use crate::{FakeNode, lock};
use abi::dma::DmaBuffer;
use abi::registry::ProviderId;
use abi::{Error, Result};
use std::alloc::{Layout, alloc_zeroed};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::{self, NonNull};
use std::sync::{LazyLock, Mutex};

/// Where devices see the first byte of the memory that they reach, as on a Raspberry Pi.
const DEVICE_MEMORY: u64 = 0xc000_0000;

/// How much of that there is. The host provides what is used.
const SIZE: usize = 512 << 20;

/// The coarsest alignment.
const ALIGNMENT: usize = 64 << 10;

static MEMORY: Mutex<Memory> =
    Mutex::new(Memory { used: 0, free: BTreeMap::new(), buffers: BTreeMap::new(), coherent: BTreeSet::new() });

struct Memory {
    /// Bytes from the start on that have been used at some time.
    used: usize,
    /// Places of buffers that have been freed, by what they were allocated for.
    free: BTreeMap<(usize, usize), Vec<usize>>,
    /// All buffers, by place.
    buffers: BTreeMap<usize, Buffer>,
    /// Nodes whose devices look at the processor's caches.
    coherent: BTreeSet<ProviderId>,
}

struct Buffer {
    provider: ProviderId,
    layout: Layout,
    /// Whether the device owns it: only then may one use it that doesn't look at the processor's caches.
    is_lent: bool,
}

/// Where the host has that memory.
fn start() -> *mut u8 {
    static START: LazyLock<usize> = LazyLock::new(|| {
        let layout = Layout::array::<u8>(SIZE + ALIGNMENT).unwrap();
        // SAFETY: the size isn't 0.
        let start = unsafe { alloc_zeroed(layout) };
        assert!(!start.is_null(), "this machine has no memory to play with");
        start.expose_provenance().next_multiple_of(ALIGNMENT)
    });
    ptr::with_exposed_provenance_mut(*START)
}

/// How many bytes of DMA memory are allocated to a node's device.
pub fn dma_in_use(node: &FakeNode) -> usize {
    let memory = lock(&MEMORY);
    memory.buffers.values().filter(|buffer| buffer.provider == node.provider).map(|buffer| buffer.layout.size()).sum()
}

/// Reads memory as a device does, at an address that a driver has given it.
///
/// # Panics
/// When the value isn't within one DMA buffer, or that isn't the device's at the moment.
pub fn device_read<T: Copy>(address: u64) -> T {
    // SAFETY: `in_buffer` finds initialised bytes; a test reads no types of which some bytes are invalid.
    unsafe { in_buffer::<T>(address).read_unaligned() }
}

/// Writes memory as a device does, at an address that a driver has given it.
///
/// # Panics
/// When the value isn't within one DMA buffer, or that isn't the device's at the moment.
pub fn device_write<T: Copy>(address: u64, value: T) {
    // SAFETY: `in_buffer` finds memory that is allocated; like any device's, the write is the driver's to foresee.
    unsafe { in_buffer::<T>(address).write_unaligned(value) }
}

fn in_buffer<T>(address: u64) -> *mut T {
    let place = address.checked_sub(DEVICE_MEMORY).expect("the device uses memory that it has not got") as usize;
    let memory = lock(&MEMORY);
    let (base, buffer) =
        memory.buffers.range(..=place).next_back().expect("the device uses memory that it has not got");
    assert!(place + size_of::<T>() <= base + buffer.layout.size(), "the device uses memory that it has not got");
    let may_use = buffer.is_lent || memory.coherent.contains(&buffer.provider);
    assert!(may_use, "the device uses memory that was not lent to it");
    start().wrapping_add(place).cast()
}

/// Has a node's device look at the processor's caches.
pub fn set_coherent(provider: ProviderId) {
    lock(&MEMORY).coherent.insert(provider);
}

/// A buffer is lent, or taken back.
pub fn synchronise(buffer: &DmaBuffer) {
    let place = buffer.start().addr().get() - start().addr();
    let mut memory = lock(&MEMORY);
    let known = memory.buffers.get_mut(&place).expect("memory is lent that was not allocated");
    known.is_lent = !known.is_lent;
}

/// Where the processor sees what a device sees there.
pub fn processor_address(device_address: u64) -> Result<u64> {
    let place = device_address.checked_sub(DEVICE_MEMORY);
    place.ok_or_else(|| Error::Invalid("devices see no memory there".into()))
}

pub fn allocate(provider: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer> {
    let layout = Layout::from_size_align(size, alignment.max(64)).map_err(|error| Error::Invalid(error.to_string()))?;
    if size == 0 || alignment > ALIGNMENT {
        return Err(Error::Invalid(format!("a buffer of {size} bytes aligned to {alignment}")));
    }
    let mut memory = lock(&MEMORY);
    let place = match memory.free.get_mut(&(size, layout.align())).and_then(Vec::pop) {
        Some(place) => place,
        None => {
            let place = memory.used.next_multiple_of(layout.align());
            // None follows another without a gap, so that who goes beyond the end is found out.
            memory.used = place + size + layout.align();
            place
        }
    };
    if memory.used > SIZE {
        return Err(Error::OutOfMemory(size));
    }
    memory.buffers.insert(place, Buffer { provider, layout, is_lent: false });
    let address = DEVICE_MEMORY + place as u64;
    // SAFETY: the place is within the memory that starts there.
    let start = unsafe { start().add(place) };
    // SAFETY: nobody else has these bytes.
    unsafe { start.write_bytes(0, size) };
    // SAFETY: `free` takes them back.
    Ok(unsafe { DmaBuffer::from_raw(NonNull::new(start).unwrap(), size, address) })
}

/// # Safety
/// Nothing may refer to the memory any more.
pub unsafe fn free(buffer: NonNull<u8>, size: usize) {
    let place = buffer.addr().get() - start().addr();
    let mut memory = lock(&MEMORY);
    let freed = memory.buffers.remove(&place).filter(|buffer| buffer.layout.size() == size);
    let layout = freed.expect("memory is freed that was not allocated").layout;
    memory.free.entry((size, layout.align())).or_default().push(place);
}
