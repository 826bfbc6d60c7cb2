//! Cards of all kinds, and what can go wrong with them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::{Answer, BLOCK, Bus, Command, Data, Disk, Failure, Host, LONGEST};
use abi::block::Geometry;
use abi::{Error, Result};
use fake_kernel::{CardKind, FakeCard};
use std::sync::{Arc, Mutex, MutexGuard};

const MIB: usize = 1 << 20;

/// A host controller that does everything right, but for what it is told to do wrong.
struct Controller {
    card: FakeCard,
    bus: Bus,
    /// The command that fails the next time, and how.
    fault: Option<(u8, Failure)>,
    /// The card is pulled after that many more blocks.
    blocks_left: Option<usize>,
    is_started: bool,
}

#[derive(Clone)]
struct Slot(Arc<Mutex<Controller>>);

impl Slot {
    fn new(card: FakeCard) -> Self {
        let bus = Bus { hertz: 0, is_wide: false, is_fast: false };
        Self(Arc::new(Mutex::new(Controller { card, bus, fault: None, blocks_left: None, is_started: false })))
    }

    fn get(&self) -> MutexGuard<'_, Controller> {
        self.0.lock().unwrap()
    }
}

impl Controller {
    fn block_passes(&mut self) {
        if let Some(left) = &mut self.blocks_left {
            *left -= 1;
            if *left == 0 {
                self.card.is_there = false;
            }
        }
    }
}

impl Host for Slot {
    fn start(&self) -> Result<()> {
        let mut controller = self.get();
        controller.bus = Bus { hertz: 400_000, is_wide: false, is_fast: false };
        controller.is_started = true;
        Ok(())
    }

    fn set_bus(&self, bus: Bus) -> Result<()> {
        self.get().bus = bus;
        Ok(())
    }

    fn execute(&self, command: Command, data: Option<Data<'_>>) -> Result<u128, Failure> {
        let mut controller = self.get();
        assert!(controller.is_started);
        let answer = controller.card.command(command.index, command.argument);
        if let Some((_, failure)) = controller.fault.take_if(|(index, _)| *index == command.index) {
            // Until the card is started again it is in the middle of something.
            return Err(failure);
        }
        if command.answer == Answer::None {
            return Ok(0);
        }
        let answer = answer.ok_or(Failure::NoAnswer)?;
        let bus = controller.bus;
        assert!(!controller.card.is_there || bus.hertz <= controller.card.highest_rate(), "the clock is too fast");
        let Some(data) = data.filter(|_| !crate::is_refused(answer)) else { return Ok(answer) };
        assert!(data.length() <= LONGEST);
        assert_eq!((bus.is_wide, bus.is_fast && bus.hertz > 25_000_000), (controller.card.is_wide, bus.is_fast));
        let size = data.block();
        match data {
            Data::Read(buffer) => {
                for block in buffer.chunks_mut(size) {
                    block.copy_from_slice(&controller.card.send().ok_or(Failure::NoData)?);
                    controller.block_passes();
                }
            }
            Data::Write(buffer) => {
                for block in buffer.chunks(size) {
                    if !controller.card.receive(block) {
                        return Err(Failure::NoData);
                    }
                    controller.block_passes();
                }
            }
        }
        Ok(answer)
    }
}

fn high(size: usize) -> FakeCard {
    FakeCard::new(CardKind::High, size)
}

fn start(card: FakeCard) -> (Disk<Slot>, Slot) {
    let slot = Slot::new(card);
    (Disk::start(slot.clone(), "/slot").unwrap(), slot)
}

/// Why a card can't be used.
fn refusal(card: FakeCard) -> Error {
    Disk::start(Slot::new(card), "/slot").err().unwrap()
}

#[test]
fn cards_of_all_kinds_are_found_with_their_size_and_their_speed() {
    for (kind, hertz) in [(CardKind::First, 25_000_000), (CardKind::Standard, 50_000_000), (CardKind::High, 50_000_000)]
    {
        for size in [MIB / 2, MIB, 3 * MIB / 2, 64 * MIB] {
            let (disk, slot) = start(FakeCard::new(kind, size));
            let blocks = (size / BLOCK) as u64;
            assert_eq!(disk.geometry(), Geometry { block_size: BLOCK, blocks, read_only: false }, "{kind:?}");
            assert_eq!(slot.get().bus, Bus { hertz, is_wide: true, is_fast: hertz > 25_000_000 }, "{kind:?}");
        }
    }
}

#[test]
fn what_a_card_has_not_got_is_not_used() {
    let mut card = high(MIB);
    (card.has_four_lines, card.has_modes) = (false, false);
    let (disk, slot) = start(card);
    assert_eq!(slot.get().bus, Bus { hertz: 25_000_000, is_wide: false, is_fast: false });
    disk.write(7, &[5; BLOCK]).unwrap();
    assert_eq!(slot.get().card.bytes[7 * BLOCK..8 * BLOCK], [5; BLOCK]);
}

