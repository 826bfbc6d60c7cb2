//! An SD memory card, as its host controller sees it.
//!
//! SD Specifications Part 1, Physical Layer Simplified Specification 9.10: commands in section 4.7, states in section 4.8,
//! status in section 4.10, registers in chapter 5.

use crate::{FakeNode, Model};
use abi::{Resources, Result};
use std::sync::{Arc, Mutex, MutexGuard};

/// A slot behind a model of its host controller, and what uses the card in it.
pub struct FakeSlot<M, D> {
    /// The controller's node.
    pub node: FakeNode,
    /// The controller.
    pub machine: Arc<Mutex<M>>,
    /// What was started.
    pub disk: D,
}

impl<M: Model + 'static, D> FakeSlot<M, D> {
    /// Starts the disk over this model.
    ///
    /// # Errors
    /// Those of `start`.
    pub fn new(machine: M, start: impl FnOnce(&mut Resources) -> Result<D>) -> Result<Self> {
        let machine = Arc::new(Mutex::new(machine));
        let node = FakeNode::with_model(0x100, machine.clone());
        Ok(Self { disk: start(&mut node.resources())?, node, machine })
    }

    /// The controller as it is now.
    pub fn machine(&self) -> MutexGuard<'_, M> {
        crate::lock(&self.machine)
    }
}

/// Bytes of a block.
const BLOCK: usize = 512;

/// The card's address.
const ADDRESS: u32 = 0x4567;

/// Bits of the card's status.
const OUT_OF_RANGE: u32 = 1 << 31;
const ADDRESS_ERROR: u32 = 1 << 30;
const ILLEGAL_COMMAND: u32 = 1 << 22;
const READY_FOR_DATA: u32 = 1 << 8;
const APPLICATION_COMMAND: u32 = 1 << 5;

/// What a card is, as far as it matters to who uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardKind {
    /// At most 2 GB, and from before version 2 of the specification.
    First,
    /// At most 2 GB.
    Standard,
    /// More.
    High,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Identification,
    StandBy,
    Transfer,
    /// Has these bytes to send, or blocks from this one on.
    SendingBytes(Vec<u8>),
    SendingBlocks(usize, bool),
    /// Takes blocks from this one on.
    Receiving(usize, bool),
    /// Stores, for as many questions more.
    Programming(u32),
}

/// A card that a test plays.
pub struct FakeCard {
    /// What it holds: a multiple of 512 KiB.
    pub bytes: Vec<u8>,
    /// What it is.
    pub kind: CardKind,
    /// The register CID.
    pub identity: u128,
    /// The register CSD, if it is another than the bytes' size asks for.
    pub data: Option<u128>,
    /// Whether it has four data lines.
    pub has_four_lines: bool,
    /// Whether it has the high-speed mode, and CMD6.
    pub has_modes: bool,
    /// Whether it is in the slot. It starts again when it is put in.
    pub is_there: bool,
    /// How often it says that it hasn't started yet.
    pub starting: u32,
    /// How often it says that it is still storing what was written.
    pub storing: u32,
    /// Errors that its status tells of when it is asked to read or write, which it then doesn't.
    pub errors: u32,
    /// Whether data take four lines.
    pub is_wide: bool,
    /// Whether it is in the high-speed mode.
    pub is_fast: bool,
    /// All commands that it got, those with CMD55 as 100 and more.
    pub commands: Vec<u8>,
    state: State,
    asked_condition: bool,
    is_application: bool,
    status: u32,
}

