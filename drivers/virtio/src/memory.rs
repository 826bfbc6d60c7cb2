//! Memory that the module's devices reach, as the crate `virtio-drivers` asks for it.
//!
//! The crate's `Hal` has no `self` that could tell one device from another, so statics have to. Every module links its
//! own copy of this crate, and so has statics of its own.

use abi::prelude::*;
use abi::thread;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// What to add to the address of a DMA buffer as the processor sees it to get the one that devices see: the same for
/// all buffers of the module, as [`is_reachable`] checks for each.
static OFFSET: AtomicU64 = AtomicU64::new(UNKNOWN);

/// No buffer has this offset, for all are aligned.
const UNKNOWN: u64 = u64::MAX;

/// The device whose queue is being made.
static OWNER: Lock<Option<Dma>> = Lock::new(None);

/// The rings of all queues.
static RINGS: Lock<Vec<DmaBuffer>> = Lock::new(Vec::new());

/// Calls `make` to make a queue, with rings allocated for the device that `dma` is for.
pub fn allocating_from<T>(dma: Dma, make: impl FnOnce() -> T) -> T {
    struct Turn;
    impl Drop for Turn {
        fn drop(&mut self) {
            *OWNER.lock() = None;
        }
    }

    let mut owner = OWNER.lock();
    while owner.is_some() {
        // Another thread is making a queue for another device of this module.
        drop(owner);
        thread::yield_now();
        owner = OWNER.lock();
    }
    *owner = Some(dma);
    drop(owner);
    let _turn = Turn;
    make()
}

/// Whether devices of this module see `buffer` where [`Memory`] tells them.
#[inline]
pub fn is_reachable(buffer: &DmaBuffer) -> bool {
    let offset = buffer.device_address().wrapping_sub(buffer.start().addr().get() as u64);
    match OFFSET.load(Ordering::Relaxed) {
        UNKNOWN => {
            let before = OFFSET.compare_exchange(UNKNOWN, offset, Ordering::Relaxed, Ordering::Relaxed);
            before.is_ok() || before == Err(offset)
        }
        known => known == offset,
    }
}

/// DMA memory of this module's devices.
#[derive(Debug)]
pub struct Memory;

// SAFETY: `dma_alloc` returns a buffer of the kernel's, which is zeroed, aligned as asked for, and used by nobody else
// until `dma_dealloc` drops it; `mmio_phys_to_virt` never returns.
unsafe impl Hal for Memory {
    /// Returns the address 0 when there is no memory, which the crate takes for a failure.
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let owner = *OWNER.lock();
        let buffer = owner.and_then(|dma| dma.allocate(pages * PAGE_SIZE, PAGE_SIZE).ok());
        let Some(buffer) = buffer.filter(is_reachable) else {
            return (0, NonNull::dangling());
        };
        let addresses = (buffer.device_address(), buffer.start());
        RINGS.lock().push(buffer);
        addresses
    }

    unsafe fn dma_dealloc(_device_address: PhysAddr, start: NonNull<u8>, _pages: usize) -> i32 {
        let mut rings = RINGS.lock();
        rings.retain(|buffer| buffer.start() != start);
        // The last one leaves nothing behind when the module is unloaded.
        rings.shrink_to_fit();
        0
    }

    unsafe fn mmio_phys_to_virt(_address: PhysAddr, _size: usize) -> NonNull<u8> {
        unreachable!("only devices behind PCI have registers that are not in the device tree")
    }

    /// For buffers that are [reachable](is_reachable) alone: [`Device`](crate::Device) shares no others.
    #[inline]
    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        (buffer.addr().get() as u64).wrapping_add(OFFSET.load(Ordering::Relaxed))
    }

    #[inline]
    unsafe fn unshare(_device_address: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
