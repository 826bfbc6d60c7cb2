//! SD memory cards: what the drivers of host controllers share.
//!
//! A driver implements [`Host`], which carries out one command after the other, and publishes the [`Disk`] that is made of it.
//!
//! Specification: SD Specifications Part 1, Physical Layer Simplified Specification, version 9.10; sections named below are
//! its.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

abi::library!(summary = "SD memory cards, for the drivers of host controllers");

mod card;
mod disk;
mod host;
#[cfg(test)]
mod tests;

pub use card::is_refused;
pub use disk::Disk;
pub use host::{Answer, Bus, Command, Data, Failure, Host};

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// The most data that one command moves, in bytes: longer calls take several.
pub const LONGEST: usize = 64 << 10;
