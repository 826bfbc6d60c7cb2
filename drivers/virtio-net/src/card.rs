//! The card's two queues, and the frames in them.

use abi::network::{Frame, MacAddress, Statistics};
use abi::prelude::*;
use bitflags::bitflags;
use virtio::{Access, Device, InterruptStatus};

bitflags! {
    /// Features of the card and of its queues that are used where the card has them (sections 5.1.3 and 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// The configuration says how long a frame may be.
        const MTU = 1 << 3;
        /// The configuration holds the card's address.
        const MAC = 1 << 5;
        /// The configuration says whether there is a link.
        const STATUS = 1 << 16;
        /// Header and frame may lie in one buffer. Part of version 1.
        const ANY_LAYOUT = 1 << 27;
        /// The card follows version 1 of the specification or a later one.
        const VERSION_1 = 1 << 32;
    }
}

/// Offsets in the configuration (section 5.1.4).
mod configuration {
    pub const MAC: usize = 0;
    pub const STATUS: usize = 6;
    pub const MTU: usize = 10;
}

/// A bit of the status.
const LINK_UP: u16 = 1;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// How many frames can be under way in each direction.
pub const QUEUE_SIZE: usize = 64;

/// The length of an Ethernet header with a VLAN tag.
const ETHERNET_HEADER: usize = 18;

/// The MTU of a card that doesn't tell.
const MTU: u16 = 1500;

/// The smallest MTU that IPv4 allows (RFC 791): a card that claims less is not believed.
const SMALLEST_MTU: u16 = 68;

/// Frames begin at a cache line, so that no two share one.
const ALIGNMENT: usize = 64;

/// A card that works.
pub struct Card {
    /// Its address.
    pub mac_address: MacAddress,
    /// The longest packet, in bytes.
    pub mtu: usize,
    /// Whether there is a link.
    pub link_is_up: bool,
    /// Who is told when there is something to do.
    pub subscriber: Option<Signal>,
    /// What has been counted.
    pub statistics: Statistics,
    device: Device<QUEUE_SIZE>,
    dma: Dma,
    /// The bytes that the card's header takes in front of a frame (section 5.1.6).
    header: usize,
    /// The bytes of memory for a frame with its header.
    size: usize,
    /// Memory of frames that have been transmitted.
    spare: Vec<DmaBuffer>,
    /// Whether somebody waits for room to transmit.
    awaited: bool,
    /// Whether the configuration says if there is a link; else there always is.
    knows_link: bool,
}

impl Card {
    /// Gives the card, which has its two queues, memory for all the frames that it may receive, and starts it. No packet
    /// has more than `mtu_limit` bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::Device`] when its features or its configuration make it of no use.
    pub fn start(device: Device<QUEUE_SIZE>, features: Features, dma: Dma, mtu_limit: u16) -> Result<Self> {
        if !features.contains(Features::MAC) {
            return Err(Error::Unsupported("a card without an address of its own".to_owned()));
        }
        if !features.intersects(Features::ANY_LAYOUT | Features::VERSION_1) {
            return Err(Error::Unsupported("a legacy card without VIRTIO_F_ANY_LAYOUT".to_owned()));
        }
        let mut mac_address = MacAddress::default();
        for (index, byte) in mac_address.0.iter_mut().enumerate() {
            *byte = device.configuration_u8(configuration::MAC + index)?;
        }
        let mtu = match features.contains(Features::MTU) {
            true => device.configuration_u16(configuration::MTU)?,
            false => MTU,
        };
        if mtu < SMALLEST_MTU {
            return Err(Error::Device(format!("it claims that a packet may have {mtu} bytes at most")));
        }
        // What arrives may be as long as the card allows, whatever is sent (section 5.1.6.3.1).
        let size = usize::from(mtu) + ETHERNET_HEADER;
        let mtu = usize::from(mtu.min(mtu_limit));
        // The last field, `num_buffers`, came with version 1.
        let header = if features.contains(Features::VERSION_1) { 12 } else { 10 };
        let mut card = Self {
            mac_address,
            mtu,
            link_is_up: true,
            subscriber: None,
            statistics: Statistics::default(),
            device,
            dma,
            header,
            size: (header + size).next_multiple_of(ALIGNMENT),
            spare: Vec::with_capacity(QUEUE_SIZE),
            awaited: false,
            knows_link: features.contains(Features::STATUS),
        };
        // Nobody waits for a frame to have been transmitted: they are collected when the next needs memory.
        card.device.set_interrupts(TRANSMIT, false);
        for _ in 0..QUEUE_SIZE {
            let memory = dma.allocate(card.size, ALIGNMENT)?;
            card.device.lend(RECEIVE, memory, Access::Write)?;
        }
        card.device.start();
        card.device.notify(RECEIVE);
        card.look_for_link();
        Ok(card)
    }