/// The sizes that these registers stand for: SD Specifications, section 5.3, worked out by hand.
#[test]
fn sizes_are_those_of_the_registers_csd() {
    let blocks = |kind, data| {
        let mut card = FakeCard::new(kind, MIB);
        card.data = Some(data);
        start(card).0.geometry().blocks
    };
    // Version 1: C_SIZE 3751, C_SIZE_MULT 7, READ_BL_LEN 10: 3752 * 512 * 1024 bytes, a card of 2 GB.
    assert_eq!(blocks(CardKind::Standard, 0x002e_0032_5b5a_a3a9_ffff_ff80_1680_00c9), 3_842_048);
    // READ_BL_LEN 11 with C_SIZE 4095: the most that there is, 4 GiB.
    assert_eq!(blocks(CardKind::Standard, 0x002e_0032_5b5b_83ff_ffff_ff80_1680_00c9), 8_388_608);
    // Version 2: C_SIZE 0xe8d3: 59,604 * 512 KiB, a card of 32 GB.
    assert_eq!(blocks(CardKind::High, 0x400e_0032_5b59_0000_e8d3_7f80_0a40_40c5), 61_034_496);
    // C_SIZE 0x3fffff: 2 TiB.
    assert_eq!(blocks(CardKind::High, 0x400e_0032_5b59_003f_ffff_7f80_0a40_40c5), 1 << 32);
}

#[test]
fn registers_csd_that_make_no_sense_are_refused() {
    let good = 0x400e_0032_5b59_0000_e8d3_7f80_0a40_40c5_u128;
    for (kind, data) in [
        (CardKind::High, 0),
        (CardKind::High, u128::MAX),
        // More than 2 TiB, and a version that there isn't.
        (CardKind::High, good ^ 3 << 126),
        (CardKind::High, good | 3 << 126),
        // Blocks of 16 KiB.
        (CardKind::High, good ^ (9 ^ 14) << 80),
        // The one kind's with the other's.
        (CardKind::Standard, good),
        (CardKind::High, 0x002e_0032_5b5a_a3a9_ffff_ff80_1680_00c9),
        (CardKind::Standard, 0x002e_0032_5b58_a3a9_ffff_ff80_1680_00c9),
    ] {
        let mut card = FakeCard::new(kind, MIB);
        card.data = Some(data);
        let Error::Io(text) = refusal(card) else { panic!("{data:#x}") };
        assert_eq!(text, format!("the card is of no use: its register CSD has the value {data:#034x}"));
    }
}

#[test]
fn what_is_written_is_where_it_belongs_and_is_what_is_read() {
    for (kind, seed) in [(CardKind::First, 1), (CardKind::Standard, 2), (CardKind::High, 3)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut card = FakeCard::new(kind, 4 * MIB);
        card.storing = 3;
        random.fill(&mut card.bytes);
        let mut expected = card.bytes.clone();
        let blocks = expected.len() / BLOCK;
        let (disk, slot) = start(card);
        for _ in 0..200 {
            let first = random.usize(..=blocks);
            let most = random.usize(1..700);
            let count = random.usize(..=most.min(blocks - first));
            let range = first * BLOCK..(first + count) * BLOCK;
            if random.bool() {
                random.fill(&mut expected[range.clone()]);
                disk.write(first as u64, &expected[range]).unwrap();
            } else {
                let mut buffer = vec![0; range.len()];
                disk.read(first as u64, &mut buffer).unwrap();
                assert!(buffer == expected[range]);
            }
        }
        assert!(slot.get().card.bytes == expected);
    }
}

#[test]
fn long_calls_take_a_command_a_piece() {
    let (disk, slot) = start(high(MIB));
    slot.get().card.commands.clear();
    disk.read(0, &mut vec![0; 2 * LONGEST + BLOCK]).unwrap();
    assert_eq!(slot.get().card.commands, [18, 12, 18, 12, 17]);
    slot.get().card.commands.clear();
    disk.write(0, &vec![0; LONGEST + BLOCK]).unwrap();
    assert_eq!(slot.get().card.commands, [25, 12, 13, 24, 13]);
}

#[test]
fn refuses_what_is_not_there_without_asking_the_card() {
    let (disk, slot) = start(high(MIB));
    slot.get().card.commands.clear();
    for (first, length) in [(0, 511), (2048, BLOCK), (2047, 2 * BLOCK), (u64::MAX, BLOCK)] {
        assert!(matches!(disk.read(first, &mut vec![0; length]), Err(Error::Invalid(_))));
        assert!(matches!(disk.write(first, &vec![0; length]), Err(Error::Invalid(_))));
    }
    assert_eq!(disk.read(2048, &mut []), Ok(()));
    assert_eq!(slot.get().card.commands, []);
}

#[test]
fn a_protected_card_is_read_only() {
    for bit in [12, 13] {
        let mut card = high(MIB);
        card.data = Some(1 << 126 | 9 << 80 | 1 << 48 | 1 << bit);
        let (disk, _) = start(card);
        assert!(disk.geometry().read_only);
        assert_eq!(disk.write(0, &[0; BLOCK]), Err(Error::Invalid("the device is read-only".to_owned())));
    }
}