impl FakeCard {
    /// A card of that kind and size, full of zeros.
    pub fn new(kind: CardKind, size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            kind,
            identity: 0x0353_4446_414b_4531_1012_3456_7801_7a01,
            data: None,
            has_four_lines: true,
            has_modes: kind != CardKind::First,
            is_there: true,
            starting: 2,
            storing: 0,
            errors: 0,
            is_wide: false,
            is_fast: false,
            commands: Vec::new(),
            state: State::Idle,
            asked_condition: false,
            is_application: false,
            status: 0,
        }
    }

    /// A card of 1 MiB of random bytes, the same each time.
    pub fn random() -> Self {
        let mut card = Self::new(CardKind::High, 1 << 20);
        fastrand::Rng::with_seed(7).fill(&mut card.bytes);
        card
    }

    /// The highest rate of the clock at the moment, in Hz (sections 4.2.1 and 6.6).
    pub fn highest_rate(&self) -> u32 {
        match self.state {
            State::Idle | State::Ready | State::Identification => 400_000,
            _ if self.is_fast => 50_000_000,
            _ => 25_000_000,
        }
    }

    /// Gets a command; returns the answer, of which 32 bits are the lower ones.
    pub fn command(&mut self, index: u8, argument: u32) -> Option<u128> {
        if !self.is_there {
            self.state = State::Idle;
            return None;
        }
        let is_application = std::mem::take(&mut self.is_application);
        self.commands.push(if is_application { 100 + index } else { index });
        let answer = match is_application {
            true => self.application_command(index, argument),
            false => self.plain_command(index, argument),
        };
        if answer.is_none() {
            self.status |= ILLEGAL_COMMAND;
        }
        answer
    }

    fn plain_command(&mut self, index: u8, argument: u32) -> Option<u128> {
        let is_addressed = argument >> 16 == ADDRESS;
        let answer = match (index, self.state.clone()) {
            (0, _) => {
                (self.state, self.is_wide, self.is_fast) = (State::Idle, false, false);
                (self.asked_condition, self.status) = (false, 0);
                return None;
            }
            (8, State::Idle) if self.kind != CardKind::First && argument >> 8 == 1 => {
                self.asked_condition = true;
                argument.into()
            }
            (55, State::Idle) if argument >> 16 == 0 => self.expect_application(),
            (55, state) if state != State::Idle && is_addressed => self.expect_application(),
            (2, State::Ready) => {
                self.state = State::Identification;
                self.identity
            }
            (3, State::Identification) => {
                self.state = State::StandBy;
                u128::from(ADDRESS << 16 | 2 << 9 | READY_FOR_DATA)
            }
            (9, State::StandBy) if is_addressed => self.data.unwrap_or_else(|| self.size()),
            (7, State::StandBy) if is_addressed => self.go(State::Transfer),
            (16, State::Transfer) if argument == BLOCK as u32 => self.answer(),
            (6, State::Transfer) if self.has_modes => {
                let answer = self.answer();
                self.state = State::SendingBytes(self.switch(argument));
                answer
            }
            (13, _) if is_addressed => self.tell(),
            (17 | 18, State::Transfer) => match self.place(argument) {
                Some(first) => self.go(State::SendingBlocks(first, index == 18)),
                None => self.answer(),
            },
            (24 | 25, State::Transfer) => match self.place(argument) {
                Some(first) => self.go(State::Receiving(first, index == 25)),
                None => self.answer(),
            },
            (12, State::SendingBlocks(..)) => self.go(State::Transfer),
            (12, State::Receiving(..)) => self.go(State::Programming(self.storing)),
            _ => return None,
        };
        Some(answer)
    }

    fn application_command(&mut self, index: u8, argument: u32) -> Option<u128> {
        let answer = match (index, &self.state) {
            (41, State::Idle) if argument & 0x00ff_8000 != 0 => {
                let may_start = self.kind != CardKind::High || (self.asked_condition && argument & 1 << 30 != 0);
                if self.starting > 0 || !may_start {
                    self.starting = self.starting.saturating_sub(1);
                    0x00ff_8000
                } else {
                    self.state = State::Ready;
                    0x80ff_8000 | u128::from(self.kind == CardKind::High) << 30
                }
            }
            (51, State::Transfer) => {
                let answer = self.answer();
                let widths = if self.has_four_lines { 0b0101 } else { 0b0001 };
                let version = if self.has_modes { 2 } else { 0 };
                self.state = State::SendingBytes(vec![version, widths, 0, 0, 0, 0, 0, 0]);
                answer
            }
            (6, State::Transfer) if self.has_four_lines && matches!(argument, 0 | 2) => {
                self.is_wide = argument == 2;
                self.answer()
            }
            _ => return None,
        };
        Some(answer)
    }

    fn expect_application(&mut self) -> u128 {
        self.is_application = true;
        self.answer() | u128::from(APPLICATION_COMMAND)
    }

    /// Answers with the status before a command, which changes the state.
    fn go(&mut self, state: State) -> u128 {
        if matches!(state, State::SendingBlocks(..) | State::Receiving(..)) && self.errors != 0 {
            self.status |= self.errors;
            return self.answer();
        }
        let answer = self.answer();
        self.state = state;
        answer
    }

    fn answer(&mut self) -> u128 {
        let state = match self.state {
            State::Idle => 0,
            State::Ready => 1,
            State::Identification => 2,
            State::StandBy => 3,
            State::Transfer => 4,
            State::SendingBytes(_) | State::SendingBlocks(..) => 5,
            State::Receiving(..) => 6,
            State::Programming(_) => 7,
        };
        let is_ready = !matches!(self.state, State::Programming(_));
        let status = std::mem::take(&mut self.status) | state << 9 | if is_ready { READY_FOR_DATA } else { 0 };
        status.into()
    }

    /// CMD13.
    fn tell(&mut self) -> u128 {
        match self.state {
            State::Programming(0) => self.state = State::Transfer,
            State::Programming(left) => self.state = State::Programming(left - 1),
            _ => {}
        }
        self.answer()
    }

    /// The block that a command's argument means.
    fn place(&mut self, argument: u32) -> Option<usize> {
        let unit = if self.kind == CardKind::High { 1 } else { BLOCK };
        let (block, rest) = (argument as usize / unit, argument as usize % unit);
        if rest != 0 {
            self.status |= ADDRESS_ERROR;
        } else if block >= self.bytes.len() / BLOCK {
            self.status |= OUT_OF_RANGE;
        } else {
            return Some(block);
        }
        None
    }

    /// CSD (section 5.3): version 1 with blocks of 1024 bytes, or version 2; all classes of commands that there are.
    fn size(&self) -> u128 {
        let units = self.bytes.len() as u128 / (512 << 10);
        assert!(units > 0 && self.bytes.len().is_multiple_of(512 << 10), "not a size that a card can tell");
        let classes = if self.has_modes { 0x5b5 << 84 } else { 0x1b5 << 84 };
        classes
            | match self.kind {
                CardKind::High => 1 << 126 | 9 << 80 | (units - 1) << 48,
                // 2^(7 + 2) blocks of 2^10 bytes a unit.
                _ => 10 << 80 | (units - 1) << 62 | 7 << 47,
            }
    }

    /// What CMD6 does; its 512 bits of status (section 4.3.10).
    fn switch(&mut self, argument: u32) -> Vec<u8> {
        let (is_real, function) = (argument >> 31 != 0, argument & 0xf);
        assert_eq!(argument & 0x00ff_fff0, 0x00ff_fff0, "the other groups stay as they are");
        let mut status = vec![0; 64];
        status[13] = 0b11;
        status[16] = if function <= 1 { function as u8 } else { 0xf };
        if is_real && function <= 1 {
            self.is_fast = function == 1;
        }
        status
    }

    /// Sends the next block of data, if there is one.
    pub fn send(&mut self) -> Option<Vec<u8>> {
        match self.state.clone() {
            _ if !self.is_there => None,
            State::SendingBytes(bytes) => {
                self.state = State::Transfer;
                Some(bytes)
            }
            State::SendingBlocks(block, is_more) => {
                self.state = if is_more { State::SendingBlocks(block + 1, true) } else { State::Transfer };
                let bytes = self.bytes.get(block * BLOCK..)?.get(..BLOCK);
                if bytes.is_none() {
                    self.status |= OUT_OF_RANGE;
                }
                bytes.map(<[u8]>::to_vec)
            }
            _ => None,
        }
    }

    /// Takes a block of data; returns whether it did.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        let State::Receiving(block, is_more) = self.state else { return false };
        let Some(target) = self.bytes.get_mut(block * BLOCK..).and_then(|rest| rest.get_mut(..BLOCK)) else {
            self.status |= OUT_OF_RANGE;
            return false;
        };
        if !self.is_there {
            return false;
        }
        target.copy_from_slice(bytes);
        self.state = if is_more { State::Receiving(block + 1, true) } else { State::Programming(self.storing) };
        true
    }
}
