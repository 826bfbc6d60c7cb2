//! Virtio network card.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.3, section 5.1.
//!
//! It works on [`virtio::Device`] and not on the crate's `VirtIONetRaw`, which can't suppress interrupts or
//! notifications one queue at a time, copies a header to each frame and asks for features that make both costlier.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod card;
mod handover;

use abi::network::{Frame, MacAddress, Statistics};
use abi::prelude::*;
use card::{Card, Features};
use virtio::{Device, DeviceType};

abi::driver!(
    VirtioNet: NetworkDevice,
    compatible = ["virtio,device1"],
    summary = "Virtio network card",
    parameters = {
        /// Upper limit for the longest packet, in bytes; a card may set a lower one
        mtu: u16 in 68..=65535 = 65535,
    },
);

struct VirtioNet {
    card: Lock<Card>,
    mac_address: MacAddress,
    mtu: usize,
    _interrupt: Interrupt,
}

impl Driver for VirtioNet {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let (mut device, features) = Device::open(resources, DeviceType::Network, Features::all())?;
        device.add_queue()?;
        device.add_queue()?;
        let mut card = Card::start(device, features, resources.dma(), parameters::mtu())?;
        if let Some(handover) = resources.handover() {
            handover::accept(&mut card, &handover)?;
        }
        Ok(Self { mac_address: card.mac_address, mtu: card.mtu, card: Lock::new(card), _interrupt: interrupt })
    }

    fn hand_over(&self) -> Option<Handover> {
        Some(handover::of(&self.card.lock()))
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        let subscriber = {
            let mut card = self.card.lock();
            card.interrupt();
            card.subscriber
        };
        if let Some(subscriber) = subscriber {
            subscriber.raise();
        }
        Served::Done
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
        self.card.lock().link_is_up
    }

    fn receive(&self) -> Result<Option<Frame>> {
        let received = self.card.lock().receive();
        Ok(unless_broken(received))
    }

    fn recycle(&self, frame: Frame) {
        self.card.lock().recycle(frame);
    }

    fn transmit_frame(&self) -> Option<Frame> {
        let frame = self.card.lock().transmit_frame();
        unless_broken(frame)
    }

    fn transmit(&self, frame: Frame) -> Result<()> {
        self.card.lock().transmit(frame)
    }

    fn subscribe(&self, signal: Signal) {
        let mut card = self.card.lock();
        card.subscriber = Some(signal);
        let waiting = card.has_received();
        drop(card);
        if waiting {
            signal.raise();
        }
    }

    fn statistics(&self) -> Statistics {
        self.card.lock().statistics
    }
}

/// A card that has broken its protocol is of use again only once it has been reset, and that is what becomes of one whose
/// driver panics.
fn unless_broken<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the card has to be reset: {error}"))
}
