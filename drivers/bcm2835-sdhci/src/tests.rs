//! The driver over a model of the controller, with a card in its slot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{CardKind, FakeCard, FakeNode, Model, device_read, device_write, dma_in_use};
use sdmmc::{BLOCK, LONGEST};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};

const MIB: usize = 1 << 20;

/// Bits of the status (section 2.2.18), and the errors among them.
const COMMAND_COMPLETE: u32 = 1 << 0;
const TRANSFER_COMPLETE: u32 = 1 << 1;
const WRITE_READY: u32 = 1 << 4;
const READ_READY: u32 = 1 << 5;
const COMMAND_TIMEOUT: u32 = 1 << 16;
const COMMAND_CRC: u32 = 1 << 17;
const DATA_TIMEOUT: u32 = 1 << 20;
const DATA_CRC: u32 = 1 << 21;
const DMA_ERROR: u32 = 1 << 25;
const ERRORS: u32 = 0xffff_0000;

/// Capabilities: ADMA2.
const DESCRIPTORS: u32 = 1 << 19;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An error is reported when this command is sent.
    Reports(u8, u32),
    /// Nothing more happens after this command was sent.
    Hangs(u8),
    /// The card is pulled when that many blocks have passed.
    Pulled(usize),
}

/// Data that are under way.
struct Transfer {
    reads: bool,
    left: usize,
    buffer: Vec<u8>,
    position: usize,
}

/// The registers, as the specification describes them.
struct Machine {
    card: FakeCard,
    base: u32,
    capabilities: u32,
    faults: Vec<Fault>,
    blocks: u32,
    argument: u32,
    response: [u32; 4],
    control: u32,
    clock: u32,
    status: u32,
    status_enable: u32,
    signal_enable: u32,
    descriptors: u32,
    transfer: Option<Transfer>,
    /// Nothing works until it is reset.
    is_stuck: bool,
    /// How often a part was reset: all, the command line, the data lines.
    resets: [usize; 3],
    /// Whether a reset never ends.
    resets_forever: bool,
}

impl Machine {
    fn new(card: FakeCard) -> Self {
        Self {
            card,
            base: 100_000_000,
            capabilities: 0,
            faults: Vec::new(),
            blocks: 0,
            argument: 0,
            response: [0; 4],
            control: 0,
            clock: 0,
            status: 0,
            status_enable: 0,
            signal_enable: 0,
            descriptors: 0,
            transfer: None,
            is_stuck: false,
            resets: [0; 3],
            resets_forever: false,
        }
    }

    /// The card's clock (section 2.2.14), in Hz.
    fn rate(&self) -> u32 {
        let divisor = self.clock >> 8 & 0xff | (self.clock >> 6 & 3) << 8;
        if divisor == 0 { self.base } else { self.base / (2 * divisor) }
    }

    fn is_inhibited(&self) -> u32 {
        if self.transfer.is_some() || self.is_stuck { 0b10 } else { 0 }
    }

    /// Notes events, of which those come through that are enabled (section 2.2.20).
    fn tell(&mut self, events: u32) {
        self.status |= events & self.status_enable;
    }

    fn fault(&mut self, matches: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let position = self.faults.iter().position(matches)?;
        Some(self.faults.remove(position))
    }

