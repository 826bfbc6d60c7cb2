//! Signatures of modules: whose a module is, and that it is still as it was signed.
//!
//! A signed module is the object file and a trailer of [`LENGTH`] bytes behind it, where readers of ELF files do not
//! look:
//!
//! | bytes | |
//! | --- | --- |
//! | 8 | the version counter, little-endian |
//! | 8 | the identifier of the key: the first bytes of the SHA-512 hash of the public key |
//! | 64 | the signature of all that precedes it |
//! | 16 | [`MAGIC`] |
//!
//! The signature is Ed25519ph (RFC 8032, section 5.1): ed25519 over a SHA-512 hash, so that nothing is copied, with
//! [`MAGIC`] as the context, so that nothing else that the key may have signed passes for a module. It is checked before
//! a byte of the object is parsed.
//!
//! `ed25519-dalek` does the arithmetic. `ed25519-compact` was measured beside it, on the kernel's target: it needs a tenth
//! more instructions and four times the code.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod error;

use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::{Digest, Sha512, Signature, SigningKey, VerifyingKey};

pub use error::{Error, UnusableKey};

/// What a signed module ends with, and the context of its signature.
pub const MAGIC: &[u8; 16] = b"lockstep-ed25519";

/// The size of the trailer, in bytes.
pub const LENGTH: usize = 8 + 8 + Signature::BYTE_SIZE + MAGIC.len();

/// A key that modules are checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    identifier: KeyIdentifier,
}

impl PublicKey {
    /// The key with this encoding (RFC 8032, section 5.1.2).
    ///
    /// # Errors
    ///
    /// When it encodes no point of the curve, or one of small order, for which anybody can make signatures.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, UnusableKey> {
        match VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(Self { key, identifier: KeyIdentifier::of(&key) }),
            _ => Err(UnusableKey(*bytes)),
        }
    }

    /// What names this key in a trailer.
    pub fn identifier(&self) -> KeyIdentifier {
        self.identifier
    }
}

/// Tells keys apart in trailers and messages: the first bytes of the SHA-512 hash of the public key. Displays as 16
/// hexadecimal digits. It proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdentifier([u8; 8]);

impl KeyIdentifier {
    fn of(key: &VerifyingKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 64]>::from(Sha512::digest(key.as_bytes()));
        Self([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for KeyIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// What a module's trailer says. It may be a lie until [`verify`] has checked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The version counter.
    pub version: u64,
    /// The key that the module was signed with.
    pub key: KeyIdentifier,
    signature: [u8; Signature::BYTE_SIZE],
}

/// A module whose signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The object file.
    pub object: &'a [u8],
    /// The version counter that was signed with it. Of two versions of a module the later one has the greater.
    pub version: u64,
}

/// The object file in the bytes of a module, and the trailer if it has one. Nothing is checked.
pub fn split(bytes: &[u8]) -> (&[u8], Option<Trailer>) {
    match Parts::of(bytes) {
        Some(parts) => (parts.object, Some(parts.trailer)),
        None => (bytes, None),
    }
}

/// Checks that a module was signed with this key and is unchanged since then.
///
/// The check is strict: of each signature one encoding is taken, and it fits one module and one key.
///
/// # Errors
///
/// When the module has no trailer, names another key, or is not what the signature was made for.
pub fn verify<'a>(bytes: &'a [u8], key: &PublicKey) -> Result<Signed<'a>, Error> {
    let Parts { object, covered, trailer } = Parts::of(bytes).ok_or(Error::Unsigned)?;
    if trailer.key != key.identifier {
        return Err(Error::OtherKey { expected: key.identifier, found: trailer.key });
    }
    let signature = Signature::from_bytes(&trailer.signature);
    key.key
        .verify_prehashed_strict(Sha512::new_with_prefix(covered), Some(MAGIC), &signature)
        .map_err(|_| Error::Wrong { key: key.identifier })?;
    Ok(Signed { object, version: trailer.version })
}

/// Signs an object file: returns it with its trailer. If it has a trailer already, that one is replaced.
pub fn sign(object: &[u8], version: u64, key: &SigningKey) -> Vec<u8> {
    let (object, _) = split(object);
    let mut bytes = Vec::with_capacity(object.len() + LENGTH);
    bytes.extend_from_slice(object);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&KeyIdentifier::of(&key.verifying_key()).0);
    let signature = key
        .sign_prehashed(Sha512::new_with_prefix(&bytes), Some(MAGIC))
        .expect("signing fails for a context of more than 255 bytes only");
    bytes.extend_from_slice(&signature.to_bytes());
    bytes.extend_from_slice(MAGIC);
    bytes
}

/// A signed module, taken apart.
struct Parts<'a> {
    object: &'a [u8],
    /// What the signature is made for: the object, the version counter and the identifier of the key.
    covered: &'a [u8],
    trailer: Trailer,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_suffix(MAGIC)?;
        let (covered, signature) = rest.split_last_chunk()?;
        let (rest, key) = covered.split_last_chunk()?;
        let (object, version) = rest.split_last_chunk()?;
        let version = u64::from_le_bytes(*version);
        Some(Self { object, covered, trailer: Trailer { version, key: KeyIdentifier(*key), signature: *signature } })
    }
}
