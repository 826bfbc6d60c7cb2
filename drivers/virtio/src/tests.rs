//! A device played by the test: it reads and writes the rings in memory, as section 2.7 lays them out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::prelude::*;
use fake_kernel::{FakeNode, FakeQueue, LentBuffer, device_read as read, device_write as write, dma_in_use};

const SIZE: usize = 8;
const FEATURES: u32 = 1 << 5 | 1;

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        const MAC = 1 << 5;
        const VERSION_1 = 1 << 32;
    }
}

/// The registers of a network card.
fn card(version: u32) -> FakeNode {
    let node = FakeNode::new(&[0x200]);
    for (offset, value) in [(0x000, 0x7472_6976), (0x004, version), (0x008, 1), (0x010, FEATURES), (0x034, 64)] {
        node.set(0, offset, value);
    }
    node
}

/// The driver's side and the device's side of one queue.
struct Pair {
    device: Device<SIZE>,
    node: FakeNode,
    queue: FakeQueue,
}

impl Pair {
    fn new() -> Self {
        let node = card(2);
        let (mut device, _) = open(&node).unwrap();
        device.add_queue().unwrap();
        device.start();
        let queue = FakeQueue::of(&node, SIZE as u16);
        Self { device, node, queue }
    }

    fn lend(&mut self, bytes: usize, access: Access) {
        let buffer = self.node.resources().dma().allocate(bytes, 64).unwrap();
        self.device.lend(0, buffer, access).unwrap();
    }
}

fn open(node: &FakeNode) -> Result<(Device<SIZE>, Features)> {
    Device::open(&mut node.resources(), DeviceType::Network, Features::all())
}

#[test]
fn opens_modern_and_legacy_devices() {
    for version in [1, 2] {
        let node = card(version);
        let (device, features) = open(&node).unwrap();
        assert_eq!(features, Features::all());
        node.set(0, 0x100, 0x0403_0201);
        assert_eq!((device.configuration_u8(1), device.configuration_u16(2)), (Ok(2), Ok(0x0403)));
        assert!(matches!(device.configuration_u16(0x100), Err(Error::Device(_))));
        drop(device);
        assert_eq!(node.get(0, 0x070), 0, "the device has been reset");
    }
}

#[test]
fn refuses_what_it_can_not_drive() {
    for (offset, value) in [(0x000, 0), (0x004, 3), (0x008, 2), (0x008, 99)] {
        let node = card(2);
        node.set(0, offset, value);
        assert!(matches!(open(&node).err(), Some(Error::Unsupported(_))), "register {offset:#x} is {value}");
    }
    let empty = card(2);
    empty.set(0, 0x008, 0);
    assert_eq!(open(&empty).err(), Some(Error::Absent));
    assert_eq!(open(&FakeNode::new(&[])).err(), Some(Error::Missing { resource: "registers".to_owned(), index: 0 }));
    let small = card(2);
    small.set(0, 0x034, 4);
    assert!(matches!(open(&small).unwrap().0.add_queue(), Err(Error::Device(_))));
}

#[test]
fn lends_buffers_and_takes_them_back() {
    let mut pair = Pair::new();
    pair.lend(128, Access::Write);
    pair.lend(128, Access::Read(60));
    assert_eq!(pair.device.room(0), SIZE - 2);
    assert!(!pair.device.has_returned(0));

    let LentBuffer { address, length, flags, token } = pair.queue.next();
    assert_eq!((length, flags), (128, 2));
    write(address, *b"frame");
    pair.queue.give_back(token.into(), 5);
    let (buffer, written) = pair.device.take_back(0).unwrap().unwrap();
    assert_eq!((&buffer[..5], written), (&b"frame"[..], 5));
    assert_eq!(buffer.device_address(), address);

    let LentBuffer { length, flags, token, .. } = pair.queue.next();
    assert_eq!((length, flags), (60, 0));
    pair.queue.give_back(token.into(), 0);
    assert_eq!(pair.device.take_back(0).unwrap().map(|(buffer, written)| (buffer.len(), written)), Some((128, 0)));
    assert_eq!(pair.device.take_back(0).unwrap().map(|(buffer, _)| buffer.len()), None);
    assert_eq!(pair.device.room(0), SIZE);
}

#[test]
fn lends_parts_of_a_buffer_as_one() {
    // What is read and written, and the descriptors that the device sees: where, how long, and their flags (1: there is
    // another, 2: to be written).
    for (read, write, expected) in [
        ([16, 0], [100, 1], vec![(0, 16, 1), (16, 100, 3), (116, 1, 2)]),
        ([16, 100], [0, 1], vec![(0, 16, 1), (16, 100, 1), (116, 1, 2)]),
        ([16, 0], [0, 1], vec![(0, 16, 1), (16, 1, 2)]),
        ([0, 128], [0, 0], vec![(0, 128, 0)]),
        ([32, 32], [32, 32], vec![(0, 32, 1), (32, 32, 1), (64, 32, 3), (96, 32, 2)]),
    ] {
        let mut pair = Pair::new();
        pair.lend(128, Access::Parts { read, write });
        assert_eq!(pair.device.room(0), SIZE - expected.len());
        let first = pair.queue.next();
        let seen: Vec<_> = std::iter::successors(Some(first), |buffer| pair.queue.after(*buffer))
            .map(|part| (part.address - first.address, part.length, part.flags))
            .collect();
        assert_eq!(seen, expected);
        // Only the first part's token stands for them all.
        let room = write[0] + write[1];
        pair.queue.give_back(first.token.into(), room as u32);
        let returned = pair.device.take_back(0).unwrap().map(|(buffer, written)| (buffer.len(), written));
        assert_eq!((returned, pair.device.room(0)), (Some((128, room)), SIZE));

        pair.lend(128, Access::Parts { read, write });
        let first = pair.queue.next();
        let lie = pair.queue.after(first).map_or((first.token, 129), |second| (second.token, 0));
        pair.queue.give_back(lie.0.into(), lie.1);
        assert_eq!(matches!(pair.device.take_back(0), Err(Error::Device(_))), expected.len() > 1);
    }
}

