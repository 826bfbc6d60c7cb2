//! An interface's card as smoltcp sees it.

use crate::interface::Interface;
use abi::network::Frame;
use abi::prelude::*;
use alloc::sync::Arc;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// An Ethernet header: two addresses and a type (IEEE 802.3).
const ETHERNET_HEADER: usize = 14;

/// The card of one interface. The live card is borrowed from [`open`](Self::open) to [`close`](Self::close) only, since
/// a borrowed card can't be removed.
pub struct Port {
    interface: Arc<Interface>,
    card: Option<Guard<dyn NetworkDevice>>,
    /// Whether the card knows whom to wake.
    is_met: bool,
    link_is_up: bool,
    has_failed: bool,
    /// Whether the card had no room for a packet since [`open`](Self::open). It raises its signal when it has.
    pub is_full: bool,
    transmitter: Transmitter,
}

/// What sending leaves behind.
struct Transmitter {
    /// The length of the longest frame.
    longest: usize,
    /// A frame that was taken from the card and then not needed.
    spare: Option<Frame>,
    failure: Option<Error>,
}

/// What [`Port::open`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is no link, or no card that works. The signal tells when that changes.
    Down,
    /// There is a link, and there was none the last time.
    CameUp,
    /// There is a link.
    Up,
}

impl Port {
    /// The port of `interface`, closed.
    pub fn new(interface: Arc<Interface>) -> Self {
        let transmitter = Transmitter { longest: interface.mtu + ETHERNET_HEADER, spare: None, failure: None };
        Self { interface, card: None, is_met: false, link_is_up: false, has_failed: false, is_full: false, transmitter }
    }

    /// The card may have been replaced: forgets what is known of it.
    pub fn forget_card(&mut self) {
        self.is_met = false;
        self.has_failed = false;
        self.interface.set_failed(false);
        self.transmitter.spare = None;
    }

    /// Borrows the card.
    pub fn open(&mut self) -> Link {
        self.is_full = false;
        let Ok(card) = self.interface.card.get() else { return Link::Down };
        if !self.is_met {
            self.is_met = true;
            card.subscribe(self.interface.signal);
        }
        let was_up = self.link_is_up;
        self.link_is_up = card.link_is_up() && !self.has_failed;
        self.card = Some(card);
        match (was_up, self.link_is_up) {
            (true, true) => Link::Up,
            (false, false) => Link::Down,
            (false, true) => {
                info!("{}: link is up", self.interface.name);
                Link::CameUp
            }
            (true, false) => {
                info!("{}: link is down", self.interface.name);
                Link::Down
            }
        }
    }

    /// Gives the card back.
    pub fn close(&mut self) {
        self.card = None;
        if let Some(error) = self.transmitter.failure.take() {
            error!("{}: {error}; it is not used any more", self.interface.name);
            self.has_failed = true;
            self.interface.set_failed(true);
        }
    }
}

impl Device for Port {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Transmission<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Transmission<'_>)> {
        let card = self.card.as_deref()?;
        match card.receive() {
            Ok(frame) => {
                let received = Received { card, frame: frame? };
                Some((received, Transmission { card, transmitter: &mut self.transmitter }))
            }
            Err(error) => {
                self.transmitter.failure = Some(error);
                None
            }
        }
    }

    fn transmit(&mut self, _now: Instant) -> Option<Transmission<'_>> {
        let card = self.card.as_deref()?;
        self.transmitter.spare = self.transmitter.frame(card);
        self.is_full = self.transmitter.spare.is_none();
        (!self.is_full).then_some(Transmission { card, transmitter: &mut self.transmitter })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.transmitter.longest;
        capabilities
    }
}

impl Transmitter {
    /// A frame that any packet fits in, if the card has one.
    fn frame(&mut self, card: &dyn NetworkDevice) -> Option<Frame> {
        let frame = self.spare.take().or_else(|| card.transmit_frame())?;
        if frame.capacity() < self.longest {
            self.failure = Some(Error::Device(format!(
                "it offers frames of {} bytes where its MTU asks for {}",
                frame.capacity(),
                self.longest
            )));
            return None;
        }
        Some(frame)
    }
}

/// A frame that has arrived.
pub struct Received<'a> {
    card: &'a dyn NetworkDevice,
    frame: Frame,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.frame);
        self.card.recycle(self.frame);
        result
    }
}

/// The chance to send one frame.
pub struct Transmission<'a> {
    card: &'a dyn NetworkDevice,
    transmitter: &'a mut Transmitter,
}

impl TxToken for Transmission<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let Some(mut frame) = self.transmitter.frame(self.card) else {
            // Only an answer sent without being queued gets here. One that the card has no room for is lost.
            return write(&mut vec![0; length]);
        };
        frame.set_length(length);
        let result = write(&mut frame);
        if let Err(error) = self.card.transmit(frame) {
            self.transmitter.failure = Some(error);
        }
        result
    }
}
