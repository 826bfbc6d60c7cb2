//! The class of block devices: disks, memory cards, and the like.

use crate::{Error, Handle, Result, registry};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How a block device is divided. It doesn't change while the device is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a block: a power of two from 512 to 65536.
    pub block_size: usize,
    /// How many blocks there are. Their bytes are fewer than 2^64.
    pub blocks: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

/// The largest block, in bytes.
const LARGEST_BLOCK: usize = 1 << 16;

impl Geometry {
    /// The same, if a device can be divided like this.
    fn checked(self) -> Result<Self> {
        let Self { block_size, blocks, .. } = self;
        if !(512..=LARGEST_BLOCK).contains(&block_size) || !block_size.is_power_of_two() {
            return Err(Error::Device(format!(
                "its driver says that its blocks have {block_size} bytes, a power of two from 512 to {LARGEST_BLOCK} is expected"
            )));
        }
        match blocks.checked_mul(block_size as u64) {
            Some(_) => Ok(self),
            None => Err(Error::Device(format!(
                "its driver says that it has {blocks} blocks of {block_size} bytes, less than 2^64 bytes are expected"
            ))),
        }
    }

    /// Bytes of all blocks.
    pub fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size as u64)
    }

    /// Checks a request, as every implementation of [`BlockDevice`] has to.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `length` bytes are no whole blocks, or when the device hasn't got as many from block `first`
    /// on.
    pub fn check(&self, first: u64, length: usize) -> Result<()> {
        if !length.is_multiple_of(self.block_size) {
            return Err(Error::Invalid(format!("{length} bytes are no whole blocks of {}", self.block_size)));
        }
        let count = (length / self.block_size) as u64;
        match first.checked_add(count) {
            Some(end) if end <= self.blocks => Ok(()),
            _ => Err(Error::Invalid(format!(
                "{count} blocks from block {first} on are asked for, and the device has {}",
                self.blocks
            ))),
        }
    }

    /// Checks a request to write, like [`check`](Self::check).
    ///
    /// # Errors
    /// [`Error::Invalid`], also when the device is read-only.
    pub fn check_write(&self, first: u64, length: usize) -> Result<()> {
        match self.read_only {
            true => Err(Error::Invalid("the device is read-only".to_owned())),
            false => self.check(first, length),
        }
    }
}

/// A device that holds blocks of one size, numbered from 0.
///
/// Each call waits for what it asks of the device, and for nothing else: several threads may call at once, and requests
/// whose ranges don't overlap may be carried out in any order.
///
/// A call that returned an error, or that ended because its driver failed, may simply be repeated
/// ([`Handle::retry`](crate::Handle::retry)), also when another instance of the driver has taken over meanwhile. Until a
/// repetition succeeds, the content of what was to be read or written is unspecified: any part of it may be old or new. No
/// other block is touched. Nothing that the failed call asked for is carried out after it; except that after
/// [`Error::Stopping`] the device may still write, until the driver is removed.
pub trait BlockDevice: Send + Sync {
    /// How the device is divided. Those who use it call [`checked_geometry`](#method.checked_geometry).
    fn geometry(&self) -> Geometry;

    /// Fills `buffer`, which is some whole blocks long, with the blocks from number `first` on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range that [`Geometry::check`] refuses;
    /// [`Error::Io`] when the device can't read them; [`Error::Device`] when it
    /// broke its protocol; [`Error::Stopping`] when the calling thread is to end, or the driver is
    /// being removed.
    fn read(&self, first: u64, buffer: &mut [u8]) -> Result<()>;

    /// Writes `buffer`, which is some whole blocks long, to the blocks from number `first` on. What has been written is
    /// what later calls read; it outlives a loss of power from the next [`flush`](Self::flush) on.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and for a range that [`Geometry::check_write`] refuses.
    fn write(&self, first: u64, buffer: &[u8]) -> Result<()>;

    /// Waits until everything whose [`write`](Self::write) has returned would outlive a loss of power.
    ///
    /// # Errors
    /// As for [`read`](Self::read). What was written since the last success may then be lost.
    fn flush(&self) -> Result<()>;
}

impl dyn BlockDevice {
    /// How the device is divided, if that can be.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver says what can't be.
    pub fn checked_geometry(&self) -> Result<Geometry> {
        self.geometry().checked()
    }
}

/// All block devices that there are at this moment, each with its name for people: `vda` comes first in the device tree,
/// `vdb` next. When one goes, those behind it move up.
pub fn named() -> Vec<(String, Handle<dyn BlockDevice>)> {
    registry::all().into_iter().enumerate().map(|(index, device)| (name(index), device)).collect()
}

/// `vda` to `vdz`, then `vdaa` and so on.
fn name(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    match index / 26 {
        0 => format!("vd{letter}"),
        more => format!("{}{letter}", name(more - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_geometry_that_can_be_is_taken() {
        let is_taken = |block_size, blocks| Geometry { block_size, blocks, read_only: false }.checked().is_ok();
        for (block_size, blocks) in [(512, 0), (512, u64::MAX / 512), (4096, 100), (65536, 1)] {
            assert!(is_taken(block_size, blocks), "{block_size}, {blocks}");
        }
        let senseless = [(0, 100), (1, 100), (256, 100), (1000, 100), (512, u64::MAX), (1 << 17, 1), (1 << 30, 100)];
        for (block_size, blocks) in senseless {
            assert!(!is_taken(block_size, blocks), "{block_size}, {blocks}");
        }
    }

    #[test]
    fn names_go_on_after_z() {
        assert_eq!([0, 25, 26, 27, 701, 702].map(name), ["vda", "vdz", "vdaa", "vdab", "vdzz", "vdaaa"]);
    }
}