    fn send(&mut self, order: u32) {
        assert_eq!(self.clock & 0b111, 0b111, "the card has no clock");
        assert_eq!(self.control >> 8 & 0xf, 0xf, "the card has no power");
        let (index, has_data) = ((order >> 24) as u8 & 0x3f, order & 1 << 21 != 0);
        let is_abort = order >> 22 & 3 == 3;
        assert!(!has_data || self.is_inhibited() == 0, "CMD{index} while data are under way");
        assert_eq!(is_abort, index == 12);
        assert_eq!(self.status, 0, "CMD{index} before what came before was looked at");
        let (kind, checks) = (order >> 16 & 3, order >> 19 & 3);
        let expected = match index {
            0 => (0, 0),
            2 | 9 => (1, 0b01),
            41 => (2, 0),
            _ => (2, 0b11),
        };
        assert_eq!((kind, checks), expected, "CMD{index}");
        assert!(!self.card.is_there || self.rate() <= self.card.highest_rate(), "{} Hz", self.rate());
        assert!(self.rate() >= 100_000, "{} Hz", self.rate());
        let answer = self.card.command(index, self.argument);
        if self.fault(|fault| *fault == Fault::Hangs(index)).is_some() {
            self.is_stuck = true;
            return;
        }
        let error = match self.fault(|fault| matches!(fault, Fault::Reports(number, _) if *number == index)) {
            Some(Fault::Reports(_, error)) => error,
            _ => 0,
        };
        if kind == 0 {
            return self.tell(COMMAND_COMPLETE);
        }
        let Some(answer) = answer.filter(|_| error & COMMAND_TIMEOUT == 0) else { return self.tell(COMMAND_TIMEOUT) };
        // Section 2.2.7: a long one without its checksum.
        let bits = if kind == 1 { answer >> 8 } else { answer };
        self.response = std::array::from_fn(|word| (bits >> (32 * word)) as u32);
        self.tell(if error & COMMAND_CRC != 0 { error } else { COMMAND_COMPLETE });
        if !has_data || error & COMMAND_CRC != 0 {
            return;
        }
        assert_eq!(self.control & 0b10 != 0, self.card.is_wide);
        assert!(!self.card.is_fast || self.control & 0b100 != 0 || self.rate() <= 25_000_000);
        let (reads, several, counts) = (order & 1 << 4 != 0, order & 1 << 5 != 0, order & 1 << 1 != 0);
        let (size, count) = ((self.blocks & 0xfff) as usize, (self.blocks >> 16) as usize);
        assert!(counts && several == (count > 1), "CMD{index}");
        let transfer = Transfer { reads, left: count, buffer: vec![0; size], position: 0 };
        if error != 0 {
            self.transfer = Some(transfer);
            self.tell(error);
        } else if order & 1 != 0 {
            assert!(self.capabilities & DESCRIPTORS != 0 && self.control >> 3 & 3 == 2);
            self.transfer = Some(transfer);
            self.follow_descriptors(size * count);
        } else {
            self.transfer = Some(transfer);
            self.next_block();
        }
    }

    /// Counts a block, after which the card may be pulled.
    fn block_passes(&mut self) {
        if let Some(Fault::Pulled(left)) = self.faults.iter_mut().find(|fault| matches!(fault, Fault::Pulled(_))) {
            *left -= 1;
            if *left == 0 {
                self.card.is_there = false;
            }
        }
    }

    /// Makes ready for the next block that the driver moves, or ends.
    fn next_block(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        if transfer.left == 0 {
            self.transfer = None;
            return self.tell(TRANSFER_COMPLETE);
        }
        transfer.position = 0;
        if !transfer.reads {
            return self.tell(WRITE_READY);
        }
        match self.card.send() {
            Some(bytes) => {
                assert_eq!(bytes.len(), transfer.buffer.len());
                transfer.buffer = bytes;
                self.tell(READ_READY);
            }
            None => self.tell(DATA_TIMEOUT),
        }
    }

    /// A word of the block has been moved.
    fn word_passes(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.position += 4;
        if transfer.position < transfer.buffer.len() {
            return;
        }
        transfer.left -= 1;
        let (reads, block) = (transfer.reads, transfer.buffer.clone());
        if !reads && !self.card.receive(&block) {
            return self.tell(DATA_TIMEOUT);
        }
        self.block_passes();
        self.next_block();
    }

    /// Section 1.13: descriptors of 32-bit addresses.
    fn follow_descriptors(&mut self, total: usize) {
        let (mut moved, mut at, mut is_last) = (0, u64::from(self.descriptors), false);
        assert_eq!(at % 4, 0);
        while !is_last {
            let attributes: u16 = device_read(at);
            let length: u16 = device_read(at + 2);
            let address: u32 = device_read(at + 4);
            assert_eq!((attributes & !0b10, address % 4), (0b10_0001, 0), "valid, of data, nothing else");
            is_last = attributes & 0b10 != 0;
            at += 8;
            assert!(length > 0 && (length as usize).is_multiple_of(8));
            let mut address = u64::from(address);
            let end = address + u64::from(length);
            while address < end {
                let Some(transfer) = &mut self.transfer else { return };
                let size = transfer.buffer.len();
                match transfer.reads {
                    true => {
                        let Some(bytes) = self.card.send() else { return self.tell(DATA_TIMEOUT) };
                        bytes.iter().zip(address..).for_each(|(byte, place)| device_write(place, *byte));
                    }
                    false => {
                        let bytes: Vec<u8> = (address..).take(size).map(device_read).collect();
                        if !self.card.receive(&bytes) {
                            return self.tell(DATA_TIMEOUT);
                        }
                    }
                }
                self.block_passes();
                address += size as u64;
                moved += size;
            }
        }
        assert_eq!(moved, total, "the descriptors' lengths");
        self.transfer = None;
        self.tell(TRANSFER_COMPLETE);
    }
}

