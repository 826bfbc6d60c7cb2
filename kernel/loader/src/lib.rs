//! Reads ELF relocatable objects for AArch64 and links them at the addresses where they will run.
//!
//! A module arrives as the `.o` that a compiler or `ld -r` wrote. Loading it takes four steps, each of which can refuse
//! it with an [`Error`] that says in a sentence what is wrong and where:
//!
//! 1. [`Image::new`] puts the bytes at an aligned address (copying only when they are not at one already), and
//!    [`Object::parse`] checks every header and table once. After it no byte of the object can make this crate panic,
//!    read out of bounds or loop.
//! 2. [`Layout::new`] groups the sections to be loaded into three segments by permission: [`Permission::Execute`],
//!    [`Permission::Read`] and [`Permission::Write`]. No segment is ever both writable and executable.
//! 3. The caller reserves an address range for each segment and a writable alias of its memory: a [`Place`].
//! 4. [`link`] copies the sections through the alias, resolves each symbol at most once and applies all relocations in
//!    one pass. The caller then drops the alias, maintains the caches and maps each segment with its permission.
//!
//! ```
//! use loader::{Error, Image, Layout, Object, Place, link};
//!
//! fn load(bytes: &[u8], resolve: &dyn Fn(&str) -> Option<u64>) -> Result<u64, Error> {
//!     let image = Image::new(bytes)?;
//!     let object = Object::parse(&image)?;
//!     let layout = Layout::new(&object)?;
//!     let mut memory = layout.segments().map(|segment| vec![0; segment.size]);
//!     let mut address = 0xffff_8000_0000_0000;
//!     let places = memory.as_mut().map(|bytes| {
//!         address += 0x20_0000;
//!         Place { address, bytes }
//!     });
//!     let linked = link(&object, &layout, places, resolve)?;
//!     Ok(linked.symbol("LOCKSTEP_MODULE").map_or(0, |symbol| symbol.address))
//! }
//! ```
//!
//! Two readers stand beside these steps: [`modinfo`] reads what a module says of itself without linking it, and
//! [`exports`] is the table of what the kernel offers to modules.
//!
//! # Bounds
//!
//! An object has at most [`LARGEST_OBJECT`] bytes, what it asks to be loaded at most [`LARGEST_LAYOUT`] bytes, and no
//! section an alignment above [`LARGEST_ALIGNMENT`]. Its sections share no bytes, and no symbol that it needs has a name
//! of [`LARGEST_NAME`] bytes. The number of sections, symbols and relocations is bounded by the object's size alone.
//!
//! Besides the caller's segments, this crate never holds more than four times the size of the object: one copy of it,
//! if its bytes are not aligned, some 40 bytes for each section, and 32 for each symbol and each common symbol. The work
//! is linear in the size of the object and of its segments, but for sorting the sections and for comparing names.
//!
//! # Sources
//!
//! - *ELF for the Arm 64-bit Architecture* (AAELF64), "Relocation": what each relocation computes, checks and writes,
//!   veneers, and calls of weak symbols.
//! - *System V ABI*, "Object Files": headers, sections, symbols, extended section numbers.
#![no_std]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod error;
pub mod exports;
mod header;
mod image;
mod layout;
mod link;
mod linked;
pub mod modinfo;
mod object;
mod relocation;
mod segments;
mod veneer;

pub use error::{Error, Site};
pub use image::Image;
pub use layout::{Layout, Segment};
pub use link::{Place, link};
pub use linked::{Figures, Linked, PlacedSection, Symbol, function_at};
pub use object::Object;
pub use segments::{Permission, Segments};

/// The largest object that is read, in bytes.
pub const LARGEST_OBJECT: usize = 64 << 20;

/// Names of symbols that are looked up have fewer bytes than this.
pub const LARGEST_NAME: usize = 16 << 10;

/// The largest size of a module's three segments together, in bytes.
pub const LARGEST_LAYOUT: usize = 64 << 20;

/// The largest alignment that a section or a common symbol may ask for, in bytes.
pub const LARGEST_ALIGNMENT: u64 = 2 << 20;
