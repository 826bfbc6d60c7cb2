//! The driver over a model of the controller, with a card in its slot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{CardKind, FakeCard, FakeSlot, Model};
use sdmmc::{BLOCK, LONGEST};
use std::collections::VecDeque;

const MIB: usize = 1 << 20;

/// Bits of a command.
const READS: u32 = 1 << 6;
const WRITES: u32 = 1 << 7;
const LONG: u32 = 1 << 9;
const NO_ANSWER: u32 = 1 << 10;
const FAILED: u32 = 1 << 14;
const NEW: u32 = 1 << 15;

/// Bits of the status.
const DATA: u32 = 1;
const FIFO_ERROR: u32 = 1 << 3;
const COMMAND_CRC: u32 = 1 << 4;
const DATA_CRC: u32 = 1 << 5;
const COMMAND_TIMEOUT: u32 = 1 << 6;
const DATA_TIMEOUT: u32 = 1 << 7;
const BLOCK_INTERRUPT: u32 = 1 << 9;
const COMMAND_ERRORS: u32 = COMMAND_CRC | COMMAND_TIMEOUT;

/// States.
const IDLE: u32 = 1;
const READING: u32 = 2;
const WRITING: u32 = 3;
const READ_WAIT: u32 = 4;
const WRITE_START: u32 = 10;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An error is reported when this command is sent.
    Reports(u8, u32),
    /// This command never ends.
    Hangs(u8),
    /// The card is pulled when that many blocks have passed.
    Pulled(usize),
}

/// The registers, as Linux uses them.
struct Machine {
    card: FakeCard,
    base: u32,
    faults: Vec<Fault>,
    command: u32,
    argument: u32,
    divisor: u32,
    response: [u32; 4],
    status: u32,
    power: u32,
    state: u32,
    configuration: u32,
    block_size: u32,
    block_count: u32,
    /// Bytes that the driver has to read or has written.
    fifo: VecDeque<u8>,
    /// A block that is on its way.
    block: VecDeque<u8>,
    left: u32,
    /// How often its mode is read until it is told that all is over.
    settling: u32,
    starts: usize,
}

impl Machine {
    fn new(card: FakeCard) -> Self {
        Self {
            card,
            base: 250_000_000,
            faults: Vec::new(),
            command: 0,
            argument: 0,
            divisor: 0,
            response: [0; 4],
            status: 0,
            power: 0,
            state: 0,
            configuration: 0,
            block_size: 0,
            block_count: 0,
            fifo: VecDeque::new(),
            block: VecDeque::new(),
            left: 0,
            settling: 0,
            starts: 0,
        }
    }

    fn rate(&self) -> u32 {
        self.base / (self.divisor + 2)
    }

    fn fault(&mut self, matches: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let position = self.faults.iter().position(matches)?;
        Some(self.faults.remove(position))
    }

    fn send(&mut self, order: u32) {
        let index = (order & 0x3f) as u8;
        assert_eq!(self.power, 1);
        assert!(self.state <= IDLE || index == 12, "CMD{index} in the state {}", self.state);
        assert_eq!(
            self.status & (COMMAND_ERRORS | DATA_CRC | DATA_TIMEOUT),
            0,
            "CMD{index} before errors were cleared"
        );
        let kind = match index {
            0 => NO_ANSWER,
            2 | 9 => LONG,
            _ => 0,
        };
        assert_eq!(order & (LONG | NO_ANSWER), kind, "CMD{index}");
        assert!(!self.card.is_there || self.rate() <= self.card.highest_rate(), "{} Hz", self.rate());
        assert!(self.configuration & 1 << 3 != 0, "the whole divisor counts");
        let answer = self.card.command(index, self.argument);
        self.command = order;
        if self.fault(|fault| *fault == Fault::Hangs(index)).is_some() {
            return;
        }
        self.command &= !NEW;
        let error = match self.fault(|fault| matches!(fault, Fault::Reports(number, _) if *number == index)) {
            Some(Fault::Reports(_, error)) => error,
            // This answer has no checksum, and the controller looks for one.
            _ if index == 41 => COMMAND_CRC,
            _ => 0,
        };
        if kind == NO_ANSWER {
            return;
        }
        let Some(answer) = answer else {
            self.command |= FAILED;
            self.status |= COMMAND_TIMEOUT;
            return;
        };
        self.response = std::array::from_fn(|word| (answer >> (32 * word)) as u32);
        if error & COMMAND_ERRORS != 0 {
            self.command |= FAILED;
            self.status |= error;
            return;
        }
        if index == 12 {
            (self.state, self.left) = (IDLE, 0);
        }
        if order & (READS | WRITES) == 0 {
            return;
        }
        assert_eq!(self.configuration & 1 << 2 != 0, self.card.is_wide);
        (self.left, self.status) = (self.block_count, self.status | error);
        self.state = if order & READS != 0 { READING } else { WRITING };
        self.fill();
    }

