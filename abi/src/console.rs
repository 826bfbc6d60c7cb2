//! The class of consoles: a stream of bytes to and from a person.

use crate::event::Signal;

/// A terminal, such as a serial line.
pub trait Console: Send + Sync {
    /// Writes all bytes, as they are. What several write at the same time isn't mixed within lines, or pieces of 256 bytes.
    fn write(&self, bytes: &[u8]);

    /// Takes bytes that have arrived, without waiting; returns how many of `buffer` are filled.
    fn read(&self, buffer: &mut [u8]) -> usize;

    /// Raises `signal` when bytes arrive. A later call replaces an earlier one.
    fn subscribe(&self, signal: Signal);
}
