//! Virtio network card.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.3, section 5.1.
//!
//! It works on [`virtio::Device`] and not on the crate's `VirtIONetRaw`, which can't suppress interrupts or
//! notifications one queue at a time, copies a header to each frame and asks for features that make both costlier.
#![no_std]
#![forbid(unsafe_code)]

use abi::network::{Frame, MacAddress, Statistics};
use abi::prelude::*;
use bitflags::bitflags;
use virtio::{Access, Device, DeviceType};

abi::driver!(VirtioNet: NetworkDevice, compatible = ["virtio,device1"], summary = "Virtio network card");

bitflags! {
    /// Features of the card and of its queues that are used where the card has them (sections 5.1.3 and 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
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
const QUEUE_SIZE: usize = 64;

/// The length of an Ethernet header with a VLAN tag.
const ETHERNET_HEADER: usize = 18;

/// The MTU of a card that doesn't tell.
const MTU: u16 = 1500;

/// The smallest MTU that IPv4 allows (RFC 791): a card that claims less is not believed.
const SMALLEST_MTU: u16 = 68;

/// Frames begin at a cache line, so that no two share one.
const ALIGNMENT: usize = 64;

struct VirtioNet {
    card: Lock<Card>,
    mac_address: MacAddress,
    mtu: usize,
    knows_link: bool,
    _interrupt: Interrupt,
}

struct Card {
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
    subscriber: Option<Signal>,
    statistics: Statistics,
}

impl Driver for VirtioNet {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let (device, features) = Device::open(resources, DeviceType::Network, Features::all())?;
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
        let mtu = usize::from(mtu);
        // The last field, `num_buffers`, came with version 1.
        let header = if features.contains(Features::VERSION_1) { 12 } else { 10 };
        let mut card = Card {
            device,
            dma: resources.dma(),
            header,
            size: (header + ETHERNET_HEADER + mtu).next_multiple_of(ALIGNMENT),
            spare: Vec::with_capacity(QUEUE_SIZE),
            awaited: false,
            subscriber: None,
            statistics: Statistics::default(),
        };
        card.start()?;
        let knows_link = features.contains(Features::STATUS);
        Ok(Self { card: Lock::new(card), mac_address, mtu, knows_link, _interrupt: interrupt })
    }

    fn interrupt(&self, _index: usize) {
        let subscriber = {
            let mut card = self.card.lock();
            card.device.acknowledge_interrupt();
            card.subscriber
        };
        if let Some(subscriber) = subscriber {
            subscriber.raise();
        }
    }
}

impl NetworkDevice for VirtioNet {
    fn mac_address(&self) -> MacAddress {
        self.mac_address
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn link_is_up(&self) -> bool {
        let status = || self.card.lock().device.configuration_u16(configuration::STATUS);
        !self.knows_link || status().is_ok_and(|status| status & LINK_UP != 0)
    }

    fn receive(&self) -> Result<Option<Frame>> {
        self.card.lock().receive()
    }

    fn recycle(&self, frame: Frame) {
        self.card.lock().recycle(frame);
    }

    fn transmit_frame(&self) -> Option<Frame> {
        self.card.lock().transmit_frame()
    }

    fn transmit(&self, frame: Frame) -> Result<()> {
        self.card.lock().transmit(frame)
    }

    fn subscribe(&self, signal: Signal) {
        let mut card = self.card.lock();
        card.subscriber = Some(signal);
        let waiting = card.device.has_returned(RECEIVE);
        drop(card);
        if waiting {
            signal.raise();
        }
    }

    fn statistics(&self) -> Statistics {
        self.card.lock().statistics
    }
}

impl Card {
    /// Sets up the queues and gives the card memory for all the frames that it may receive.
    fn start(&mut self) -> Result<()> {
        self.device.add_queue()?;
        self.device.add_queue()?;
        // Nobody waits for a frame to have been transmitted: they are collected when the next needs memory.
        self.device.set_interrupts(TRANSMIT, false);
        for _ in 0..QUEUE_SIZE {
            let memory = self.dma.allocate(self.size, ALIGNMENT)?;
            self.device.lend(RECEIVE, memory, Access::Write)?;
        }
        self.device.start();
        self.device.notify(RECEIVE);
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Frame>> {
        let Some((memory, length)) = self.device.take_back(RECEIVE)? else {
            return Ok(None);
        };
        if length < self.header {
            return Err(Error::Device(format!("it delivered {length} bytes, less than its header")));
        }
        self.statistics.received += 1;
        Ok(Some(Frame::new(memory, self.header..length)))
    }

    fn recycle(&mut self, frame: Frame) {
        let (memory, _) = frame.into_parts();
        // A full queue or too small a buffer means that the frame wasn't from here: it is freed.
        if memory.len() >= self.size && self.device.lend(RECEIVE, memory, Access::Write).is_ok() {
            self.device.notify(RECEIVE);
        }
    }

    fn transmit_frame(&mut self) -> Option<Frame> {
        let memory = self.memory()?;
        let end = memory.len();
        Some(Frame::new(memory, self.header..end))
    }

    fn transmit(&mut self, frame: Frame) -> Result<()> {
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
    fn memory(&mut self) -> Option<DmaBuffer> {
        if self.spare.is_empty() {
            self.collect();
        }
        if self.spare.is_empty() && self.device.room(TRANSMIT) == 0 {
            self.await_room(true);
            // Some may have come back just before the card saw that.
            self.collect();
        }
        let memory = match self.spare.pop() {
            None if self.device.room(TRANSMIT) > 0 => self.dma.allocate(self.size, ALIGNMENT).ok(),
            memory => memory,
        };
        if memory.is_some() {
            self.await_room(false);
        }
        memory
    }

    /// Takes back what has been transmitted.
    fn collect(&mut self) {
        while let Some((memory, _)) = self.device.take_back(TRANSMIT).unwrap_or_else(|error| {
            warn!("a network card doesn't give back what it has transmitted: {error}");
            None
        }) {
            self.spare.push(memory);
        }
    }

    fn await_room(&mut self, awaited: bool) {
        if self.awaited != awaited {
            self.awaited = awaited;
            self.device.set_interrupts(TRANSMIT, awaited);
        }
    }
}
