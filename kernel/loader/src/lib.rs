//! Reads ELF relocatable objects for AArch64 and links them at the addresses where they will run.
//!
//! A module arrives as the `.o` that a compiler or `ld -r` wrote. Loading it takes four steps, each of which can refuse
//! it with an [`Error`] that says in a sentence what is wrong and where:
//!
//! 1. [`Object::parse`] checks every header and table once, at whatever address the bytes are. After it no byte of the
//!    object can make this crate panic, read out of bounds or loop.
//! 2. [`Layout::new`] groups the sections to be loaded into three segments by permission: [`Permission::Execute`],
//!    [`Permission::Read`] and [`Permission::Write`]. No segment is ever both writable and executable. It also counts
//!    what the relocations may need beside the sections.
//! 3. The caller reserves an address range for each segment and a writable alias of its memory: a [`Place`].
//! 4. [`link`] copies the sections through the alias, resolves each symbol at most once and applies all relocations in
//!    one pass. The caller then drops the alias, maintains the caches and maps each segment with its permission.
//!
//! ```
//! use loader::{Error, Layout, Object, Place, Workarounds, link};
//!
//! fn load(bytes: &[u8], resolve: &dyn Fn(&str) -> Option<u64>) -> Result<u64, Error> {
//!     let object = Object::parse(bytes)?;
//!     let layout = Layout::new(&object, Workarounds::default())?;
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
//! # What is loaded
//!
//! A section is loaded if it has the flag `SHF_ALLOC` and not `SHF_EXCLUDE`, but for `.modinfo`. Its own address means
//! nothing. Strings that could be merged stay apart, and groups are loaded whole, for there is no other object to share
//! with. Of the functions that an object wants called by itself, [`Linked::initializers`] gives those of `.init_array`,
//! by rising number; as in Linux, nothing calls those of `.fini_array` and `.preinit_array`.
//!
//! Relocations are those that AAELF64 calls static, but for thread-local storage and signed pointers. A branch (CALL26,
//! JUMP26) reaches any address outside through a veneer, and so does the distance to a function (PLT32); conditional
//! branches and literals that are out of reach are errors, as they are for GNU ld. [`Workarounds`] says which faults of
//! the processor to avoid.
//!
//! # Bounds
//!
//! An object has at most [`LARGEST_OBJECT`] bytes, what it asks to be loaded at most [`LARGEST_LAYOUT`] bytes, and no
//! section an alignment above [`LARGEST_ALIGNMENT`]. Its sections share no bytes, and no symbol that it needs has a name
//! of [`LARGEST_NAME`] bytes. The number of sections, symbols and relocations is bounded by the object's size alone.
//!
//! The object's bytes are copied once, to their places. Besides the caller's segments, this crate never holds more than
//! three times the size of the object: at most 80 bytes for each section, 33 for each symbol and 32 more if it is a
//! common one, 40 for each branch with a veneer of its own, and eight for each initializer. The work is linear in the
//! size of the object and of its segments, but for sorting the sections, finding veneers, and comparing names.
//!
//! # Sources
//!
//! - *ELF for the Arm 64-bit Architecture* (AAELF64, 2026Q2), "Relocation": what each relocation computes, checks and
//!   writes, veneers, and weak symbols.
//! - *System V ABI*, "Object Files": headers, sections, symbols, extended section numbers.
//! - *Arm Cortex-A53 MPCore Software Developers Errata Notice*, 843419.
#![no_std]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod apply;
mod erratum;
mod error;
pub mod exports;
mod fault;
mod header;
mod layout;
mod link;
mod linked;
pub mod modinfo;
mod object;
mod relocation;
mod resolve;
mod segments;
mod symbols;
mod veneer;

pub use erratum::Workarounds;
pub use error::{Error, Site};
pub use layout::{Layout, SectionPlace, Segment};
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
