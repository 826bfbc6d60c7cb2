//! The bytes of an object at an address at which its tables can be read in place.

use alloc::{vec, vec::Vec};

use crate::{Error, LARGEST_OBJECT};

/// The alignment of the widest field in ELF64's tables, in bytes.
const ALIGNMENT: usize = 8;

/// The bytes of an object file, at an address that is a multiple of eight.
///
/// Borrowed when they already are at such an address; otherwise (a cpio archive promises four) copied once.
pub struct Image<'a>(Bytes<'a>);

enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Copied { buffer: Vec<u8>, start: usize },
}

impl<'a> Image<'a> {
    /// Takes the bytes of an object file, at any address.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] beyond [`LARGEST_OBJECT`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > LARGEST_OBJECT {
            return Err(Error::TooLarge {
                what: "the object file",
                size: bytes.len() as u64,
                limit: LARGEST_OBJECT as u64,
            });
        }
        if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Ok(Self(Bytes::Borrowed(bytes)));
        }
        // Room for an aligned start wherever the allocator puts the buffer, which never moves as it never grows.
        let mut buffer = vec![0; bytes.len() + ALIGNMENT - 1];
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        if let Some(copy) = buffer.get_mut(start..start + bytes.len()) {
            copy.copy_from_slice(bytes);
        }
        buffer.truncate(start + bytes.len());
        Ok(Self(Bytes::Copied { buffer, start }))
    }

    /// The object's bytes, at an address that is a multiple of eight.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Copied { buffer, start } => buffer.get(*start..).unwrap_or_default(),
        }
    }
}
