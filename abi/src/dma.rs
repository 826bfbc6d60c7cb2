//! Memory that a device reads and writes by itself.

use crate::registry::ProviderId;
use crate::{Result, kernel};
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// The right to allocate memory that one device can reach.
#[derive(Clone, Copy, Debug)]
pub struct Dma {
    provider: ProviderId,
}

impl Dma {
    pub(crate) fn new(provider: ProviderId) -> Self {
        Self { provider }
    }

    /// Allocates `size` bytes of zeros, contiguous for the device and aligned to `alignment` (a power of two, at least
    /// a cache line is used).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) when there is none that the device can reach,
    /// [`Error::Invalid`](crate::Error::Invalid) for a size of 0 or another alignment.
    pub fn allocate(&self, size: usize, alignment: usize) -> Result<DmaBuffer> {
        kernel::dma_allocate(self.provider, size, alignment)
    }

    /// Where the processor sees `size` bytes that the device sees at `device_address`: a physical address.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the device tree says that the device sees no memory there.
    pub fn processor_address(&self, device_address: u64, size: u64) -> Result<u64> {
        kernel::dma_processor_address(self.provider, device_address, size)
    }
}

/// Memory that a device can reach, freed when dropped.
///
/// Whoever has the value owns the bytes: a driver that lets the device work on them puts the value away until the
/// device is done. Where the device doesn't look at the processor's caches, [`lend`](Self::lend) is the way to do that.
#[derive(Debug)]
pub struct DmaBuffer {
    start: NonNull<u8>,
    size: usize,
    device_address: u64,
}

// SAFETY: the bytes are owned by the value and reached through the same address on every thread.
unsafe impl Send for DmaBuffer {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for DmaBuffer {}

impl DmaBuffer {
    /// For the kernel: takes over memory that it has allocated.
    ///
    /// # Safety
    /// `start` must point to `size` initialised bytes that nobody else uses and that
    /// [`kernel::dma_free`] can free; the device must see them at `device_address`.
    #[doc(hidden)]
    pub unsafe fn from_raw(start: NonNull<u8>, size: usize, device_address: u64) -> Self {
        Self { start, size, device_address }
    }

    /// Where the device sees the first byte.
    pub fn device_address(&self) -> u64 {
        self.device_address
    }

    /// Gives the bytes to the device: it sees what was written, and nobody else touches them until it is done.
    pub fn lend(self) -> LentBuffer {
        kernel::dma_synchronise(&self);
        LentBuffer(ManuallyDrop::new(self))
    }

    /// Where the processor sees the first byte, for crates that take an address. Valid as long as `self`.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }
}

/// A [`DmaBuffer`] that the device owns.
///
/// When this is dropped the device keeps the memory, since it may still write there; the kernel takes it back when another
/// instance of the driver has reset the device.
#[derive(Debug)]
pub struct LentBuffer(ManuallyDrop<DmaBuffer>);

impl LentBuffer {
    /// Where the device sees the first byte.
    pub fn device_address(&self) -> u64 {
        self.0.device_address
    }

    /// Takes the bytes back from a device that is done with them: what it has written is there to be read.
    pub fn take_back(self) -> DmaBuffer {
        let buffer = ManuallyDrop::into_inner(self.0);
        // Meanwhile the processor may have fetched some of it ahead of time.
        kernel::dma_synchronise(&buffer);
        buffer
    }
}

impl Deref for DmaBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `from_raw` was given `size` initialised bytes, which this value owns.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }
}

impl DerefMut for DmaBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        // SAFETY: the memory came from `dma_allocate`, and all borrows end with this value.
        unsafe { kernel::dma_free(self.start, self.size) }
    }
}
