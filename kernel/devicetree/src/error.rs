use crate::Cells;
use alloc::string::String;
use core::fmt;

/// What is wrong with a tree, as a sentence that names the node and the property at fault.
///
/// Only the first four kinds concern the whole tree; the others cost nothing but what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Fewer bytes than a header has, or than it says that the tree has.
    Truncated {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The first four bytes are not those of a flattened device tree.
    Magic {
        /// What they are.
        found: u32,
    },
    /// A version of the format that version 17 (specification v0.4, section 5.2) can't stand in for.
    Version {
        /// The oldest version that the tree is compatible with, or its own when that is too old.
        found: u32,
    },
    /// A block of the tree lies outside of it.
    Block {
        /// Which one.
        block: &'static str,
        /// Where it ends, in bytes from the beginning of the tree.
        end: usize,
        /// Size of the tree in bytes.
        total: usize,
    },
    /// The structure block is damaged inside a node. What could be read of the node and all others are kept.
    Damaged {
        /// The node.
        path: String,
        /// Where, in bytes from the beginning of the structure block.
        offset: usize,
        /// What is there, as words.
        problem: &'static str,
    },
    /// A property doesn't hold what it should.
    Property {
        /// The node that has or should have it.
        path: String,
        /// Its name.
        property: String,
        /// What it should hold, as words.
        expected: String,
        /// What it holds, as words.
        found: String,
    },
    /// A property points to a node that isn't there.
    Reference {
        /// The node that has the property.
        path: String,
        /// Its name.
        property: String,
        /// The phandle, which no node has.
        phandle: u32,
    },
    /// A node's addresses mean nothing outside of its bus.
    NoRanges {
        /// The node.
        path: String,
        /// The bus without `ranges`.
        bus: String,
    },
    /// An address is in none of the ranges that a bus passes on.
    OutsideRanges {
        /// The node.
        path: String,
        /// The bus.
        bus: String,
        /// The address on that bus.
        address: u64,
        /// Size in bytes.
        size: u64,
    },
    /// A range of addresses goes past the end of the 64-bit address space.
    Overflow {
        /// The node.
        path: String,
        /// First address.
        address: u64,
        /// Size in bytes.
        size: u64,
    },
    /// A node has interrupts, but no controller to take them.
    NoInterruptParent {
        /// The node.
        path: String,
    },
    /// A node's interrupts lead to something that neither takes nor maps them.
    NotAController {
        /// The node.
        path: String,
        /// Where they lead.
        parent: String,
    },
    /// An interrupt is not in the `interrupt-map` that it leads to.
    NotMapped {
        /// The node with the map.
        path: String,
        /// Unit address that was looked for.
        unit_address: Cells,
        /// Specifier that was looked for.
        specifier: Cells,
    },
    /// An interrupt passes through map after map, or through a very long one, and reaches no controller.
    InterruptLoop {
        /// A node with a map on the way.
        path: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { expected, found } => {
                write!(f, "the device tree should have {expected} bytes, found {found}: it's truncated")
            }
            Self::Magic { found } => {
                write!(f, "the device tree should begin with 0xd00dfeed, found {found:#010x}")
            }
            Self::Version { found } => {
                write!(f, "the device tree should be compatible with version 17 of the format, found {found}")
            }
            Self::Block { block, end, total } => {
                write!(f, "the device tree's {block} should end within its {total} bytes, found the end at {end}")
            }
            Self::Damaged { path, offset, problem } => {
                write!(f, "the device tree is damaged in {path}, at offset {offset} of its structure block: {problem}")
            }
            Self::Property { path, property, expected, found } => {
                write!(f, "'{property}' of {path} should be {expected}, found {found}")
            }
            Self::Reference { path, property, phandle } => {
                write!(f, "'{property}' of {path} should point to a node, found phandle {phandle:#x}, which none has")
            }
            Self::NoRanges { path, bus } => {
                write!(f, "the processor can't reach the addresses of {path}: its bus {bus} has no 'ranges'")
            }
            Self::OutsideRanges { path, bus, address, size } => write!(
                f,
                "the processor can't reach {size:#x} bytes at {address:#x} of {path}: no entry in 'ranges' of {bus} \
                 covers them"
            ),
            Self::Overflow { path, address, size } => {
                write!(f, "{size:#x} bytes at {address:#x} of {path} should end below 2^64")
            }
            Self::NoInterruptParent { path } => write!(
                f,
                "the interrupts of {path} should have a controller, found no 'interrupt-parent' in it or above it"
            ),
            Self::NotAController { path, parent } => write!(
                f,
                "the interrupts of {path} lead to {parent}, which should have 'interrupt-controller' or \
                 'interrupt-map', but has neither"
            ),
            Self::NotMapped { path, unit_address, specifier } => write!(
                f,
                "'interrupt-map' of {path} should have an entry for interrupt {specifier:?} of the device at \
                 {unit_address:?}, found none"
            ),
            Self::InterruptLoop { path } => write!(
                f,
                "the interrupt maps should lead to a controller after 128 entries at most, found a circle or a map too \
                 long at {path}"
            ),
        }
    }
}

impl core::error::Error for Error {}
