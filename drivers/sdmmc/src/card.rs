//! A card: how it is found, and what it does.

use crate::host::{Answer, Bus, Command, Data, Failure, Host};
use crate::{BLOCK, LONGEST};
use abi::prelude::*;
use abi::time;
use core::fmt;
use sdio_host::sd::{BlockSize, CID, CSD, CardStatus, CurrentState, OCR, SCR, SD};

/// How long a card may take to start (section 4.2.3), or to store what was written (section 4.6.2.2).
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_micros(500);

/// Rates of the clock in the default and in the high-speed mode (section 6.6), in Hz.
const DEFAULT_SPEED: u32 = 25_000_000;
const HIGH_SPEED: u32 = 50_000_000;

/// CMD8: 2.7 to 3.6 V, and bits that the card repeats (section 4.3.13).
const CONDITION: u32 = 0x1aa;

/// ACMD41: all voltages from 2.7 to 3.6 V, and whether cards of more than 2 GB are understood (section 4.2.3.1).
const VOLTAGES: u32 = 0x00ff_8000;
const HIGH_CAPACITY: u32 = 1 << 30;

/// CMD6: to ask for the high-speed mode and nothing else, to switch to it (section 4.3.10).
const ASK_HIGH_SPEED: u32 = 0x00ff_fff1;
const SWITCH_TO_HIGH_SPEED: u32 = 0x80ff_fff1;

/// What has gone wrong with a card: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is none, or none for memory.
    Absent,
    /// It isn't the one that was there at first.
    Exchanged,
    /// This command failed.
    Failed(u8, Failure),
    /// It doesn't do what this command asks for.
    Refused(u8, &'static str),
    /// It isn't ready in time.
    Busy,
    /// What it says of itself makes no sense, or is beyond this driver.
    Unusable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("no SD memory card answers"),
            Self::Exchanged => formatter.write_str("another card is in the slot than at first"),
            Self::Failed(_, Failure::Host(error)) => error.fmt(formatter),
            Self::Failed(index, failure) => write!(formatter, "{failure} (CMD{index})"),
            Self::Refused(index, why) => write!(formatter, "the card refuses CMD{index}: {why}"),
            Self::Busy => write!(formatter, "the card is busy for more than {} s", PATIENCE.as_secs()),
            Self::Unusable(why) => write!(formatter, "the card is of no use: {why}"),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        // The number isn't shown.
        Self::Failed(0, Failure::Host(error))
    }
}

/// A card that has been identified and selected.
pub struct Card {
    /// Its address on the bus, as commands have it.
    address: u32,
    /// Whether it counts in blocks or in bytes.
    counts_blocks: bool,
    /// What tells it from all others: the register CID.
    pub identity: u128,
    /// How many blocks it has.
    pub blocks: u64,
    /// Whether it is protected from being written.
    pub is_read_only: bool,
    /// How it is reached.
    pub bus: Bus,
}

/// The card's own name for people, and its kind.
impl fmt::Display for Card {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = CID::<SD>::from(self.identity);
        let kind = if self.counts_blocks { "SDHC or SDXC" } else { "SDSC" };
        let (lines, megahertz) = (if self.bus.is_wide { 4 } else { 1 }, self.bus.hertz / 1_000_000);
        let name = identity.product_name();
        write!(formatter, "card {name:?}, {kind}, {lines} data lines, at most {megahertz} MHz")
    }
}

