//! What a host controller does for a card.

use crate::BLOCK;
use abi::{Error, Result};
use core::fmt;

/// A command (section 4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number: 0 to 63.
    pub index: u8,
    /// Its argument.
    pub argument: u32,
    /// What the card answers.
    pub answer: Answer,
}

/// The kinds of answer (section 4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None.
    None,
    /// 32 bits, with the command's number and a checksum (R1, R6, R7).
    Short,
    /// 32 bits without a number and a checksum (R3).
    Bare,
    /// 128 bits with a checksum of their own, without a number (R2).
    Long,
}

/// The data of a command: some blocks of 512 bytes, or one block of less that is a multiple of 8.
#[derive(Debug)]
pub enum Data<'a> {
    /// To be filled by the card.
    Read(&'a mut [u8]),
    /// For the card.
    Write(&'a [u8]),
}

impl Data<'_> {
    /// Bytes of all blocks together: at most [`LONGEST`](crate::LONGEST).
    pub fn length(&self) -> usize {
        match self {
            Self::Read(bytes) => bytes.len(),
            Self::Write(bytes) => bytes.len(),
        }
    }

    /// Bytes of a block.
    pub fn block(&self) -> usize {
        self.length().min(BLOCK)
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.length().div_ceil(BLOCK)
    }
}

/// How a card is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bus {
    /// The clock's rate in Hz, which may not be exceeded.
    pub hertz: u32,
    /// Whether data take four lines or one.
    pub is_wide: bool,
    /// Whether the card is in its high-speed mode (section 6.6.7), in which it times signals differently.
    pub is_fast: bool,
}

/// Why a command failed. The end of a sentence about the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no answer.
    NoAnswer,
    /// The answer's checksum, number or end is wrong.
    BadAnswer,
    /// The data, or that the card has taken them, didn't come in time.
    NoData,
    /// The checksum of data is wrong, of those that came or, as the card says, of those that it got.
    BadData,
    /// It isn't the card's failure.
    Host(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => formatter.write_str("the card doesn't answer"),
            Self::BadAnswer => formatter.write_str("the card's answer arrives damaged"),
            Self::NoData => formatter.write_str("the card neither sends nor takes data"),
            Self::BadData => formatter.write_str("data arrive damaged"),
            Self::Host(error) => error.fmt(formatter),
        }
    }
}

/// A host controller with a slot for one card. It is used by one thread at a time.
pub trait Host: Send + Sync {
    /// Begins anew: the card gets power and a clock of at most 400 kHz, data take one line.
    ///
    /// # Errors
    /// [`Error::Device`] when the controller doesn't do as its specification says.
    fn start(&self) -> Result<()>;

    /// Changes how the card is reached.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    fn set_bus(&self, bus: Bus) -> Result<()>;

    /// Has a command and its data carried out; returns the answer, of which 32 bits are the lower ones. After a failure
    /// nothing more of it happens, and nothing of the data after an answer that [`is_refused`](crate::is_refused).
    ///
    /// # Errors
    /// See [`Failure`].
    fn execute(&self, command: Command, data: Option<Data<'_>>) -> Result<u128, Failure>;
}
