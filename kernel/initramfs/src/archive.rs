//! Reading a newc archive. The format is described in `cpio(5)` and in Linux's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use alloc::{format, string::String};
use core::{ffi::CStr, fmt};

pub(crate) const MAGIC: &[u8; 6] = b"070701";
pub(crate) const TRAILER: &str = "TRAILER!!!";
/// The magic, and then 13 numbers of 8 hexadecimal digits each.
pub(crate) const HEADER_SIZE: usize = 6 + 13 * 8;
/// Headers and data begin at multiples of this, counted from the beginning of the archive.
pub(crate) const ALIGNMENT: usize = 4;

/// The bits of a Unix mode that say what kind of file it is, and the value for a regular one.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// A newc archive, or several in a row with zeros between them, as Linux accepts them.
#[derive(Clone, Copy)]
pub struct Archive<'a> {
    bytes: &'a [u8],
}

/// A file, directory or link in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path relative to the root of the archive: a leading `./` or `/` is left out.
    pub name: &'a str,
    /// Unix mode: kind and permissions.
    pub mode: u32,
    /// The contents. They begin at a multiple of 4 bytes in the archive.
    pub data: &'a [u8],
}

impl Entry<'_> {
    /// Whether this is a regular file, and not a directory, link or device.
    pub fn is_file(&self) -> bool {
        self.mode & KIND == REGULAR
    }
}

impl<'a> Archive<'a> {
    /// An archive in memory. Nothing is read yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The entries in order. Where the archive is damaged the last item is the error, and all before it is good; an
    /// entry with a name that can't be read is an error by itself.
    pub fn entries(&self) -> Entries<'a> {
        Entries { bytes: self.bytes, offset: 0, state: State::BetweenArchives { seen_one: false } }
    }

    /// The regular file with this path. Of several the last counts, as it does when Linux unpacks them; what lies
    /// behind a damaged place is not found.
    pub fn find(&self, path: &str) -> Option<Entry<'a>> {
        let path = relative(path);
        self.entries().filter_map(Result::ok).filter(|entry| entry.is_file() && entry.name == path).last()
    }
}

/// Iterator over the entries of an [`Archive`].
#[derive(Clone)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    offset: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BetweenArchives { seen_one: bool },
    Inside,
    Ended,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        // A name that can't be read costs its own entry; behind any other damage nothing can be found.
        if !matches!(item, Some(Ok(_) | Err(Error::Name { .. }))) {
            self.state = State::Ended;
        }
        item
    }
}

impl<'a> Entries<'a> {
    fn advance(&mut self) -> Result<Option<Entry<'a>>, Error> {
        loop {
            if let State::BetweenArchives { seen_one } = self.state {
                self.skip_zeros();
                if seen_one && self.offset >= self.bytes.len() {
                    return Ok(None);
                }
                self.state = State::Inside;
            }
            if self.state == State::Ended {
                return Ok(None);
            }
            match self.entry()? {
                Entry { name: TRAILER, .. } => self.state = State::BetweenArchives { seen_one: true },
                entry => return Ok(Some(entry)),
            }
        }
    }

    fn skip_zeros(&mut self) {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        self.offset += zeros;
    }

    /// Reads the entry at `offset` and moves behind it. Of the header's numbers only the three that matter here are
    /// looked at: owners, times and devices mean nothing to a kernel without a file system.
    fn entry(&mut self) -> Result<Entry<'a>, Error> {
        let start = self.offset;
        if self.bytes.get(start..).unwrap_or_default().iter().all(|byte| *byte == 0) {
            return Err(Error::NoTrailer { total: self.bytes.len() });
        }
        let header = self.take(HEADER_SIZE, || format!("the header at offset {start}"))?;
        if !header.starts_with(MAGIC) {
            let found = header.first_chunk().copied().unwrap_or_default();
            return Err(Error::Magic { offset: start, found });
        }
        let number = |index, field| hexadecimal(header, index).ok_or(Error::Number { offset: start, field });
        let mode = number(1, "mode")?;
        let data_size = number(6, "file size")?;
        let name_size = number(11, "name size")?;

        let name = self.take(name_size as usize, || format!("the name of the entry at offset {start}"))?;
        let name =
            CStr::from_bytes_until_nul(name).ok().and_then(|name| name.to_str().ok()).filter(|name| !name.is_empty());
        self.align();
        let data = self.take(data_size as usize, || format!("'{}'", name.unwrap_or_default()))?;
        self.align();
        let name = relative(name.ok_or(Error::Name { offset: start })?);
        Ok(Entry { name, mode, data })
    }

    fn take(&mut self, size: usize, inside: impl Fn() -> String) -> Result<&'a [u8], Error> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = rest.get(..size).ok_or_else(|| Error::Truncated {
            inside: inside(),
            offset: self.offset.min(self.bytes.len()),
            missing: size - rest.len(),
            total: self.bytes.len(),
        })?;
        self.offset += size;
        Ok(taken)
    }

    fn align(&mut self) {
        self.offset = self.offset.next_multiple_of(ALIGNMENT);
    }
}

/// The header's number at `index` (0 to 12), or None when it isn't 8 hexadecimal digits.
fn hexadecimal(header: &[u8], index: usize) -> Option<u32> {
    let digits = header.get(MAGIC.len() + 8 * index..)?.get(..8)?;
    digits.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | digit)
    })
}

/// A path without the `/` and `./` that it may begin with.
pub(crate) fn relative(mut path: &str) -> &str {
    while let Some(rest) = path.strip_prefix("./").or_else(|| path.strip_prefix('/')) {
        path = rest;
    }
    path
}

/// Why an archive can't be read any further. Offsets and sizes are in bytes from the beginning of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The archive ends too early.
    Truncated {
        /// What it ends inside of, as words.
        inside: String,
        /// Where that begins.
        offset: usize,
        /// How many of its bytes are missing.
        missing: usize,
        /// Size of the archive.
        total: usize,
    },
    /// The archive ends at the end of an entry, but without a trailer.
    NoTrailer {
        /// Size of the archive.
        total: usize,
    },
    /// No newc header where one should be.
    Magic {
        /// Where it should be.
        offset: usize,
        /// What is there instead of `070701`.
        found: [u8; 6],
    },
    /// A number in a header is not made of hexadecimal digits.
    Number {
        /// Where the header begins.
        offset: usize,
        /// Which number.
        field: &'static str,
    },
    /// A name is empty, lacks its final zero, or is not UTF-8.
    Name {
        /// Where the header of the entry begins.
        offset: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { inside, offset, missing, total } => write!(
                f,
                "the archive ends inside {inside} at offset {offset} of {total}: it's truncated, {missing} bytes are \
                 missing"
            ),
            Self::NoTrailer { total } => {
                write!(f, "the archive ends after {total} bytes without its last entry, '{TRAILER}': it's truncated")
            }
            Self::Magic { offset, found } => write!(
                f,
                "the archive should have a header that begins with '070701' (cpio newc) at offset {offset}, found '{}'",
                found.escape_ascii()
            ),
            Self::Number { offset, field } => {
                write!(f, "the archive's header at offset {offset} should give the {field} in 8 hexadecimal digits")
            }
            Self::Name { offset } => write!(
                f,
                "the archive's entry at offset {offset} should have a name in UTF-8 that ends with a zero byte"
            ),
        }
    }
}

impl core::error::Error for Error {}
