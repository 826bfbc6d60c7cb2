//! The class of firmware that goes on running beside the operating system, on a processor of its own, and has clocks,
//! power and the like in its hands.
//!
//! Clocks and power domains are numbered as in the cells of `clocks` and `power-domains` that point to the firmware.

use crate::Result;
use crate::network::MacAddress;
use alloc::string::String;
use alloc::vec::Vec;

/// What identifies a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The firmware's version: seconds since 1970-01-01T00:00:00Z at which it was built.
    pub firmware: u32,
    /// The board's model and revision, in the maker's code.
    pub revision: u32,
    /// The board's serial number.
    pub serial: u64,
    /// The Ethernet address that belongs to the board.
    pub mac_address: MacAddress,
}

/// A clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockRate {
    /// Its number.
    pub number: u32,
    /// Its name, in lower case.
    pub name: String,
    /// How fast it runs now, in Hz; 0 when it is off.
    pub hertz: u32,
}

/// Memory whose content is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBuffer {
    /// Where the processor sees it: a physical address.
    pub address: u64,
    /// Its bytes.
    pub size: u32,
    /// Pixels of a line, each of 32 bits: red in bits 0 to 7, then green, then blue.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from one line to the next.
    pub pitch: u32,
}

/// What a board's firmware does for the operating system.
///
/// Every call waits for the firmware. It fails with [`Error::Unsupported`](crate::Error::Unsupported) when the firmware
/// doesn't know what is asked for, with [`Error::Device`](crate::Error::Device) when its answer makes no sense, and with
/// [`Error::TimedOut`](crate::Error::TimedOut) when there is none.
pub trait Firmware: Send + Sync {
    /// Which board this is.
    ///
    /// # Errors
    /// See [`Firmware`].
    fn identity(&self) -> Result<Identity>;

    /// The temperature of the processors, in thousandths of a degree Celsius.
    ///
    /// # Errors
    /// See [`Firmware`].
    fn temperature(&self) -> Result<u32>;

    /// All clocks that the firmware knows, with their rates.
    ///
    /// # Errors
    /// See [`Firmware`].
    fn clocks(&self) -> Result<Vec<ClockRate>>;

    /// How fast a clock runs, in Hz; 0 when it is off.
    ///
    /// # Errors
    /// See [`Firmware`]; [`Error::Invalid`](crate::Error::Invalid) for a clock that there isn't.
    fn clock_rate(&self, number: u32) -> Result<u32>;

    /// Has a clock run as near to `hertz` as it can; returns how fast that is.
    ///
    /// # Errors
    /// As [`clock_rate`](Self::clock_rate).
    fn set_clock_rate(&self, number: u32, hertz: u32) -> Result<u32>;

    /// Whether a power domain is switched on.
    ///
    /// # Errors
    /// See [`Firmware`]; [`Error::Invalid`](crate::Error::Invalid) for a domain that there isn't.
    fn is_powered(&self, domain: u32) -> Result<bool>;

    /// Switches a power domain on or off, and waits until it is.
    ///
    /// # Errors
    /// As [`is_powered`](Self::is_powered), and [`Error::Io`](crate::Error::Io) when it stays as it was.
    fn set_powered(&self, domain: u32, powered: bool) -> Result<()>;

    /// Gives the screen a frame buffer of that many pixels, in place of the one that it has; of as many as the screen has
    /// when both are 0.
    ///
    /// # Errors
    /// See [`Firmware`].
    fn frame_buffer(&self, width: u32, height: u32) -> Result<FrameBuffer>;
}