impl Card {
    /// Finds the card in the slot, and gets it ready (section 4.2.3, figure 4-2).
    pub fn identify(host: &impl Host) -> Result<Self, Problem> {
        host.start()?;
        execute(host, Command { index: 0, argument: 0, answer: Answer::None }, None)?;
        let is_second_version = match execute(host, short(8, CONDITION), None) {
            Ok(answer) if answer as u32 & 0xfff == CONDITION => true,
            Ok(_) => return Err(Problem::Unusable("it can't work with 3.3 V".to_owned())),
            Err(Problem::Failed(_, Failure::NoAnswer)) => false,
            Err(problem) => return Err(problem),
        };
        let counts_blocks = power_up(host, is_second_version)?;
        let identity = execute(host, Command { index: 2, argument: 0, answer: Answer::Long }, None)?;
        let address = execute(host, short(3, 0), None)? as u32 & 0xffff_0000;
        let data = execute(host, Command { index: 9, argument: address, answer: Answer::Long }, None)?;
        let blocks = capacity(data, counts_blocks)?;
        let bus = Bus { hertz: DEFAULT_SPEED, is_wide: false, is_fast: false };
        // TMP_WRITE_PROTECT and PERM_WRITE_PROTECT (section 5.3.2).
        let is_read_only = data >> 12 & 0b11 != 0;
        let mut card = Self { address, counts_blocks, identity, blocks, is_read_only, bus };
        card.order(host, 7, address, None)?;
        host.set_bus(card.bus)?;
        if !counts_blocks {
            card.order(host, 16, BLOCK as u32, None)?;
        }
        // CCC: the class of commands that CMD6 belongs to (section 4.7.3).
        card.speed_up(host, data >> 84 & 1 << 10 != 0)?;
        Ok(card)
    }

    /// Uses four lines, and the high-speed mode, where the card has them.
    fn speed_up(&mut self, host: &impl Host, has_modes: bool) -> Result<(), Problem> {
        let mut configuration = [0; 8];
        self.order_application(host, 51, 0, Some(Data::Read(&mut configuration)))?;
        if SCR(u64::from_be_bytes(configuration)).bus_width_four() {
            self.order_application(host, 6, 0b10, None)?;
            self.bus.is_wide = true;
            host.set_bus(self.bus)?;
        }
        if !has_modes {
            return Ok(());
        }
        let mut status = [0; 64];
        self.order(host, 6, ASK_HIGH_SPEED, Some(Data::Read(&mut status)))?;
        // Bit 401 of 511 to 0: whether function 1 of group 1 is there (table 4-13).
        if status[13] & 0b10 == 0 {
            return Ok(());
        }
        self.order(host, 6, SWITCH_TO_HIGH_SPEED, Some(Data::Read(&mut status)))?;
        // Bits 379 to 376: which function group 1 has now.
        if status[16] & 0xf == 1 {
            self.bus = Bus { hertz: HIGH_SPEED, is_fast: true, ..self.bus };
            host.set_bus(self.bus)?;
        }
        Ok(())
    }

    /// Reads blocks, at most [`LONGEST`] bytes.
    pub fn read(&self, host: &impl Host, first: u64, buffer: &mut [u8]) -> Result<(), Problem> {
        let is_single = buffer.len() <= BLOCK;
        let index = if is_single { 17 } else { 18 };
        self.order(host, index, self.position(first), Some(Data::Read(buffer)))?;
        if is_single { Ok(()) } else { self.stop(host) }
    }

    /// Writes blocks, at most [`LONGEST`] bytes, and waits until the card has stored them.
    pub fn write(&self, host: &impl Host, first: u64, buffer: &[u8]) -> Result<(), Problem> {
        let is_single = buffer.len() <= BLOCK;
        let index = if is_single { 24 } else { 25 };
        self.order(host, index, self.position(first), Some(Data::Write(buffer)))?;
        if !is_single {
            self.stop(host)?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.order(host, 13, self.address, None)?;
            if matches!(status.state(), CurrentState::Transfer) && status.ready_for_data() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Problem::Busy);
            }
            time::sleep(PAUSE)?;
        }
    }

    /// What a command calls the place of a block. Cards that count bytes have less than 2^32 of them.
    fn position(&self, block: u64) -> u32 {
        (if self.counts_blocks { block } else { block * BLOCK as u64 }) as u32
    }

    /// Ends reading or writing several blocks.
    fn stop(&self, host: &impl Host) -> Result<(), Problem> {
        // What it says of the address isn't meant: behind the card's last block it may be looking for a next one (section
        // 4.3.3). What has gone wrong with data, its status says after a write.
        execute(host, short(12, 0), None).map(drop)
    }

    /// Sends a command that is answered with the card's status, and looks at that.
    fn order(
        &self,
        host: &impl Host,
        index: u8,
        argument: u32,
        data: Option<Data<'_>>,
    ) -> Result<CardStatus<SD>, Problem> {
        let status = CardStatus::from(execute(host, short(index, argument), data)? as u32);
        match refusal(status) {
            Some(why) => Err(Problem::Refused(index, why)),
            None => Ok(status),
        }
    }

    /// Sends a command of those that CMD55 comes before.
    fn order_application(
        &self,
        host: &impl Host,
        index: u8,
        argument: u32,
        data: Option<Data<'_>>,
    ) -> Result<CardStatus<SD>, Problem> {
        self.order(host, 55, self.address, None)?;
        self.order(host, index, argument, data)
    }
}