impl Model for Machine {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x10..0x20 => self.response[(offset - 0x10) / 4],
            0x20 => {
                let transfer =
                    self.transfer.as_ref().filter(|transfer| transfer.reads).expect("there are data to read");
                let word = transfer.buffer[transfer.position..][..4].try_into().unwrap();
                self.word_passes();
                u32::from_le_bytes(word)
            }
            0x24 => self.is_inhibited(),
            0x2c => self.clock | if self.clock & 1 != 0 { 0b10 } else { 0 },
            0x30 => self.status,
            0x40 => self.capabilities,
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x04 => self.blocks = value,
            0x08 => self.argument = value,
            0x0c => self.send(value),
            0x20 => {
                let transfer =
                    self.transfer.as_mut().filter(|transfer| !transfer.reads).expect("there is room to write");
                let position = transfer.position;
                transfer.buffer[position..][..4].copy_from_slice(&value.to_le_bytes());
                self.word_passes();
            }
            0x28 => self.control = value,
            0x2c => {
                let divisor = 0xffc0;
                let changes = (self.clock ^ value) & divisor != 0 && value & 1 << 24 == 0;
                assert!(!changes || self.clock & 0b100 == 0, "the divisor changes while the card has a clock");
                let stable = if value & 1 != 0 { 0b10 } else { 0 };
                self.clock = value & 0x000f_ffff | stable;
                for (part, count) in self.resets.iter_mut().enumerate() {
                    *count += (value >> (24 + part) & 1) as usize;
                }
                if value & 1 << 24 != 0 {
                    (self.blocks, self.control, self.clock) = (0, 0, 0);
                    (self.status, self.status_enable, self.signal_enable) = (0, 0, 0);
                }
                if value & 0b101 << 24 != 0 {
                    (self.transfer, self.is_stuck) = (None, false);
                }
                if self.resets_forever {
                    self.clock |= value & 0b111 << 24;
                }
            }
            0x30 => self.status &= !value,
            0x34 => self.status_enable = value,
            0x38 => self.signal_enable = value,
            0x58 => self.descriptors = value,
            _ => panic!("write at {offset:#x}"),
        }
    }
}

struct Setup {
    node: FakeNode,
    machine: Arc<StdMutex<Machine>>,
    disk: Disk<Controller>,
}

impl Setup {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }
}

fn try_start(machine: Machine) -> Result<Setup> {
    let base = machine.base;
    let machine = Arc::new(StdMutex::new(machine));
    let node = FakeNode::with_model(0x100, machine.clone());
    let controller = Controller::new(node.resources().registers(0)?, node.resources().dma(), base)?;
    Ok(Setup { disk: Disk::start(controller, "/slot")?, node, machine })
}

/// A controller that moves data by itself or not, with a card of 1 MiB of random bytes.
fn start(capabilities: u32) -> Setup {
    let mut card = FakeCard::new(CardKind::High, MIB);
    fastrand::Rng::with_seed(7).fill(&mut card.bytes);
    try_start(Machine { capabilities, ..Machine::new(card) }).unwrap()
}

#[test]
fn cards_are_found_with_any_clock() {
    for base in [25_000_000, 50_000_000, 100_000_000, 250_000_000, 700_000_000] {
        for kind in [CardKind::First, CardKind::Standard, CardKind::High] {
            let setup = try_start(Machine { base, ..Machine::new(FakeCard::new(kind, MIB)) }).unwrap();
            assert_eq!(setup.disk.geometry().size(), MIB as u64);
            let (machine, best) = (setup.machine(), if kind == CardKind::First { 25_000_000 } else { 50_000_000 });
            // The model refuses faster ones; slower ones by more than a step make no sense.
            assert!(2 * machine.rate() > best.min(base), "{base}: {}", machine.rate());
        }
    }
    for base in [0, 2 * 1023 * 400_000] {
        let refused = try_start(Machine { base, ..Machine::new(FakeCard::new(CardKind::High, MIB)) });
        assert!(matches!(refused.err(), Some(Error::Unsupported(_))), "{base}");
    }
}

