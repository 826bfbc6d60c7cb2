//! The class of file systems.
//!
//! A path names a volume and what is in it: `/vda1/overlays/disable-bt.dtbo`. Its names are separated by `/`; empty ones
//! and `.` are passed over, and `..` takes the name before it away. Names are compared as the volume's format does it:
//! FAT doesn't tell upper case from lower.

use crate::Result;
use crate::clock::UnixTime;
use alloc::string::String;
use alloc::vec::Vec;

/// A medium, or a part of one, whose files can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What paths begin with, behind the `/`: the block device's [name](crate::block::named), and the number of the
    /// partition, unless the volume is the whole device. `vda1` for instance.
    pub name: String,
    /// The node of the block device.
    pub device: String,
    /// The format: `FAT32` for instance.
    pub format: String,
    /// Bytes that files and directories can have together.
    pub size: u64,
    /// How many of these they have.
    pub used: u64,
    /// Whether nothing can be changed.
    pub read_only: bool,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    File,
    /// Names.
    Directory,
}

/// What is known of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which of the two it is.
    pub kind: Kind,
    /// Bytes of the file; 0 for a directory.
    pub length: u64,
    /// When the file was last written, or the directory made, as far as the volume knows.
    pub modified: Option<UnixTime>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, as it was written when it was given.
    pub name: String,
    /// What has it.
    pub status: Status,
}

/// Volumes of one format, or of several.
///
/// Nothing is open between two calls: each names the file that it is about, and does all that it does before it returns.
/// So a provider or a block device that is started again in the middle is nothing but a pause, and a file that has been
/// removed in the middle is an error of the next call. Calls about different volumes don't wait for each other.
///
/// All but [`create`](Self::create), [`remove`](Self::remove) and [`rename`](Self::rename) may be repeated
/// ([`Handle::retry`](crate::Handle::retry)); whether one of these three was carried out before the provider failed, a look
/// tells.
///
/// What a call has changed is what later calls find. It outlives a loss of power from the next [`sync`](Self::sync) on,
/// and the provider does one by itself within a few seconds. A volume that loses its device or power before that may
/// have lost the changes since, and space, but nothing that was there before.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when the path leads nowhere, or to something of the wrong kind, or when nothing
/// can be written there; [`Error::Io`](crate::Error::Io) when the block device fails or is gone, when the volume is full, and
/// when what it holds contradicts itself; [`Error::Stopping`](crate::Error::Stopping) when the calling thread is to end. The
/// sentence names the path or the volume.
pub trait FileSystem: Send + Sync {
    /// All volumes that there are at this moment.
    fn volumes(&self) -> Vec<Volume>;

    /// What `path` leads to, or none. A volume is a directory.
    fn find(&self, path: &str) -> Result<Option<Status>>;

    /// What is in a directory, in no particular order.
    fn list(&self, directory: &str) -> Result<Vec<Entry>>;

    /// Reads from a file into `buffer`, beginning with byte number `offset`; returns how many bytes that were: less than there
    /// is room for only where the file ends.
    fn read(&self, file: &str, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Writes `bytes` to a file, beginning with byte number `offset`, which must not lie behind its end; the file grows as
    /// needed. After an error any part of them may have been written.
    fn write(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Cuts a file to its first `length` bytes. A shorter one stays as it is.
    fn truncate(&self, file: &str, length: u64) -> Result<()>;

    /// Makes a file or directory, with nothing in it, of a name that isn't there.
    fn create(&self, path: &str, kind: Kind) -> Result<()>;

    /// Removes a file, or a directory that has nothing in it.
    fn remove(&self, path: &str) -> Result<()>;

    /// Gives a file or directory another path on the same volume. A file replaces one that has that path, and a directory
    /// one that has nothing in it.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Waits until everything that calls have changed would outlive a loss of power.
    fn sync(&self) -> Result<()>;
}