    fn block_passes(&mut self) {
        self.left -= 1;
        self.status |= BLOCK_INTERRUPT;
        if let Some(Fault::Pulled(left)) = self.faults.iter_mut().find(|fault| matches!(fault, Fault::Pulled(_))) {
            *left -= 1;
            if *left == 0 {
                self.card.is_there = false;
            }
        }
        if self.left == 0 {
            let waits = if self.state == READING { READ_WAIT } else { WRITE_START };
            self.state = if self.block_count > 1 { waits } else { IDLE };
            self.settling = 3;
        }
    }

    /// Puts into the FIFO what there is and fits.
    fn fill(&mut self) {
        while self.state == READING && self.fifo.len() < 64 {
            if self.block.is_empty() {
                let Some(bytes) = self.card.send() else {
                    self.status |= DATA_TIMEOUT;
                    return;
                };
                assert_eq!(bytes.len(), self.block_size as usize);
                self.block.extend(bytes);
            }
            self.fifo.extend(self.block.drain(..4));
            self.status |= DATA;
            if self.block.is_empty() {
                self.block_passes();
            }
        }
    }

    /// Takes a block out of the FIFO when there is one.
    fn drain(&mut self) {
        self.block.extend(self.fifo.drain(..));
        if self.state == WRITING && self.block.len() == self.block_size as usize {
            let bytes: Vec<u8> = self.block.drain(..).collect();
            match self.card.receive(&bytes) {
                true => self.block_passes(),
                false => self.status |= DATA_TIMEOUT,
            }
        }
    }
}

impl Model for Machine {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.command,
            0x10..0x20 => self.response[(offset - 0x10) / 4],
            0x20 => self.status,
            0x34 => {
                // What has been moved takes a moment to be over.
                let state = match self.settling {
                    0 => self.state,
                    _ => {
                        self.settling -= 1;
                        5
                    }
                };
                state | (self.fifo.len() as u32 / 4) << 4
            }
            0x38 => self.configuration,
            0x40 => {
                assert!(self.fifo.len() >= 4, "the FIFO is empty");
                let word = std::array::from_fn(|_| self.fifo.pop_front().unwrap());
                self.fill();
                u32::from_le_bytes(word)
            }
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 if value & NEW != 0 => self.send(value),
            0x00 => self.command = value,
            0x04 => self.argument = value,
            0x08 => {}
            0x0c => {
                assert!(value <= 0x7ff);
                self.divisor = value;
            }
            0x20 => self.status &= !value,
            0x30 => {
                self.starts += usize::from(value == 1 && self.power == 0);
                if value == 0 {
                    // What is in the FIFO stays.
                    (self.state, self.left) = (0, 0);
                    self.block.clear();
                }
                self.power = value;
            }
            0x34 => {
                let forces = value & 1 << 19 != 0;
                assert!(!forces || matches!(self.state, READ_WAIT | WRITE_START));
                if forces {
                    self.state = IDLE;
                }
            }
            0x38 => self.configuration = value,
            0x3c => self.block_size = value,
            0x40 => {
                assert!(self.fifo.len() < 64, "the FIFO is full");
                self.fifo.extend(value.to_le_bytes());
                self.drain();
            }
            0x50 => self.block_count = value,
            _ => panic!("write at {offset:#x}"),
        }
    }
}

type Setup = FakeSlot<Machine, Disk<Controller>>;

fn try_start(machine: Machine) -> Result<Setup> {
    let base = machine.base;
    FakeSlot::new(machine, |resources| Disk::start(Controller::new(resources.registers(0)?, base)?, "/slot"))
}

/// A card of 1 MiB of random bytes.
fn start() -> Setup {
    try_start(Machine::new(FakeCard::random())).unwrap()
}

#[test]
fn cards_are_found_with_any_clock() {
    for base in [250_000_000, 350_000_000, 500_000_000] {
        for kind in [CardKind::First, CardKind::Standard, CardKind::High] {
            let setup = try_start(Machine { base, ..Machine::new(FakeCard::new(kind, MIB)) }).unwrap();
            assert_eq!(setup.disk.geometry().size(), MIB as u64);
            let best = if kind == CardKind::First { 25_000_000 } else { 50_000_000 };
            let rate = setup.machine().rate();
            // The model refuses faster ones.
            assert!(rate > best / 10 * 8, "{base}: {rate}");
        }
    }
    for base in [0, 2049 * 400_000] {
        let refused = try_start(Machine { base, ..Machine::new(FakeCard::new(CardKind::High, MIB)) });
        assert!(matches!(refused.err(), Some(Error::Unsupported(_))), "{base}");
    }
}

#[test]
fn what_is_written_is_where_it_belongs_and_is_what_is_read() {
    let setup = start();
    let mut random = fastrand::Rng::with_seed(1);
    let mut expected = setup.machine().card.bytes.clone();
    for (first, count) in [(0, 1), (2047, 1), (3, 5), (100, LONGEST / BLOCK), (1, LONGEST / BLOCK + 1)] {
        let mut buffer = vec![0; count * BLOCK];
        setup.disk.read(first as u64, &mut buffer).unwrap();
        assert!(buffer == expected[first * BLOCK..][..buffer.len()]);
        random.fill(&mut buffer);
        setup.disk.write(first as u64, &buffer).unwrap();
        expected[first * BLOCK..][..buffer.len()].copy_from_slice(&buffer);
    }
    assert!(setup.machine().card.bytes == expected);
    assert_eq!(setup.machine().starts, 1, "nothing had to be tried again");
    let Setup { disk, machine, .. } = setup;
    drop(disk);
    let machine = machine.lock().unwrap();
    assert_eq!((machine.power, machine.configuration), (0, 0), "it is put to rest");
}

