//! Reading bytes where a device has blocks.

use super::Disk;
use abi::prelude::*;

/// A disk, and memory for the blocks of it that are being read.
pub struct Reader<'a> {
    disk: &'a Disk,
    blocks: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Reads from that disk.
    pub fn new(disk: &'a Disk) -> Self {
        Self { disk, blocks: Vec::new() }
    }

    /// The `length` bytes from `offset` on, which must lie within the disk.
    ///
    /// # Errors
    /// Those of [`BlockDevice::read`], and [`Error::Gone`].
    pub fn read(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let block_size = self.disk.geometry.block_size as u64;
        let (first, start) = (offset / block_size, (offset % block_size) as usize);
        self.blocks.resize((start + length).next_multiple_of(self.disk.geometry.block_size), 0);
        self.disk.handle.retry(|device| device.read(first, &mut self.blocks))?;
        Ok(&self.blocks[start..start + length])
    }
}
