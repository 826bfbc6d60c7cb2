//! A block device, as the `hadris` crates want it.

use abi::block::Geometry;
use abi::prelude::*;
use hadris_io::ErrorType;
use hadris_storage::{BlockIndex, BlockSize, sync};

/// What can go wrong with a disk or what is on it.
pub type DiskError = hadris_io::Error<Error>;

/// The result of nearly everything that is done with a disk.
pub type DiskResult<T> = Result<T, DiskError>;

/// A block device that is there, or was.
#[derive(Clone, Copy)]
pub struct Disk {
    handle: Handle<dyn BlockDevice>,
    geometry: Geometry,
    block_size: BlockSize,
}

impl Disk {
    /// The disk behind that handle.
    ///
    /// # Errors
    /// [`Error::Gone`] when it isn't there any more; those of [`checked_geometry`](BlockDevice#method.checked_geometry).
    pub fn new(handle: Handle<dyn BlockDevice>) -> Result<Self> {
        let geometry = handle.retry(|device| device.checked_geometry())?;
        let block_size = u32::try_from(geometry.block_size).ok().and_then(BlockSize::new);
        let unsupported = || Error::Unsupported(format!("blocks of {} bytes", geometry.block_size));
        Ok(Self { handle, geometry, block_size: block_size.ok_or_else(unsupported)? })
    }

    /// Where it is published.
    pub fn handle(&self) -> Handle<dyn BlockDevice> {
        self.handle
    }

    /// How it is divided.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The first block.
    ///
    /// # Errors
    /// Those of [`BlockDevice::read`], and [`Error::Gone`].
    pub fn first_block(&self) -> Result<Vec<u8>> {
        let mut block = vec![0; self.geometry.block_size];
        self.handle.retry(|device| device.read(0, &mut block))?;
        Ok(block)
    }
}

impl ErrorType for Disk {
    type Error = Error;
}

impl sync::BlockDevice for Disk {
    fn block_size(&self) -> BlockSize {
        self.block_size
    }

    fn block_count(&self) -> u64 {
        self.geometry.blocks
    }

    fn writable(&self) -> bool {
        !self.geometry.read_only
    }

    fn read_blocks(&mut self, first: BlockIndex, buffer: &mut [u8]) -> DiskResult<()> {
        let result = self.handle.retry(|device| device.read(first.get(), buffer));
        result.map_err(|error| DiskError::device(error, "reading failed"))
    }

    fn write_blocks(&mut self, first: BlockIndex, buffer: &[u8]) -> DiskResult<()> {
        let result = self.handle.retry(|device| device.write(first.get(), buffer));
        result.map_err(|error| DiskError::device(error, "writing failed"))
    }

    fn flush(&mut self) -> DiskResult<()> {
        let result = self.handle.retry(|device| device.flush());
        result.map_err(|error| DiskError::device(error, "flushing failed"))
    }
}