#[test]
fn what_is_written_is_where_it_belongs_and_is_what_is_read() {
    for capabilities in [0, DESCRIPTORS] {
        let setup = start(capabilities);
        let mut random = fastrand::Rng::with_seed(1);
        let mut expected = setup.machine().card.bytes.clone();
        // One block, a few, all that one command moves, and more.
        for (first, count) in [(0, 1), (2047, 1), (3, 5), (64, 65), (100, LONGEST / BLOCK), (1, LONGEST / BLOCK + 1)] {
            let mut buffer = vec![0; count * BLOCK];
            setup.disk.read(first as u64, &mut buffer).unwrap();
            assert!(buffer == expected[first * BLOCK..][..buffer.len()]);
            random.fill(&mut buffer);
            setup.disk.write(first as u64, &buffer).unwrap();
            expected[first * BLOCK..][..buffer.len()].copy_from_slice(&buffer);
        }
        assert!(setup.machine().card.bytes == expected);
        assert_eq!(dma_in_use(&setup.node) > 0, capabilities == DESCRIPTORS);
        let Setup { node, machine, disk } = setup;
        let resets = machine.lock().unwrap().resets[0];
        drop(disk);
        assert_eq!((dma_in_use(&node), machine.lock().unwrap().resets[0]), (0, resets + 1), "it is put to rest");
    }
}

#[test]
fn errors_are_told_by_what_they_are() {
    for (capabilities, error, text) in [
        (0, COMMAND_CRC, "blocks 4 to 7 can't be read: the card's answer arrives damaged (CMD18)"),
        (0, COMMAND_TIMEOUT, "blocks 4 to 7 can't be read: the card doesn't answer (CMD18)"),
        (0, DATA_CRC, "blocks 4 to 7 can't be read: data arrive damaged (CMD18)"),
        (0, DATA_TIMEOUT, "blocks 4 to 7 can't be read: the card neither sends nor takes data (CMD18)"),
        (DESCRIPTORS, DATA_CRC, "blocks 4 to 7 can't be read: data arrive damaged (CMD18)"),
        (DESCRIPTORS, DMA_ERROR, "the device misbehaved: it reports the errors 0x2000000"),
    ] {
        let setup = start(capabilities);
        let memory = dma_in_use(&setup.node);
        let mut buffer = [0; 4 * BLOCK];
        // Once is forgiven, but for what isn't the card's.
        if error != DMA_ERROR {
            setup.machine().faults.push(Fault::Reports(18, error));
            assert_eq!(setup.disk.read(4, &mut buffer), Ok(()), "{text}");
        }
        setup.machine().faults.extend([Fault::Reports(18, error); 2]);
        let failed = setup.disk.read(4, &mut buffer).unwrap_err();
        assert_eq!(failed.to_string(), text);
        setup.machine().faults.clear();
        assert_eq!(setup.disk.read(4, &mut buffer), Ok(()), "{text}");
        assert_eq!(buffer, setup.machine().card.bytes[4 * BLOCK..8 * BLOCK]);
        assert_eq!(dma_in_use(&setup.node), memory);
    }
}

#[test]
fn a_command_that_the_card_refuses_leaves_nothing_under_way() {
    for capabilities in [0, DESCRIPTORS] {
        let setup = start(capabilities);
        setup.machine().card.errors = 1 << 26;
        let begin = Instant::now();
        let failed = setup.disk.write(9, &[0; 3 * BLOCK]).unwrap_err().to_string();
        let reason = "the card refuses CMD25: it is protected from being written";
        assert_eq!(failed, format!("blocks 9 to 11 can't be written: {reason}"));
        assert!(Instant::now() - begin < Duration::from_secs(3), "no data are waited for");
        setup.machine().card.errors = 0;
        assert_eq!(setup.disk.write(9, &[0; 3 * BLOCK]), Ok(()));
    }
}

