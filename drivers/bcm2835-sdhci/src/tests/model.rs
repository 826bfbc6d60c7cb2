//! A model of the controller, with a card in its slot, as the specification describes it.

use fake_kernel::{FakeCard, Model, device_read, device_write};

/// Bits of the status (section 2.2.18), and the errors among them.
pub const COMMAND_COMPLETE: u32 = 1 << 0;
pub const TRANSFER_COMPLETE: u32 = 1 << 1;
pub const WRITE_READY: u32 = 1 << 4;
pub const READ_READY: u32 = 1 << 5;
pub const COMMAND_TIMEOUT: u32 = 1 << 16;
pub const COMMAND_CRC: u32 = 1 << 17;
pub const DATA_TIMEOUT: u32 = 1 << 20;
pub const DATA_CRC: u32 = 1 << 21;
pub const DMA_ERROR: u32 = 1 << 25;
pub const ERRORS: u32 = 0xffff_0000;

/// Capabilities: ADMA2, and the high-speed mode. A BCM2835's has neither, a BCM2711's both.
pub const BOTH: u32 = DESCRIPTORS | HIGH_SPEED;
pub const DESCRIPTORS: u32 = 1 << 19;
pub const HIGH_SPEED: u32 = 1 << 21;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
pub struct Machine {
    pub card: FakeCard,
    pub base: u32,
    pub capabilities: u32,
    pub faults: Vec<Fault>,
    blocks: u32,
    argument: u32,
    response: [u32; 4],
    control: u32,
    pub clock: u32,
    pub status: u32,
    status_enable: u32,
    pub signal_enable: u32,
    descriptors: u32,
    transfer: Option<Transfer>,
    /// Nothing works until it is reset.
    is_stuck: bool,
    /// How often a part was reset: all, the command line, the data lines.
    pub resets: [usize; 3],
    /// Whether a reset never ends.
    pub resets_forever: bool,
}

impl Machine {
    /// A controller with a clock of `base` Hz.
    pub fn new(card: FakeCard, base: u32, capabilities: u32) -> Self {
        Self {
            card,
            base,
            capabilities,
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
    pub fn rate(&self) -> u32 {
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
        if self.rate() > 25_000_000 {
            assert_eq!(self.control & 0b100 != 0, self.capabilities & HIGH_SPEED != 0);
        }
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