#[test]
fn an_empty_slot_is_empty() {
    let mut card = high(MIB);
    card.is_there = false;
    assert_eq!(refusal(card), Error::Absent);
}

#[test]
fn a_card_that_never_starts_is_not_waited_for_without_end() {
    let mut card = high(MIB);
    card.starting = u32::MAX;
    assert_eq!(refusal(card), Error::Io("the card is busy for more than 1 s".to_owned()));

    let (disk, slot) = start(high(MIB));
    slot.get().card.storing = u32::MAX;
    let text = "block 3 can't be written: the card is busy for more than 1 s";
    assert_eq!(disk.write(3, &[0; BLOCK]), Err(Error::Io(text.to_owned())));
}

#[test]
fn a_command_that_fails_is_tried_once_more() {
    for (index, failure) in [
        (18, Failure::BadData),
        (18, Failure::NoData),
        (18, Failure::NoAnswer),
        (18, Failure::BadAnswer),
        (12, Failure::NoAnswer),
    ] {
        let (disk, slot) = start(high(MIB));
        slot.get().card.bytes.fill(9);
        slot.get().fault = Some((index, failure));
        let mut buffer = vec![0; 3 * BLOCK];
        disk.read(5, &mut buffer).unwrap();
        assert!(buffer.iter().all(|byte| *byte == 9));
        assert_eq!(slot.get().fault, None);
        assert!(slot.get().bus.is_fast, "the card has been found again, and is as fast as before");
    }
}

#[test]
fn errors_name_blocks_and_reason() {
    for (errors, reason) in [
        (1 << 31, "the address is behind its end"),
        (1 << 26, "it is protected from being written"),
        (1 << 25, "it is locked with a password"),
        (1 << 21, "its memory is damaged there"),
        (1 << 19, "it doesn't say why"),
    ] {
        let (disk, slot) = start(high(MIB));
        slot.get().card.errors = errors;
        let text = format!("blocks 130 to 131 can't be read: the card refuses CMD18: {reason}");
        assert_eq!(disk.read(130, &mut vec![0; 2 * BLOCK]), Err(Error::Io(text)));
        slot.get().card.errors = 0;
        assert_eq!(disk.read(130, &mut vec![0; 2 * BLOCK]), Ok(()));
    }
    // Only a part of it fails.
    let mut card = high(MIB);
    // Less than it says.
    card.data = Some(1 << 126 | 9 << 80 | 1 << 48);
    card.bytes.truncate(200 * BLOCK);
    let (disk, _) = start(card);
    let result = disk.read(128, &mut vec![0; LONGEST + BLOCK]);
    let text = "blocks 128 to 255 can't be read: the card neither sends nor takes data (CMD18)";
    assert_eq!(result, Err(Error::Io(text.to_owned())));
    let text = "block 300 can't be written: the card refuses CMD24: the address is behind its end";
    assert_eq!(disk.write(300, &[0; BLOCK]), Err(Error::Io(text.to_owned())));
    assert_eq!(disk.read(100, &mut [0; BLOCK]), Ok(()));
}

#[test]
fn a_card_that_is_pulled_while_it_is_read_is_used_again_when_it_is_back() {
    let (disk, slot) = start(high(MIB));
    slot.get().card.bytes.fill(9);
    let mut buffer = vec![0; 2 * LONGEST];
    slot.get().blocks_left = Some(200);
    let text = "blocks 128 to 255 can't be read: no SD memory card answers";
    assert_eq!(disk.read(0, &mut buffer), Err(Error::Io(text.to_owned())));
    let text = "blocks 0 to 1 can't be written: no SD memory card answers";
    assert_eq!(disk.write(0, &[0; 2 * BLOCK]), Err(Error::Io(text.to_owned())));

    let mut controller = slot.get();
    controller.blocks_left = None;
    controller.card.is_there = true;
    drop(controller);
    assert_eq!(disk.read(0, &mut buffer), Ok(()));
    assert!(buffer.iter().all(|byte| *byte == 9));
}

#[test]
fn another_card_is_not_taken_for_the_first() {
    let (disk, slot) = start(high(MIB));
    let mut other = high(MIB);
    other.identity ^= 1 << 30;
    let first = std::mem::replace(&mut slot.get().card, other);
    for _ in 0..2 {
        let text = "block 0 can't be written: another card is in the slot than at first";
        assert_eq!(disk.write(0, &[1; BLOCK]), Err(Error::Io(text.to_owned())));
    }
    assert_eq!(slot.get().card.bytes, vec![0; MIB]);
    slot.get().card = first;
    assert_eq!(disk.write(0, &[1; BLOCK]), Ok(()));
}

#[test]
fn a_host_that_fails_is_not_asked_again() {
    let (disk, slot) = start(high(MIB));
    for error in [Error::Stopping, Error::Device("it is out of order".to_owned())] {
        slot.get().fault = Some((17, Failure::Host(error.clone())));
        assert_eq!(disk.read(0, &mut [0; BLOCK]), Err(error));
        assert_eq!(disk.read(0, &mut [0; BLOCK]), Ok(()));
    }
}