#[test]
fn counts_on_past_the_end_of_the_indices() {
    let mut pair = Pair::new();
    for _ in 0..=u16::MAX {
        pair.lend(64, Access::Write);
        pair.queue.give_back(pair.queue.next().token.into(), 64);
        assert!(pair.device.take_back(0).unwrap().is_some());
    }
    pair.lend(64, Access::Write);
    assert_eq!(pair.queue.lent(), 1);
}

#[test]
fn refuses_a_lie_with_an_error() {
    // A token that was never lent, one out of range, one whose lower half is right, more bytes than there is room for.
    for (token, length) in [(1, 0), (SIZE as u32, 0), (u32::MAX, 0), (0, 65), (0, u32::MAX)] {
        let mut pair = Pair::new();
        pair.lend(64, Access::Write);
        pair.queue.give_back(token, length);
        assert!(matches!(pair.device.take_back(0), Err(Error::Device(_))), "token {token:#x}, length {length}");
    }
    // The same buffer twice.
    let mut pair = Pair::new();
    pair.lend(64, Access::Write);
    pair.queue.give_back(0, 1);
    pair.queue.give_back(0, 1);
    assert!(pair.device.take_back(0).unwrap().is_some());
    assert!(matches!(pair.device.take_back(0), Err(Error::Device(_))));
}

#[test]
fn refuses_what_a_driver_should_not_lend() {
    let mut pair = Pair::new();
    let dma = pair.node.resources().dma();
    let buffer = || dma.allocate(64, 64).unwrap();
    assert!(matches!(pair.device.lend(1, buffer(), Access::Write), Err(Error::Invalid(_))));
    assert!(matches!(pair.device.lend(0, buffer(), Access::Read(0)), Err(Error::Invalid(_))));
    assert!(matches!(pair.device.lend(0, buffer(), Access::Read(65)), Err(Error::Invalid(_))));
    for (read, write) in [([0, 0], [0, 0]), ([16, 0], [48, 1]), ([0, 65], [0, 0]), ([usize::MAX, 2], [0, 0])] {
        assert!(matches!(pair.device.lend(0, buffer(), Access::Parts { read, write }), Err(Error::Invalid(_))));
    }
    for _ in 0..SIZE {
        pair.device.lend(0, buffer(), Access::Write).unwrap();
    }
    assert!(matches!(pair.device.lend(0, buffer(), Access::Write), Err(Error::Busy(_))));
}

#[test]
fn any_device_leaves_memory_in_order() {
    // A device that returns anything, the same in every run.
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..500 {
        let mut pair = Pair::new();
        let (mut lent, mut taken) = (0, 0);
        for _ in 0..40 {
            if pair.device.room(0) > 0 && random.bool() {
                let parts = Access::Parts { read: [16, 0], write: [47, 1] };
                let count = if pair.device.room(0) < 3 { 2 } else { 3 };
                pair.lend(64, [Access::Write, Access::Read(64), parts][random.usize(..count)]);
                lent += 1;
            }
            let token = if random.u32(..8) == 0 { random.u32(..) } else { random.u32(..SIZE as u32) };
            pair.queue.give_back(token, random.u32(..72));
            while let Ok(Some((buffer, written))) = pair.device.take_back(0) {
                assert!(written <= buffer.len());
                taken += 1;
            }
        }
        assert!(taken <= lent);
        let Pair { device, node, .. } = pair;
        drop(device);
        assert_eq!(dma_in_use(&node), 0);
    }
}

#[test]
fn tells_the_device_unless_it_has_asked_not_to_be_told() {
    const NOTIFY: usize = 0x050;
    let mut pair = Pair::new();
    pair.node.set(0, NOTIFY, u32::MAX);
    write(pair.queue.used, 1_u16);
    pair.device.notify(0);
    assert_eq!(pair.node.get(0, NOTIFY), u32::MAX);
    write(pair.queue.used, 0_u16);
    pair.device.notify(0);
    assert_eq!(pair.node.get(0, NOTIFY), 0);

    pair.device.set_interrupts(0, false);
    assert_eq!(read::<u16>(pair.queue.available), 1);
    pair.device.set_interrupts(0, true);
    assert_eq!(read::<u16>(pair.queue.available), 0);
}

#[test]
fn acknowledges_what_the_interrupt_was_for() {
    let mut pair = Pair::new();
    pair.node.set(0, 0x060, 3);
    assert!(pair.device.acknowledge_interrupt() == InterruptStatus::all());
    assert_eq!(pair.node.get(0, 0x064), 3);
}
