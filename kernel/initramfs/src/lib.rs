//! The initramfs: a cpio newc archive with the modules and their index.
//!
//! API skeleton: signatures are final, bodies are being filled in.
#![no_std]
extern crate alloc;
use alloc::{string::String, vec::Vec};
use core::fmt;

/// SKELETON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// SKELETON.
    Todo,
}
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("todo")
    }
}
/// A file, directory or link in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Name without leading `./` or `/`.
    pub name: &'a str,
    /// Unix mode: type and permissions.
    pub mode: u32,
    /// Contents.
    pub data: &'a [u8],
}
/// A newc archive.
#[derive(Clone, Copy)]
pub struct Archive<'a> {
    _bytes: &'a [u8],
}
impl<'a> Archive<'a> {
    /// Nothing is read yet.
    pub fn new(_bytes: &'a [u8]) -> Self {
        todo!()
    }
    /// Good entries in order, then the damage once, if there is any.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, Error>> + use<'a> {
        core::iter::empty()
    }
    /// The last entry of that name before any damage (a later one replaces an earlier one, as in Linux).
    pub fn find(&self, _name: &str) -> Option<Entry<'a>> {
        todo!()
    }
}
/// Builds an archive.
#[derive(Default)]
pub struct Writer {
    _bytes: Vec<u8>,
}
impl Writer {
    /// Empty.
    pub fn new() -> Self {
        todo!()
    }
    /// Adds a regular file (missing parent directories are added first).
    pub fn file(&mut self, _name: &str, _data: &[u8]) {
        todo!()
    }
    /// The archive with its trailer.
    pub fn finish(self) -> Vec<u8> {
        todo!()
    }
}
/// Where the index is in the archive.
pub const INDEX_PATH: &str = "modules/index";
/// Which module claims which `compatible`, and which modules are services.
pub struct Index<'a> {
    _text: &'a str,
}
/// A line of the index that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine<'a> {
    /// Line number, from 1.
    pub number: usize,
    /// The line.
    pub text: &'a str,
}
/// Two or more modules that claim the same `compatible`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// What they claim.
    pub compatible: &'a str,
    /// The modules, in the order of the index (the first is used).
    pub modules: Vec<&'a str>,
}
impl<'a> Index<'a> {
    /// Reads an index; lines that are malformed are left out, see [`Index::bad_lines`].
    pub fn parse(_text: &'a str) -> Self {
        todo!()
    }
    /// Modules that claim `compatible`, in the order of the index.
    pub fn modules_for<'i>(&'i self, _compatible: &'i str) -> impl Iterator<Item = &'a str> + 'i {
        core::iter::empty()
    }
    /// Modules without a device, in the order of the index.
    pub fn services(&self) -> impl Iterator<Item = &'a str> + '_ {
        core::iter::empty()
    }
    /// Lines that were left out.
    pub fn bad_lines(&self) -> &[BadLine<'a>] {
        todo!()
    }
    /// What several modules claim.
    pub fn conflicts(&self) -> Vec<Conflict<'a>> {
        todo!()
    }
}
/// One line of an index to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim<'a> {
    /// A driver's `compatible` string.
    Compatible {
        /// Device tree string.
        compatible: &'a str,
        /// Module name (`virtio-net`: `modules/virtio-net.o`).
        module: &'a str,
    },
    /// A service.
    Service {
        /// Module name.
        module: &'a str,
    },
}
/// The text of an index.
pub fn write_index(_claims: &[Claim<'_>]) -> String {
    todo!()
}
