//! A command that is under way, and the memory that its data are in meanwhile.

use crate::registers::{ERRORS, Layout, Status};
use abi::dma::LentBuffer;
use abi::prelude::*;
use abi::tock_registers::LocalRegisterCopy;
use sdmmc::{Answer, Command, Data, Failure, LONGEST, is_refused};

/// The most that one descriptor tells of, in bytes; and how many there are behind the data.
const PART: usize = LONGEST / 2;
const PARTS: usize = LONGEST / PART;

/// Bytes of a descriptor (section 1.13.3.1).
const DESCRIPTOR: usize = 8;

/// Attributes of a descriptor: valid, of data; and of the last one.
const PART_OF_DATA: u16 = 1 | 0b10 << 4;
const LAST: u16 = 1 << 1;

/// Memory for the data of one command.
pub enum Memory {
    /// Which the processor moves from and to the controller.
    Ordinary(Vec<u8>),
    /// Which the controller reaches. Descriptors follow the data.
    Shared(DmaBuffer),
}

impl Memory {
    pub fn ordinary() -> Self {
        Self::Ordinary(vec![0; LONGEST])
    }

    pub fn shared(dma: Dma) -> Result<Self> {
        let buffer = dma.allocate(LONGEST + PARTS * DESCRIPTOR, DESCRIPTOR)?;
        let end = buffer.device_address() + LONGEST as u64;
        match end <= 1 << 32 {
            true => Ok(Self::Shared(buffer)),
            false => Err(Error::Unsupported("memory beyond what descriptors with 32 bits can tell of".to_owned())),
        }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Ordinary(bytes) => bytes,
            Self::Shared(buffer) => buffer,
        }
    }
}

/// Lends the controller that many bytes; returns where it finds their descriptors as well.
pub fn lend(mut buffer: DmaBuffer, length: usize) -> (LentBuffer, u32) {
    let start = buffer.device_address();
    let descriptors = &mut buffer[LONGEST..];
    for (descriptor, offset) in descriptors.chunks_exact_mut(DESCRIPTOR).zip((0..length).step_by(PART)) {
        let size = PART.min(length - offset);
        let attributes = PART_OF_DATA | if offset + size == length { LAST } else { 0 };
        descriptor[..2].copy_from_slice(&attributes.to_le_bytes());
        descriptor[2..4].copy_from_slice(&(size as u16).to_le_bytes());
        descriptor[4..].copy_from_slice(&((start + offset as u64) as u32).to_le_bytes());
    }
    (buffer.lend(), (start + LONGEST as u64) as u32)
}

/// A command that is under way.
pub struct Work {
    /// What wakes who waits for it.
    signal: Signal,
    kind: Answer,
    /// What the card has answered.
    pub answer: Option<u128>,
    has_data: bool,
    /// Data that the processor moves.
    pub movement: Option<Movement>,
    /// What has come of it.
    pub outcome: Option<Result<(), Failure>>,
}

/// Data that the processor moves.
pub struct Movement {
    pub bytes: Vec<u8>,
    position: usize,
    length: usize,
    block: usize,
    reads: bool,
}

impl Work {
    pub fn new(signal: Signal, command: Command, has_data: bool, movement: Option<Movement>) -> Self {
        Self { signal, kind: command.answer, answer: None, has_data, movement, outcome: None }
    }

    /// Whether the card has refused the command, so that the controller waits in vain for its data.
    pub fn lacks_data(&self) -> bool {
        self.has_data && self.answer.is_some_and(is_refused)
    }

    /// Does what the controller is ready for.
    pub fn advance(&mut self, registers: &Layout, status: LocalRegisterCopy<u32, Status::Register>) {
        if self.outcome.is_some() {
            return;
        }
        if let Some(failure) = failure_of_answer(status) {
            self.end(Err(failure));
            return;
        }
        if status.is_set(Status::COMMAND_COMPLETE) {
            let answer = answer(registers, self.kind);
            self.answer = Some(answer);
            if !self.has_data || self.lacks_data() {
                self.end(Ok(()));
                return;
            }
        }
        if let Some(failure) = failure_of_data(status) {
            self.end(Err(failure));
            return;
        }
        if let Some(movement) = &mut self.movement
            && status.any_matching_bits_set(Status::READ_READY::SET + Status::WRITE_READY::SET)
        {
            movement.move_block(registers);
        }
        // Before its answer has come nothing can be complete but what was under way before.
        if self.answer.is_some() && status.is_set(Status::TRANSFER_COMPLETE) {
            let is_all = self.movement.as_ref().is_none_or(|movement| movement.position == movement.length);
            self.end(if is_all { Ok(()) } else { Err(Failure::NoData) });
        }
    }

    fn end(&mut self, outcome: Result<(), Failure>) {
        self.outcome = Some(outcome);
        self.signal.raise();
    }
}

impl Movement {
    pub fn new(bytes: Vec<u8>, data: &Data<'_>) -> Self {
        let reads = matches!(data, Data::Read(_));
        Self { bytes, position: 0, length: data.length(), block: data.block(), reads }
    }

    /// Moves one block: the controller says when it is ready for the next.
    fn move_block(&mut self, registers: &Layout) {
        let end = self.length.min(self.position + self.block);
        let Some(block) = self.bytes.get_mut(self.position..end) else { return };
        for word in block.as_chunks_mut().0 {
            match self.reads {
                true => *word = registers.data.get().to_le_bytes(),
                false => registers.data.set(u32::from_le_bytes(*word)),
            }
        }
        self.position = end;
    }
}

/// The card's answer, as the registers have it (section 2.2.7): of a long one all but its last byte.
fn answer(registers: &Layout, kind: Answer) -> u128 {
    let word = |index: usize| u128::from(registers.response[index].get());
    match kind {
        Answer::None => 0,
        Answer::Short | Answer::Bare => word(0),
        Answer::Long => (word(3) << 96 | word(2) << 64 | word(1) << 32 | word(0)) << 8,
    }
}

/// What has gone wrong with an answer, if anything has.
fn failure_of_answer(status: LocalRegisterCopy<u32, Status::Register>) -> Option<Failure> {
    let damaged = Status::COMMAND_CRC::SET + Status::COMMAND_END::SET + Status::COMMAND_INDEX::SET;
    match status.is_set(Status::COMMAND_TIMEOUT) {
        _ if status.any_matching_bits_set(damaged) => Some(Failure::BadAnswer),
        true => Some(Failure::NoAnswer),
        false => None,
    }
}

/// What has gone wrong with data, if anything has.
fn failure_of_data(status: LocalRegisterCopy<u32, Status::Register>) -> Option<Failure> {
    let errors = status.get() & ERRORS;
    if errors == 0 {
        None
    } else if status.any_matching_bits_set(Status::DATA_CRC::SET + Status::DATA_END::SET) {
        Some(Failure::BadData)
    } else if status.is_set(Status::DATA_TIMEOUT) {
        Some(Failure::NoData)
    } else {
        Some(Failure::Host(Error::Device(format!("it reports the errors {errors:#x}"))))
    }
}
