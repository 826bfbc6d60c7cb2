//! Memory that a device reads and writes by itself.

use crate::registry::ProviderId;
use crate::{Result, kernel};
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
}

/// Memory that a device can reach, freed when dropped.
///
/// Whoever has the value owns the bytes: a driver that lets the device work on them puts the value away until the
/// device is done.
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

    /// Where the processor sees the first byte, for crates that take an address. Valid as long as `self`.
    pub fn start(&self) -> NonNull<u8> {
        self.start
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
