//! Why an object was refused.

use alloc::string::String;
use core::fmt;

use crate::Permission;

/// Why an object cannot be read or linked. Displays as one sentence that names the part at fault, what was expected of
/// it and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A part of the file reaches beyond its end.
    OutOfBounds {
        /// The part.
        what: String,
        /// Where the part ends according to the file's own tables, in bytes from the start of the file.
        end: u64,
        /// The size of the file, in bytes.
        size: u64,
    },
    /// The object, or the memory that it asks for, is larger than this loader takes.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes.
        size: u64,
        /// The largest size taken, in bytes.
        limit: u64,
    },
    /// A field of a header or table has a value with which the object cannot be loaded.
    Unacceptable {
        /// The part that has the field: the ELF header, a section or a symbol with its name.
        what: String,
        /// What was expected of it.
        expected: &'static str,
        /// The value found.
        found: u64,
    },
    /// A symbol that the object needs is neither in the object nor among what is exported to it.
    MissingSymbol {
        /// The symbol's name.
        symbol: String,
    },
    /// A relocation of a kind that is not applied in this system: of thread-local storage, or for dynamic linking.
    UnsupportedRelocation {
        /// Where it stands.
        site: Site,
        /// Why it is not applied.
        reason: &'static str,
    },
    /// A relocation's value does not fit the field that is to hold it.
    Overflow {
        /// Where it stands.
        site: Site,
        /// The value: an address, or the distance from the place of the relocation, in bytes.
        value: i64,
        /// The lowest value that fits.
        minimum: i64,
        /// The highest value that fits.
        maximum: i64,
    },
    /// A relocation's value is not a multiple of what the instruction counts in.
    Misaligned {
        /// Where it stands.
        site: Site,
        /// The value: an address, or the distance from the place of the relocation, in bytes.
        value: i64,
        /// What the value has to be a multiple of, in bytes.
        alignment: u64,
    },
    /// The place that the caller gave for a segment does not suit the layout: a mistake of the kernel's.
    Place {
        /// The segment.
        permission: Permission,
        /// What the layout asks for.
        expected: &'static str,
        /// The number asked for, in bytes.
        wanted: u64,
        /// The number given, in bytes.
        found: u64,
    },
}

/// A relocation, in the words of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The relocation's name without `R_AARCH64_`, or its number where it has no name.
    pub relocation: String,
    /// The section that is relocated.
    pub section: String,
    /// The place of the relocation, in bytes from the start of that section.
    pub offset: u64,
    /// The symbol that it refers to.
    pub symbol: String,
}

impl fmt::Display for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { relocation, section, offset, symbol } = self;
        write!(formatter, "relocation {relocation} of `{symbol}` at {section}+{offset:#x}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { what, end, size } => {
                write!(formatter, "{what} ends at byte {end}, but the object file has only {size} bytes")
            }
            Self::TooLarge { what, size, limit } => {
                write!(formatter, "{what} has {size} bytes, but at most {limit} are taken")
            }
            Self::Unacceptable { what, expected, found } => {
                write!(formatter, "{what}: expected {expected}, found {found:#x}")
            }
            Self::MissingSymbol { symbol } => {
                write!(
                    formatter,
                    "the module needs the symbol `{symbol}`, which neither the kernel exports nor a module that it depends on"
                )
            }
            Self::UnsupportedRelocation { site, reason } => write!(formatter, "{site} cannot be applied: {reason}"),
            Self::Overflow { site, value, minimum, maximum } => {
                write!(formatter, "{site} does not fit: its value {value} is outside {minimum}..={maximum}")
            }
            Self::Misaligned { site, value, alignment } => {
                write!(formatter, "{site} does not fit: its value {value} is not a multiple of {alignment}")
            }
            Self::Place { permission, expected, wanted, found } => write!(
                formatter,
                "the kernel's place for the module's {permission} segment should have {expected} {wanted:#x}, not {found:#x}"
            ),
        }
    }
}

impl core::error::Error for Error {}
