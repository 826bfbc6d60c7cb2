//! Writing a newc archive, the same bytes for the same entries on every machine.

use crate::archive::{ALIGNMENT, HEADER_SIZE, MAGIC, TRAILER, relative};
use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{error, fmt};

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_644;

/// Data begins at multiples of this, twice what the format asks for.
const DATA_ALIGNMENT: usize = 8;

/// Builds an archive: owner and group are root, the time is 0, inodes are counted from 1.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Writer {
    /// Adds a regular file that all may read. Directories on the way to it are added first where they are missing.
    pub fn file(&mut self, path: &str, data: &[u8]) -> Result<(), Unwritable> {
        let path = relative(path);
        let refuse = |reason| Err(Unwritable { path: path.to_string(), reason });
        if path.is_empty() || path == TRAILER || path.contains('\0') {
            return refuse("its name has a meaning of its own in the format");
        }
        let Ok(size) = u32::try_from(data.len()) else {
            return refuse("the format can't hold files of 4 GiB or more");
        };
        for (end, _) in path.match_indices('/') {
            let directory = &path[..end];
            if self.directories.insert(directory.to_string()) {
                self.header(directory, DIRECTORY, 2, 0);
            }
        }
        self.header(path, REGULAR, 1, size);
        self.bytes.extend_from_slice(data);
        self.align();
        Ok(())
    }

    /// The archive, ended by its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entries = 0;
        self.numbered_header(0, TRAILER, 0, 1, 0);
        self.bytes
    }

    fn header(&mut self, name: &str, mode: u32, links: u32, size: u32) {
        self.entries += 1;
        self.numbered_header(self.entries, name, mode, links, size);
    }

    fn numbered_header(&mut self, inode: u32, name: &str, mode: u32, links: u32, size: u32) {
        // Zeros behind the name move the data to where an object's tables can be read in place.
        let name_start = self.bytes.len() + HEADER_SIZE;
        let name_end = name_start + name.len() + 1;
        let data_start = if size > 0 { name_end.next_multiple_of(DATA_ALIGNMENT) } else { name_end };
        let name_size = data_start - name_start;
        self.bytes.reserve(HEADER_SIZE + name_size + ALIGNMENT + size as usize);
        self.bytes.extend_from_slice(MAGIC);
        // Inode, mode, user, group, links, time, size, device (2), device that it stands for (2), name size, checksum.
        for number in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size as u32, 0] {
            self.bytes.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.resize(data_start, 0);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// A file that a newc archive can't hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritable {
    /// Its path.
    pub path: String,
    /// Why, as words.
    pub reason: &'static str,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' can't be put into the archive: {}", self.path, self.reason)
    }
}

impl error::Error for Unwritable {}
