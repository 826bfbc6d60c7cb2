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

/// Calls `make` to make a queue, whose rings are allocated for the device that `dma` is for.
pub fn allocating_from<T>(dma: Dma, make: impl FnOnce() -> T) -> T {
    struct Turn;
    impl Drop for Turn {
        fn drop(&mut self) {
            *OWNER.lock() = None;
        }
    }

    // Another thread may be making a queue for another device of this module.
    while OWNER.lock().get_or_insert_with(|| dma).provider() != dma.provider() {
        thread::yield_now();
    }
    let _turn = Turn;
    make()
}