/// Has the card start; returns whether it counts in blocks (section 4.2.3.1).
fn power_up(host: &impl Host, is_second_version: bool) -> Result<bool, Problem> {
    let argument = VOLTAGES | if is_second_version { HIGH_CAPACITY } else { 0 };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = execute(host, short(55, 0), None)
            .and_then(|_| execute(host, Command { index: 41, argument, answer: Answer::Bare }, None));
        let conditions = match answer {
            Ok(answer) => OCR::<SD>::from(answer as u32),
            // Nor would a card that isn't for memory.
            Err(Problem::Failed(_, Failure::NoAnswer)) => return Err(Problem::Absent),
            Err(problem) => return Err(problem),
        };
        if !conditions.is_busy() {
            return Ok(is_second_version && conditions.high_capacity());
        }
        if Instant::now() > deadline {
            return Err(Problem::Busy);
        }
        time::sleep(PAUSE)?;
    }
}

/// How many blocks a card has, by its register CSD (section 5.3).
fn capacity(data: u128, counts_blocks: bool) -> Result<u64, Problem> {
    let csd = CSD::<SD>::from(data);
    let is_right = match csd.version() {
        // READ_BL_LEN: 512, 1024 or 2048 bytes.
        0 => !counts_blocks && matches!(csd.block_length(), BlockSize::B512 | BlockSize::B1024 | BlockSize::B2048),
        1 => counts_blocks && csd.block_length() == BlockSize::B512,
        _ => false,
    };
    match is_right {
        true => Ok(csd.card_size() / BLOCK as u64),
        false => Err(Problem::Unusable(format!("its register CSD has the value {data:#034x}"))),
    }
}

/// Why a card hasn't done what it was told, by its status (section 4.10.1). What it says of the command before is left out:
/// the wrong ones aren't answered.
fn refusal(status: CardStatus<SD>) -> Option<&'static str> {
    let reasons = [
        (status.out_of_range(), "the address is behind its end"),
        (status.address_error(), "the address doesn't fit its blocks"),
        (status.block_len_error(), "the length isn't one of its blocks'"),
        (status.wp_violation(), "it is protected from being written"),
        (status.card_is_locked(), "it is locked with a password"),
        (status.card_ecc_failed(), "its memory is damaged there"),
        (status.cc_error(), "its controller has failed"),
        (status.error(), "it doesn't say why"),
    ];
    reasons.into_iter().find(|(is_reason, _)| *is_reason).map(|(_, why)| why)
}

/// Whether a card's answer to a command with data says that it doesn't do it: then there are none to wait for.
pub fn is_refused(answer: u128) -> bool {
    refusal(CardStatus::from(answer as u32)).is_some()
}

/// A command with a short answer.
fn short(index: u8, argument: u32) -> Command {
    Command { index, argument, answer: Answer::Short }
}

fn execute(host: &impl Host, command: Command, data: Option<Data<'_>>) -> Result<u128, Problem> {
    debug_assert!(data.as_ref().is_none_or(|data| data.length() <= LONGEST), "callers divide what is longer");
    host.execute(command, data).map_err(|failure| Problem::Failed(command.index, failure))
}
