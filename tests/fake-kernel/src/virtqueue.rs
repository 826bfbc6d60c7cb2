//! The device's side of a virtio device behind memory-mapped registers.
//!
//! Virtual I/O Device 1.3, section 2.7 (split virtqueues) and section 4.2.2 (registers).

use crate::{FakeNode, device_read, device_write, dma};

const QUEUE_READY: usize = 0x044;
const QUEUE_DESCRIPTORS: usize = 0x080;
const QUEUE_AVAILABLE: usize = 0x090;
const QUEUE_USED: usize = 0x0a0;

/// The flag of a descriptor that another belongs to.
const NEXT: u16 = 1;

/// A queue of a virtio device that a test plays.
pub struct FakeQueue {
    size: u16,
    descriptors: u64,
    /// Where the ring is, for the device, in which the driver lends buffers; its flags come first.
    pub available: u64,
    /// Where the ring is, for the device, in which the device returns buffers; its flags come first.
    pub used: u64,
    returned: u16,
}

/// A buffer that the driver has lent to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentBuffer {
    /// What to return it by, if it isn't [`after`](FakeQueue::after) another.
    pub token: u16,
    /// Where it is, for the device.
    pub address: u64,
    /// Its size in bytes.
    pub length: u32,
    /// The flags of its descriptor.
    pub flags: u16,
}

impl FakeQueue {
    /// The queue of `size` buffers that a driver has just set up in the first registers of `node`. The next one can then
    /// be set up.
    pub fn of(node: &FakeNode, size: u16) -> Self {
        let address = |offset| u64::from(node.get(0, offset)) | u64::from(node.get(0, offset + 4)) << 32;
        node.set(0, QUEUE_READY, 0);
        // Rings are used by both sides at the same time.
        dma::set_coherent(node.provider);
        let [descriptors, available, used] = [QUEUE_DESCRIPTORS, QUEUE_AVAILABLE, QUEUE_USED].map(address);
        Self { size, descriptors, available, used, returned: 0 }
    }

    /// How many buffers have been lent in total; counts on from 0 after 65535.
    pub fn lent(&self) -> u16 {
        device_read(self.available + 2)
    }

    /// The oldest buffer that hasn't been returned, if buffers are returned in their order.
    ///
    /// # Panics
    /// When all have been.
    pub fn next(&self) -> LentBuffer {
        assert_ne!(self.lent(), self.returned, "the device has a buffer");
        let token: u16 = device_read(self.available + 4 + 2 * u64::from(self.returned % self.size));
        self.descriptor(token)
    }

    /// The buffer that the driver has lent together with `buffer`, to be used after it; both are returned as one.
    pub fn after(&self, buffer: LentBuffer) -> Option<LentBuffer> {
        let next = self.descriptors + 16 * u64::from(buffer.token) + 14;
        (buffer.flags & NEXT != 0).then(|| self.descriptor(device_read(next)))
    }

    fn descriptor(&self, token: u16) -> LentBuffer {
        let descriptor = self.descriptors + 16 * u64::from(token);
        let [address, length, flags] = [descriptor, descriptor + 8, descriptor + 12];
        LentBuffer { token, address: device_read(address), length: device_read(length), flags: device_read(flags) }
    }

    /// Returns a buffer, or claims to: any token and any number of `written` bytes will do.
    pub fn give_back(&mut self, token: u32, written: u32) {
        let element = self.used + 4 + 8 * u64::from(self.returned % self.size);
        self.returned = self.returned.wrapping_add(1);
        device_write(element, token);
        device_write(element + 4, written);
        device_write(self.used + 2, self.returned);
    }
}
