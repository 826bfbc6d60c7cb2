//! Why a module or a key is not taken.

use core::fmt;

use crate::{KeyIdentifier, MAGIC};

/// Why a module's signature is not good. Displays as a sentence about the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file does not end with a trailer.
    Unsigned,
    /// The trailer names another key than the one that the module is checked with.
    OtherKey {
        /// The key that the module is checked with.
        expected: KeyIdentifier,
        /// The key that the trailer names.
        found: KeyIdentifier,
    },
    /// The signature was not made with the key that the trailer names, for this object and this version.
    Wrong {
        /// The key.
        key: KeyIdentifier,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => write!(
                formatter,
                "the module is not signed, or has lost its end: expected the file to end with \"{}\"",
                MAGIC.escape_ascii()
            ),
            Self::OtherKey { expected, found } => {
                write!(formatter, "the module is signed with key {found}, and the only key trusted here is {expected}")
            }
            Self::Wrong { key } => write!(
                formatter,
                "the module is not what was signed with key {key}: the file was changed, or the signature is forged"
            ),
        }
    }
}

impl core::error::Error for Error {}

/// Some bytes that are no public key of any use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusableKey(pub [u8; 32]);

impl fmt::Display for UnusableKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the public key ")?;
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str(" is useless: expected a point of ed25519's curve, and not one of small order")
    }
}

impl core::error::Error for UnusableKey {}
