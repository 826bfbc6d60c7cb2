//! A card played by the test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{FakeNode, FakeQueue, LentBuffer, device_read as read, device_write as write, dma_in_use};
use virtio::DeviceType;

const MODERN: u64 = 1 << 32 | 1 << 16 | 1 << 5;
const LEGACY: u64 = 1 << 27 | 1 << 5;

struct Machine {
    node: FakeNode,
    queues: [FakeQueue; 2],
    card: Card,
}

impl Machine {
    fn new(features: u64) -> Result<Self> {
        let node = FakeNode::new(&[0x200]);
        for (offset, value) in [(0x000, 0x7472_6976), (0x004, 2), (0x008, 1), (0x034, 64)] {
            node.set(0, offset, value);
        }
        // Address 52:54:00:12:34:56, a link, an MTU of 9000.
        for (offset, value) in [(0x100, 0x1200_5452), (0x104, 0x0001_5634), (0x108, 9000 << 16)] {
            node.set(0, offset, value);
        }
        // The register shows one half of the features at a time: here the same bits as both.
        node.set(0, 0x010, features as u32 | (features >> 32) as u32);
        let (mut device, offered) = Device::open(&mut node.resources(), DeviceType::Network, Features::all())?;
        let queues = [RECEIVE, TRANSMIT].map(|_| {
            device.add_queue().unwrap();
            FakeQueue::of(&node, 64)
        });
        let features = Features::from_bits_truncate(features) & (offered | Features::VERSION_1);
        Ok(Self { card: Card::start(device, features, node.resources().dma(), u16::MAX)?, node, queues })
    }

    /// The card receives a frame.
    fn deliver(&mut self, frame: &[u8]) {
        let LentBuffer { token, address, length, .. } = self.queues[RECEIVE].next();
        assert!(12 + frame.len() <= length as usize);
        frame.iter().zip(address + 12..).for_each(|(byte, address)| write(address, *byte));
        self.queues[RECEIVE].give_back(token.into(), 12 + frame.len() as u32);
    }

    /// The card transmits a frame; returns its header and the frame.
    fn send(&mut self) -> (Vec<u8>, Vec<u8>) {
        let LentBuffer { token, address, length, .. } = self.queues[TRANSMIT].next();
        self.queues[TRANSMIT].give_back(token.into(), 0);
        let bytes = |from: u32, to: u32| (from..to).map(|offset| read(address + u64::from(offset))).collect();
        (bytes(0, 12), bytes(12, length))
    }
}

fn transmit(card: &mut Card, bytes: &[u8]) -> Result<()> {
    let mut frame = card.transmit_frame().unwrap().unwrap();
    frame[..bytes.len()].copy_from_slice(bytes);
    frame.set_length(bytes.len());
    card.transmit(frame)
}

#[test]
fn reads_what_the_card_says_of_itself() {
    let mut machine = Machine::new(MODERN).unwrap();
    assert_eq!(machine.card.mac_address.to_string(), "52:54:00:12:34:56");
    assert_eq!((machine.card.mtu, machine.card.link_is_up), (1500, true));
    assert_eq!(machine.queues[RECEIVE].lent(), 64);

    // The link goes down; an interrupt of the other kind says nothing of it.
    machine.node.set(0, 0x104, 0x0000_5634);
    machine.node.set(0, 0x060, 1);
    machine.card.interrupt();
    assert!(machine.card.link_is_up);
    machine.node.set(0, 0x060, 2);
    machine.card.interrupt();
    assert!(!machine.card.link_is_up);

    let jumbo = Machine::new(MODERN | 1 << 3).unwrap();
    assert_eq!(jumbo.card.mtu, 9000);
    assert!(jumbo.queues[RECEIVE].next().length >= 12 + 14 + 9000);
    drop(jumbo.card);
    assert_eq!(dma_in_use(&jumbo.node), 0);
}