#[test]
fn a_controller_that_hangs_is_given_up_and_reset() {
    let setup = start(0);
    setup.machine().faults.extend([Fault::Hangs(17); 2]);
    let failed = setup.disk.read(0, &mut [0; BLOCK]).unwrap_err();
    assert_eq!(failed.to_string(), "block 0 can't be read: the card doesn't answer (CMD17)");
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
    // One that can't even be reset keeps the memory that it might still write to.
    let setup = start(DESCRIPTORS);
    let memory = dma_in_use(&setup.node);
    let mut machine = setup.machine();
    machine.faults.push(Fault::Hangs(17));
    machine.resets_forever = true;
    drop(machine);
    let failed = setup.disk.read(0, &mut [0; BLOCK]).unwrap_err();
    assert_eq!(failed.to_string(), "the device misbehaved: its reset has been going on for 100 ms");
    setup.machine().resets_forever = false;
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
    assert_eq!(dma_in_use(&setup.node), 2 * memory);
}

#[test]
fn a_card_that_is_pulled_while_it_is_read_is_an_error_until_it_is_back() {
    for capabilities in [0, DESCRIPTORS] {
        let setup = start(capabilities);
        setup.machine().faults.push(Fault::Pulled(9));
        let mut buffer = [0; 16 * BLOCK];
        let failed = setup.disk.read(0, &mut buffer).unwrap_err();
        assert_eq!(failed.to_string(), "blocks 0 to 15 can't be read: no SD memory card answers");
        let failed = setup.disk.write(0, &buffer).unwrap_err();
        assert_eq!(failed.to_string(), "blocks 0 to 15 can't be written: no SD memory card answers");
        let mut machine = setup.machine();
        machine.faults.clear();
        machine.card.is_there = true;
        drop(machine);
        assert_eq!(setup.disk.read(0, &mut buffer), Ok(()));
        assert_eq!(buffer, setup.machine().card.bytes[..16 * BLOCK]);
    }
}

#[test]
fn an_empty_slot_is_empty_and_silent() {
    let mut card = FakeCard::new(CardKind::High, MIB);
    card.is_there = false;
    let machine = Arc::new(StdMutex::new(Machine::new(card)));
    let node = FakeNode::with_model(0x100, machine.clone());
    let controller =
        Controller::new(node.resources().registers(0).unwrap(), node.resources().dma(), 100_000_000).unwrap();
    assert_eq!(Disk::start(controller, "/slot").err(), Some(Error::Absent));
    let machine = machine.lock().unwrap();
    assert_eq!((machine.signal_enable, machine.clock), (0, 0));
}

#[test]
fn interrupts_are_for_who_asks_and_outlast_a_reset() {
    let setup = start(0);
    assert_eq!(setup.machine().signal_enable, 0, "there are none before probe has returned");
    setup.disk.host().use_interrupts();
    let enabled = COMMAND_COMPLETE | TRANSFER_COMPLETE | WRITE_READY | READ_READY | ERRORS;
    assert_eq!(setup.machine().signal_enable, enabled);
    // One for nothing is silent then.
    setup.machine().status = COMMAND_COMPLETE;
    assert_eq!(setup.disk.host().interrupt_now(), Served::Done);
    assert_eq!(setup.machine().status, 0);

    let setup = start(DESCRIPTORS);
    setup.disk.host().use_interrupts();
    let resets = setup.machine().resets[0];
    setup.machine().faults.push(Fault::Reports(17, DATA_CRC));
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
    let machine = setup.machine();
    assert_eq!((machine.resets[0], machine.signal_enable), (resets + 1, enabled));
}

#[test]
fn data_are_moved_on_the_interrupts_thread() {
    let setup = start(0);
    setup.disk.host().use_interrupts();
    let mut buffer = [0; 2 * BLOCK];
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| setup.disk.read(8, &mut buffer));
        // Only one thread at a time may use the registers: this one when the other has moved the first block and sleeps.
        while setup.machine().status & READ_READY == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(setup.disk.host().interrupt_now(), Served::OnThread);
        assert!(setup.machine().status & READ_READY != 0, "it is left to the thread");
        // The second block, and the end. From then on the registers are the other's again.
        assert!(setup.disk.host().advance() && setup.disk.host().advance());
        assert_eq!(reader.join().unwrap(), Ok(()));
    });
    assert_eq!(buffer, setup.machine().card.bytes[8 * BLOCK..10 * BLOCK]);
}
