//! The class of network cards.

use crate::dma::DmaBuffer;
use crate::event::Signal;
use crate::{Error, Result};
use alloc::format;
use core::fmt;
use core::ops::{Deref, DerefMut, Range};

/// An Ethernet address (IEEE 802).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// An Ethernet frame without its check sequence, in memory that the card can reach. Dereferences to its bytes.
#[derive(Debug)]
pub struct Frame {
    memory: DmaBuffer,
    range: Range<usize>,
}

impl Frame {
    /// The frame in `range` of `memory`: what lies before is room for the driver's own header.
    ///
    /// A range that doesn't lie within `memory` is cut to what does.
    pub fn new(memory: DmaBuffer, range: Range<usize>) -> Self {
        let end = range.end.min(memory.len());
        let start = range.start.min(end);
        Self { memory, range: start..end }
    }

    /// Makes the frame `length` bytes long, or as long as its memory allows.
    pub fn set_length(&mut self, length: usize) {
        self.range.end = self.range.start.saturating_add(length).min(self.memory.len());
    }

    /// The most that [`set_length`](Self::set_length) allows.
    pub fn capacity(&self) -> usize {
        self.memory.len() - self.range.start
    }

    /// Takes the frame apart, for the driver that made it.
    pub fn into_parts(self) -> (DmaBuffer, Range<usize>) {
        (self.memory, self.range)
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.range.clone()).unwrap_or_default()
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.range.clone()).unwrap_or_default()
    }
}

/// What a card has counted since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received.
    pub received: u64,
    /// Frames handed to the card for transmission.
    pub transmitted: u64,
    /// Frames that the card or the driver had to drop.
    pub dropped: u64,
}

/// An Ethernet card.
pub trait NetworkDevice: Send + Sync {
    /// The card's own address.
    fn mac_address(&self) -> MacAddress;

    /// The longest payload of a frame, in bytes, without the Ethernet header: usually 1500, at most 65535. Those who use the
    /// card call [`checked_mtu`](#method.checked_mtu).
    fn mtu(&self) -> usize;

    /// Whether there is a link.
    fn link_is_up(&self) -> bool;

    /// Takes the next frame that has arrived, without waiting.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the card broke its protocol.
    fn receive(&self) -> Result<Option<Frame>>;

    /// Gives back a frame that was received and is done with, so that its memory serves the next.
    fn recycle(&self, frame: Frame);

    /// A frame to fill and transmit, or none while all are under way: [`subscribe`](Self::subscribe) tells when to ask again.
    fn transmit_frame(&self) -> Option<Frame>;

    /// Hands a frame from [`transmit_frame`](Self::transmit_frame) to the card.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when the card broke its protocol.
    fn transmit(&self, frame: Frame) -> Result<()>;

    /// Raises `signal` when frames have arrived, when there is room to transmit again, and when the link changes.
    /// A later call replaces an earlier one.
    fn subscribe(&self, signal: Signal);

    /// What has been counted.
    fn statistics(&self) -> Statistics;
}

/// The longest payload that IP knows (RFC 791, section 3.1: the total length has 16 bits).
const LARGEST_MTU: usize = 65535;

impl dyn NetworkDevice {
    /// The longest payload of a frame, in bytes, if that can be.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver says what can't be.
    pub fn checked_mtu(&self) -> Result<usize> {
        match self.mtu() {
            mtu @ ..=LARGEST_MTU => Ok(mtu),
            mtu => Err(Error::Device(format!(
                "its driver says that frames carry {mtu} bytes, at most {LARGEST_MTU} are expected"
            ))),
        }
    }
}