#[test]
fn refuses_cards_that_it_can_not_drive() {
    assert!(matches!(Machine::new(1 << 32).err(), Some(Error::Unsupported(_))), "no address");
    assert!(matches!(Machine::new(1 << 5).err(), Some(Error::Unsupported(_))), "a header in a buffer of its own");
    assert_eq!(Machine::new(LEGACY).unwrap().card.header, 10);
}

#[test]
fn receives_into_memory_that_is_used_again() {
    let mut machine = Machine::new(MODERN).unwrap();
    let memory = dma_in_use(&machine.node);
    for round in 0..1000_u32 {
        assert!(machine.card.receive().unwrap().is_none());
        machine.deliver(&round.to_le_bytes());
        machine.deliver(b"another");
        let frame = machine.card.receive().unwrap().unwrap();
        assert_eq!(*frame, round.to_le_bytes());
        machine.card.recycle(frame);
        let frame = machine.card.receive().unwrap().unwrap();
        assert_eq!(&*frame, b"another");
        machine.card.recycle(frame);
    }
    assert_eq!(machine.card.statistics.received, 2000);
    assert_eq!(dma_in_use(&machine.node), memory);
}

#[test]
fn transmits_behind_a_header_of_zeros_from_little_memory() {
    let mut machine = Machine::new(MODERN).unwrap();
    let memory = dma_in_use(&machine.node);
    for round in 0..1000_u32 {
        transmit(&mut machine.card, &round.to_le_bytes()).unwrap();
        assert_eq!(machine.send(), (vec![0; 12], round.to_le_bytes().to_vec()));
    }
    assert_eq!(machine.card.statistics.transmitted, 1000);
    assert_eq!(dma_in_use(&machine.node), memory + machine.card.size, "one frame at a time takes one buffer");
}

#[test]
fn asks_for_an_interrupt_only_while_all_frames_are_under_way() {
    let mut machine = Machine::new(MODERN).unwrap();
    let suppressed = |machine: &Machine| read::<u16>(machine.queues[TRANSMIT].available) == 1;
    for _ in 0..64 {
        assert!(suppressed(&machine));
        transmit(&mut machine.card, b"frame").unwrap();
    }
    assert!(machine.card.transmit_frame().unwrap().is_none());
    assert!(!suppressed(&machine));
    machine.send();
    assert!(machine.card.transmit_frame().unwrap().is_some());
    assert!(suppressed(&machine));
}

#[test]
fn refuses_frames_that_are_not_its_own() {
    let mut machine = Machine::new(MODERN).unwrap();
    let mut empty = machine.card.transmit_frame().unwrap().unwrap();
    empty.set_length(0);
    assert!(matches!(machine.card.transmit(empty), Err(Error::Invalid(_))));
    let memory = machine.node.resources().dma().allocate(64, 64).unwrap();
    assert!(matches!(machine.card.transmit(Frame::new(memory, 0..64)), Err(Error::Invalid(_))));
    // Too short, or one too many: it is freed.
    let memory = machine.node.resources().dma().allocate(64, 64).unwrap();
    machine.card.recycle(Frame::new(memory, 12..64));
    let memory = machine.card.transmit_frame().unwrap().unwrap();
    machine.card.recycle(memory);
    assert_eq!(machine.queues[RECEIVE].lent(), 64);
}

#[test]
fn a_lie_is_an_error() {
    // Less than a header, more than a buffer, a buffer that it hasn't got.
    for (token, length) in [(0, 11), (0, 0), (0, u32::MAX), (64, 60), (u32::MAX, 60)] {
        let mut machine = Machine::new(MODERN).unwrap();
        machine.queues[RECEIVE].give_back(token, length);
        assert!(matches!(machine.card.receive(), Err(Error::Device(_))), "token {token:#x}, length {length}");
        machine.queues[TRANSMIT].give_back(token, length);
        assert!(matches!(machine.card.transmit_frame(), Err(Error::Device(_))), "token {token:#x}, length {length}");
        drop(machine.card);
        assert_eq!(dma_in_use(&machine.node), 0);
    }
}