#[test]
fn errors_are_told_by_what_they_are() {
    for (error, text) in [
        (COMMAND_CRC, "the card's answer arrives damaged (CMD18)"),
        (COMMAND_TIMEOUT, "the card doesn't answer (CMD18)"),
        (DATA_CRC, "data arrive damaged (CMD18)"),
        (FIFO_ERROR, "data arrive damaged (CMD18)"),
        (DATA_TIMEOUT, "the card neither sends nor takes data (CMD18)"),
    ] {
        let setup = start();
        let mut buffer = [0; 4 * BLOCK];
        // Once is forgiven.
        setup.machine().faults.push(Fault::Reports(18, error));
        assert_eq!(setup.disk.read(4, &mut buffer), Ok(()), "{text}");
        setup.machine().faults.extend([Fault::Reports(18, error); 2]);
        let failed = setup.disk.read(4, &mut buffer).unwrap_err();
        assert_eq!(failed.to_string(), format!("blocks 4 to 7 can't be read: {text}"));
        // What the one before has left in the FIFO is not taken for the next one's.
        assert_eq!(setup.disk.read(4, &mut buffer), Ok(()), "{text}");
        assert_eq!(buffer, setup.machine().card.bytes[4 * BLOCK..8 * BLOCK]);
    }
}

#[test]
fn a_command_that_the_card_refuses_leaves_nothing_under_way() {
    let setup = start();
    setup.machine().card.errors = 1 << 26;
    let failed = setup.disk.write(9, &[0; 3 * BLOCK]).unwrap_err().to_string();
    let reason = "the card refuses CMD25: it is protected from being written";
    assert_eq!(failed, format!("blocks 9 to 11 can't be written: {reason}"));
    setup.machine().card.errors = 0;
    assert_eq!(setup.disk.write(9, &[0; 3 * BLOCK]), Ok(()));
}

#[test]
fn a_command_that_never_ends_is_given_up() {
    let setup = start();
    setup.machine().faults.extend([Fault::Hangs(17); 2]);
    let failed = setup.disk.read(0, &mut [0; BLOCK]).unwrap_err();
    assert_eq!(failed.to_string(), "block 0 can't be read: the card doesn't answer (CMD17)");
    assert_eq!(setup.disk.read(0, &mut [0; BLOCK]), Ok(()));
}

#[test]
fn a_card_that_is_pulled_while_it_is_read_is_an_error_until_it_is_back() {
    let setup = start();
    setup.machine().faults.push(Fault::Pulled(9));
    let mut buffer = [0; 16 * BLOCK];
    let failed = setup.disk.read(0, &mut buffer).unwrap_err();
    assert_eq!(failed.to_string(), "blocks 0 to 15 can't be read: no SD memory card answers");
    let mut machine = setup.machine();
    machine.faults.clear();
    machine.card.is_there = true;
    drop(machine);
    assert_eq!(setup.disk.read(0, &mut buffer), Ok(()));
    assert_eq!(buffer, setup.machine().card.bytes[..16 * BLOCK]);
}

#[test]
fn errors_that_do_not_interrupt_are_found_soon() {
    let setup = start();
    setup.disk.host().use_interrupts();
    setup.machine().faults.push(Fault::Pulled(1));
    let begin = Instant::now();
    let failed = setup.disk.read(0, &mut [0; 2 * BLOCK]).unwrap_err();
    assert_eq!(failed.to_string(), "blocks 0 to 1 can't be read: no SD memory card answers");
    assert!(Instant::now() - begin < Duration::from_secs(5));
}

#[test]
fn an_empty_slot_is_empty() {
    let mut card = FakeCard::new(CardKind::High, MIB);
    card.is_there = false;
    assert_eq!(try_start(Machine::new(card)).err(), Some(Error::Absent));
}

#[test]
fn data_are_moved_on_the_interrupts_thread() {
    let setup = start();
    setup.disk.host().use_interrupts();
    let mut buffer = [0; 2 * BLOCK];
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| setup.disk.read(8, &mut buffer));
        // Only one thread at a time may use the registers: this one when the other has moved the first block and sleeps.
        while setup.machine().configuration & 1 << 4 == 0 {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(setup.disk.host().interrupt_now(), Served::OnThread);
        // The second block. From then on the other looks for the end.
        assert!(setup.disk.host().advance());
        assert_eq!(reader.join().unwrap(), Ok(()));
    });
    assert_eq!(buffer, setup.machine().card.bytes[8 * BLOCK..10 * BLOCK]);
    assert_eq!(setup.machine().configuration & 1 << 4, 0, "there are no interrupts but for data");
}