    /// Ends the card's interrupt.
    pub fn interrupt(&mut self) {
        if self.device.acknowledge_interrupt().contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT) {
            self.look_for_link();
        }
    }

    /// Whether a frame has arrived.
    pub fn has_received(&self) -> bool {
        self.device.has_returned(RECEIVE)
    }

    /// Reads from the configuration whether there is a link; the card interrupts when that changes.
    fn look_for_link(&mut self) {
        let status = || self.device.configuration_u16(configuration::STATUS);
        self.link_is_up = !self.knows_link || status().is_ok_and(|status| status & LINK_UP != 0);
    }

    /// See [`NetworkDevice::receive`].
    pub fn receive(&mut self) -> Result<Option<Frame>> {
        let Some((memory, length)) = self.device.take_back(RECEIVE)? else {
            return Ok(None);
        };
        if length < self.header {
            return Err(Error::Device(format!("it delivered {length} bytes, less than its header")));
        }
        self.statistics.received += 1;
        Ok(Some(Frame::new(memory, self.header..length)))
    }

    /// See [`NetworkDevice::recycle`].
    pub fn recycle(&mut self, frame: Frame) {
        let (memory, _) = frame.into_parts();
        // A full queue or too small a buffer means that the frame wasn't from here: it is freed.
        if memory.len() >= self.size && self.device.lend(RECEIVE, memory, Access::Write).is_ok() {
            self.device.notify(RECEIVE);
        }
    }

    /// See [`NetworkDevice::transmit_frame`].
    ///
    /// # Errors
    /// [`Error::Device`] when the card gives back what it hasn't got.
    pub fn transmit_frame(&mut self) -> Result<Option<Frame>> {
        let Some(memory) = self.memory()? else { return Ok(None) };
        let end = memory.len();
        Ok(Some(Frame::new(memory, self.header..end)))
    }

    /// See [`NetworkDevice::transmit`].
    pub fn transmit(&mut self, frame: Frame) -> Result<()> {
        let (mut memory, range) = frame.into_parts();
        match memory.get_mut(..range.start) {
            // All zeros: nothing is left for the card to compute or to split (section 5.1.6.2).
            Some(header) if header.len() == self.header && !range.is_empty() => header.fill(0),
            _ => return Err(Error::Invalid("a frame that is empty or from another card".to_owned())),
        }
        let lent = self.device.lend(TRANSMIT, memory, Access::Read(range.end));
        if lent.is_err() {
            self.statistics.dropped += 1;
            return lent;
        }
        self.device.notify(TRANSMIT);
        self.statistics.transmitted += 1;
        Ok(())
    }

    /// Memory for a frame to transmit, if not all is under way; then the card will interrupt when some comes back.
    fn memory(&mut self) -> Result<Option<DmaBuffer>> {
        if self.spare.is_empty() {
            self.collect()?;
        }
        if self.spare.is_empty() && self.device.room(TRANSMIT) == 0 {
            self.await_room(true);
            // Some may have come back just before the card saw that.
            self.collect()?;
        }
        let memory = match self.spare.pop() {
            None if self.device.room(TRANSMIT) > 0 => self.dma.allocate(self.size, ALIGNMENT).ok(),
            memory => memory,
        };
        if memory.is_some() {
            self.await_room(false);
        }
        Ok(memory)
    }

    /// Takes back what has been transmitted.
    fn collect(&mut self) -> Result<()> {
        while let Some((memory, _)) = self.device.take_back(TRANSMIT)? {
            self.spare.push(memory);
        }
        Ok(())
    }

    fn await_room(&mut self, awaited: bool) {
        if self.awaited != awaited {
            self.awaited = awaited;
            self.device.set_interrupts(TRANSMIT, awaited);
        }
    }
}

#[cfg(test)]
mod tests;
