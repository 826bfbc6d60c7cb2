//! The initramfs: a cpio newc archive that holds the modules and the index of what they claim.
//!
//! One crate owns both formats, in both directions: the kernel reads with [`Archive`] and [`Index`], the build writes
//! with [`Writer`] and [`write_index`]. Reading never copies, never panics, and hands out every entry that lies before
//! a damaged place together with a sentence about the damage.
//!
//! The crate `cpio_reader` was tried first. Its iterator ends silently at a bad entry and accepts an archive that has
//! lost its trailer, so a truncated initramfs can't be told from a short one; what it would leave to us is most of
//! [`Archive`].
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod archive;
mod index;
mod writer;

pub use archive::{Archive, Entry, Error};
pub use index::{BadLine, Conflict, INDEX_PATH, Index, SERVICE, service_on, write_index};
pub use writer::{Unwritable, Writer};
