//! An interface's card as smoltcp sees it.

use crate::interface::Interface;
use abi::network::Frame;
use abi::prelude::*;
use alloc::sync::Arc;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// An Ethernet header: two addresses and a type (IEEE 802.3).
const ETHERNET_HEADER: usize = 14;

/// The card of one interface.
pub struct Port {
    interface: Arc<Interface>,
    card: Card,
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
    /// The card has broken its protocol.
    failure: Option<Error>,
}

type Card = Handle<dyn NetworkDevice>;

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
        let card = interface.card;
        Self { interface, card, is_met: false, link_is_up: false, has_failed: false, is_full: false, transmitter }
    }

    /// The card may have been replaced: forgets what is known of it.
    pub fn forget_card(&mut self) {
        self.is_met = false;
        self.has_failed = false;
        self.interface.set_failed(false);
        self.transmitter.spare = None;
    }

    /// Looks whether there is a link. A card that is away for a moment leaves that as it was, and will be back.
    pub fn open(&mut self) -> Link {
        self.is_full = false;
        let signal = (!self.is_met).then_some(self.interface.signal);
        let Ok(link_is_up) = self.card.call(|card| {
            if let Some(signal) = signal {
                card.subscribe(signal);
            }
            card.link_is_up()
        }) else {
            return Link::Down;
        };
        self.is_met = true;
        let was_up = self.link_is_up;
        self.link_is_up = link_is_up && !self.has_failed;
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

    /// Gives up a card that broke its protocol.
    pub fn close(&mut self) {
        if let Some(error) = self.transmitter.failure.take() {
            error!("{}: {error}; it is not used any more", self.interface.name);
            self.has_failed = true;
            self.interface.set_failed(true);
        }
    }
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Transmission<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Transmission<'_>)> {
        let card = self.card;
        // Without the card nothing arrives.
        match card.call(|card| card.receive()).unwrap_or(Ok(None)) {
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
        let card = self.card;
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
    fn frame(&mut self, card: Card) -> Option<Frame> {
        let frame = self.spare.take().or_else(|| card.call(|card| card.transmit_frame()).ok().flatten())?;
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
pub struct Received {
    card: Card,
    frame: Frame,
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.frame);
        // Without the card the frame is just freed.
        let _ = self.card.call(|card| card.recycle(self.frame));
        result
    }
}

/// The chance to send one frame.
pub struct Transmission<'a> {
    card: Card,
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
        // Without the card the frame is lost, as on any network.
        if let Ok(Err(error)) = self.card.call(|card| card.transmit(frame)) {
            self.transmitter.failure = Some(error);
        }
        result
    }
}
