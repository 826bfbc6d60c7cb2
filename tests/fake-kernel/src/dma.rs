//! Memory that devices reach, and what a test needs to be the device.

use crate::{FakeNode, lock};
use abi::dma::DmaBuffer;
use abi::registry::ProviderId;
use abi::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

/// What to add to the address of a buffer to get the one that the device sees.
const DEVICE_OFFSET: u64 = 0x10_0000_0000;

/// All buffers, by address.
static BUFFERS: Mutex<BTreeMap<usize, Buffer>> = Mutex::new(BTreeMap::new());

struct Buffer {
    provider: ProviderId,
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the pointer is only followed by whoever has been given the buffer, and by tests that play the device.
unsafe impl Send for Buffer {}

/// How many bytes of DMA memory are allocated to a node's device.
pub fn dma_in_use(node: &FakeNode) -> usize {
    let buffers = lock(&BUFFERS);
    buffers.values().filter(|buffer| buffer.provider == node.provider).map(|buffer| buffer.layout.size()).sum()
}

/// Reads memory as a device does, at an address that a driver has given it.
///
/// # Panics
/// When the value isn't within one DMA buffer.
pub fn device_read<T: Copy>(address: u64) -> T {
    // SAFETY: `in_buffer` finds initialised bytes; a test reads no types of which some bytes are invalid.
    unsafe { in_buffer::<T>(address).read_unaligned() }
}

/// Writes memory as a device does, at an address that a driver has given it.
///
/// # Panics
/// When the value isn't within one DMA buffer.
pub fn device_write<T: Copy>(address: u64, value: T) {
    // SAFETY: `in_buffer` finds memory that is allocated; like any device's, the write is the driver's to foresee.
    unsafe { in_buffer::<T>(address).write_unaligned(value) }
}

fn in_buffer<T>(address: u64) -> *mut T {
    let start = (address - DEVICE_OFFSET) as usize;
    let buffers = lock(&BUFFERS);
    let (base, buffer) = buffers.range(..=start).next_back().expect("the device uses memory that it has not got");
    assert!(start + size_of::<T>() <= base + buffer.layout.size(), "the device uses memory that it has not got");
    buffer.start.as_ptr().wrapping_add(start - base).cast()
}

pub fn allocate(provider: ProviderId, size: usize, alignment: usize) -> Result<DmaBuffer> {
    let layout = Layout::from_size_align(size, alignment.max(64)).map_err(|error| Error::Invalid(error.to_string()))?;
    if size == 0 {
        return Err(Error::Invalid("a buffer of 0 bytes".into()));
    }
    // SAFETY: the size isn't 0.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::OutOfMemory(size))?;
    lock(&BUFFERS).insert(start.addr().get(), Buffer { provider, start, layout });
    // SAFETY: freshly allocated and zeroed; `free` frees it.
    Ok(unsafe { DmaBuffer::from_raw(start, size, start.addr().get() as u64 + DEVICE_OFFSET) })
}

/// # Safety
/// Nothing may refer to the memory any more.
pub unsafe fn free(start: NonNull<u8>, size: usize) {
    let buffer = lock(&BUFFERS).remove(&start.addr().get());
    let layout = buffer.map(|buffer| buffer.layout).filter(|layout| layout.size() == size);
    // SAFETY: allocated with this layout, freed once since it was in the map, and nothing refers to it.
    unsafe { dealloc(start.as_ptr(), layout.expect("memory is freed that was not allocated")) }
}
