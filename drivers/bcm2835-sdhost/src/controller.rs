//! The controller as a host for cards.

use crate::registers::{Configuration, FIFO, Layout, Mode, Order, Status};
use abi::prelude::*;
use abi::time;
use abi::tock_registers::fields::FieldValue;
use core::sync::atomic::{AtomicBool, Ordering};
use sdmmc::{Answer, Bus, Command, Data, Failure, Host, LONGEST, is_refused};

/// The clock that cards are found with, in Hz.
const SLOW: u32 = 400_000;

/// The longest division of the clock: 11 bits, counted from 2.
const MOST_DIVISION: u32 = 0x7ff + 2;

/// How long the card's supply takes to go off and to come on.
const POWER_TIME: Duration = Duration::from_millis(20);

/// How long a card may take to answer, and to send or take all data of one command.
const ANSWER_PATIENCE: Duration = Duration::from_millis(100);
const DATA_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before looking again where no interrupt tells: there is none before `probe` has returned, nor for the end
/// of a command.
const PAUSE: Duration = Duration::from_micros(200);

/// How long to leave data to interrupts before looking for errors.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// What has to be filled in the FIFO, or free, for the controller to ask for more. Others are said to lose data.
const THRESHOLD: u32 = 4;

/// Bytes that are moved at once: interrupts wait meanwhile.
const BURST: usize = 512;

/// How long to look for what will be there at once: an answer, or the next words of a block.
const MOMENT: Duration = Duration::from_micros(20);

/// All errors and interrupts of the status.
const ALL: u32 = 0x7f8;

pub struct Controller {
    registers: Registers<Layout>,
    /// The clock that is divided for the card, in Hz.
    base: u32,
    /// Whether it may interrupt.
    interrupts: AtomicBool,
    /// Without interrupts.
    configuration: Lock<FieldValue<u32, Configuration::Register>>,
    /// Memory for the next command's data.
    memory: Lock<Vec<u8>>,
    /// The data that are under way.
    movement: Lock<Option<Movement>>,
}

struct Movement {
    /// What wakes who waits for it.
    signal: Signal,
    bytes: Vec<u8>,
    position: usize,
    length: usize,
    reads: bool,
    outcome: Option<Result<(), Failure>>,
}

impl Controller {
    /// The controller with a clock of `base` Hz.
    pub fn new(registers: Registers<Layout>, base: u32) -> Result<Self> {
        if base == 0 || base / MOST_DIVISION >= SLOW {
            return Err(Error::Unsupported(format!("a clock of {base} Hz, of which one of {SLOW} Hz has to be made")));
        }
        Ok(Self {
            registers,
            base,
            interrupts: AtomicBool::new(false),
            configuration: Lock::new(configuration(false)),
            memory: Lock::new(vec![0; LONGEST]),
            movement: Lock::new(None),
        })
    }

    /// Lets the controller interrupt, from now on.
    pub fn use_interrupts(&self) {
        self.interrupts.store(true, Ordering::Relaxed);
    }

    /// Serves its interrupt, unless there are data to move: that takes too long here.
    pub fn interrupt_now(&self) -> Served {
        if self.movement.lock().is_some() {
            return Served::OnThread;
        }
        self.advance();
        Served::Done
    }

    /// Does what the controller is ready for: moves some data, or notes what has come of them. Returns whether there was
    /// anything.
    pub fn advance(&self) -> bool {
        let mut movement = self.movement.lock();
        let status = self.registers.status.extract();
        let interrupts = Status::DATA::SET
            + Status::SDIO_INTERRUPT::SET
            + Status::BLOCK_INTERRUPT::SET
            + Status::BUSY_INTERRUPT::SET;
        self.registers.status.write(interrupts);
        let Some(movement) = movement.as_mut().filter(|movement| movement.outcome.is_none()) else { return false };
        let before = movement.position;
        if status.any_matching_bits_set(Status::DATA_CRC::SET + Status::FIFO_ERROR::SET) {
            movement.end(Err(Failure::BadData));
        } else if status.is_set(Status::DATA_TIMEOUT) {
            movement.end(Err(Failure::NoData));
        } else {
            movement.advance(&self.registers);
            if movement.position == movement.length {
                self.registers.configuration.modify(Configuration::DATA_INTERRUPT::CLEAR);
                // No interrupt tells when the last of them are over: who waits looks.
                movement.signal.raise();
            }
        }
        if movement.outcome.is_some() {
            self.registers.configuration.write(*self.configuration.lock());
        }
        movement.position != before
    }

    fn set_rate(&self, hertz: u32) {
        let division = self.base.div_ceil(hertz).clamp(2, MOST_DIVISION);
        self.registers.divisor.set(division - 2);
        // Half a second, in the card's clocks.
        self.registers.timeout.set(self.base / division / 2);
    }

    /// Sends a command and waits for the answer.
    fn send(&self, order: FieldValue<u32, Order::Register>, command: Command) -> Result<u128, Failure> {
        let answer = match command.answer {
            Answer::None => Order::RESPONSE::None,
            Answer::Short | Answer::Bare => Order::RESPONSE::Short,
            Answer::Long => Order::RESPONSE::Long,
        };
        self.registers.argument.set(command.argument);
        self.registers.command.write(order + answer + Order::INDEX.val(command.index.into()) + Order::NEW::SET);
        self.await_answer()?;
        if self.registers.command.is_set(Order::FAILED) {
            let status = self.registers.status.extract();
            self.registers.status.set(ALL);
            if status.is_set(Status::COMMAND_TIMEOUT) {
                return Err(Failure::NoAnswer);
            }
            // This kind of answer has no checksum.
            if command.answer != Answer::Bare || !status.is_set(Status::COMMAND_CRC) {
                return Err(Failure::BadAnswer);
            }
        }
        let word = |index: usize| u128::from(self.registers.response[index].get());
        Ok(match command.answer {
            Answer::None => 0,
            Answer::Short | Answer::Bare => word(0),
            Answer::Long => word(3) << 96 | word(2) << 64 | word(1) << 32 | word(0),
        })
    }

    /// Waits until no command is under way. No interrupt tells.
    fn await_answer(&self) -> Result<(), Failure> {
        let start = Instant::now();
        while self.registers.command.is_set(Order::NEW) {
            match Instant::now() - start {
                // With a fast clock it is over before anybody else would have run.
                waited if waited < MOMENT => {}
                waited if waited < ANSWER_PATIENCE => time::sleep(PAUSE)?,
                _ => return Err(Failure::NoAnswer),
            }
        }
        Ok(())
    }

    /// Waits until no data are under way.
    fn await_idle(&self) -> Result<()> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        loop {
            let mode = self.registers.mode.extract();
            match mode.read_as_enum(Mode::STATE) {
                Some(Mode::STATE::Value::Identification | Mode::STATE::Value::Data) => return Ok(()),
                Some(Mode::STATE::Value::ReadWait | Mode::STATE::Value::WriteStart) => {
                    self.registers.mode.modify(Mode::FORCE_DATA::SET);
                }
                None => {}
            }
            if Instant::now() > deadline {
                return Err(Error::Device(format!("it stays in the state {}", mode.read(Mode::STATE))));
            }
            time::sleep(PAUSE)?;
        }
    }

    /// Waits until all data have been moved.
    fn await_data(&self, event: &Event) -> Result<(), Failure> {
        let mut deadline = Instant::now() + DATA_PATIENCE;
        let mut by_interrupts = self.interrupts.load(Ordering::Relaxed);
        if by_interrupts {
            // It interrupts only for what comes from now on.
            self.advance();
        }
        loop {
            // To look would only hold up the interrupt's thread; but of an error no interrupt tells.
            let is_left_alone = by_interrupts && event.wait(Some(Instant::now() + SECOND_LOOK))? == Wake::Raised;
            if !is_left_alone && self.advance() {
                deadline = Instant::now() + DATA_PATIENCE;
            }
            let outcome = match &mut *self.movement.lock() {
                Some(movement) => {
                    by_interrupts &= movement.position < movement.length;
                    movement.outcome.take()
                }
                None => return Err(Error::Device("its driver has lost a command".to_owned()).into()),
            };
            match outcome {
                Some(outcome) => return outcome,
                None if Instant::now() > deadline => return Err(Failure::NoData),
                None if by_interrupts => continue,
                None => event.wait(Some(Instant::now() + PAUSE))?,
            };
        }
    }

    /// Sends a command, and moves its data.
    fn exchange(&self, command: Command, mut data: Data<'_>) -> Result<u128, Failure> {
        let length = data.length();
        let mut bytes = core::mem::take(&mut *self.memory.lock());
        // It is lost when a call is ended in the middle.
        bytes.resize(LONGEST, 0);
        let (reads, order) = match &data {
            Data::Read(_) => (true, Order::READS::SET),
            Data::Write(source) => {
                bytes[..length].copy_from_slice(source);
                (false, Order::WRITES::SET)
            }
        };
        let event = Event::new()?;
        let movement = Movement { signal: event.signal(), bytes, position: 0, length, reads, outcome: None };
        self.registers.block_size.set(data.block() as u32);
        self.registers.block_count.set(data.blocks() as u32);
        let result = self.send(order, command).and_then(|answer| {
            *self.movement.lock() = Some(movement);
            if is_refused(answer) {
                return Ok(answer);
            }
            if self.interrupts.load(Ordering::Relaxed) {
                self.registers.configuration.modify(Configuration::DATA_INTERRUPT::SET);
            }
            self.await_data(&event).map(|()| answer)
        });
        let movement = self.movement.lock().take();
        self.registers.configuration.write(*self.configuration.lock());
        if let Some(Movement { bytes, .. }) = movement {
            if let (Ok(_), Data::Read(target)) = (&result, &mut data) {
                target.copy_from_slice(&bytes[..length]);
            }
            *self.memory.lock() = bytes;
        }
        result
    }
}

/// The configuration without interrupts.
fn configuration(is_wide: bool) -> FieldValue<u32, Configuration::Register> {
    Configuration::WIDE_INTERNAL::SET + Configuration::SLOW::SET + Configuration::WIDE.val(is_wide.into())
}

impl Movement {
    /// Moves what the FIFO has or takes, up to a [`BURST`], and looks whether that was all.
    fn advance(&mut self, registers: &Layout) {
        let (start, end) = (self.position, self.length.min(self.position + BURST));
        let mut latest = Instant::now();
        while self.position < end {
            let filled = registers.mode.read(Mode::FILLED) as usize;
            let ready = if self.reads { filled } else { FIFO.saturating_sub(filled) };
            if ready == 0 {
                // Within a block the FIFO goes on at once, and an interrupt for each of its few words would take longer.
                if self.position > start && Instant::now() - latest < MOMENT {
                    continue;
                }
                break;
            }
            let part = end.min(self.position + 4 * ready);
            for word in self.bytes[self.position..part].as_chunks_mut().0 {
                match self.reads {
                    true => *word = registers.data.get().to_le_bytes(),
                    false => registers.data.set(u32::from_le_bytes(*word)),
                }
            }
            (self.position, latest) = (part, Instant::now());
        }
        if self.position < self.length {
            return;
        }
        let mode = registers.mode.extract();
        let is_over = match mode.read_as_enum(Mode::STATE) {
            Some(Mode::STATE::Value::Identification | Mode::STATE::Value::Data) => true,
            // What comes next ends that.
            Some(Mode::STATE::Value::ReadWait) => self.reads,
            Some(Mode::STATE::Value::WriteStart) => !self.reads && mode.read(Mode::FILLED) == 0,
            None => false,
        };
        if is_over {
            self.end(Ok(()));
        }
    }

    fn end(&mut self, outcome: Result<(), Failure>) {
        self.outcome = Some(outcome);
        self.signal.raise();
    }
}

impl Host for Controller {
    fn start(&self) -> Result<()> {
        let registers = &self.registers;
        registers.power.set(0);
        registers.command.set(0);
        registers.argument.set(0);
        registers.configuration.set(0);
        registers.block_size.set(0);
        registers.block_count.set(0);
        registers.status.set(ALL);
        // What a command before has left there.
        for _ in 0..registers.mode.read(Mode::FILLED) {
            registers.data.get();
        }
        registers.mode.modify(Mode::READ_THRESHOLD.val(THRESHOLD) + Mode::WRITE_THRESHOLD.val(THRESHOLD));
        time::sleep(POWER_TIME)?;
        registers.power.set(1);
        time::sleep(POWER_TIME)?;
        self.set_bus(Bus { hertz: SLOW, is_wide: false, is_fast: false })
    }

    fn set_bus(&self, bus: Bus) -> Result<()> {
        let mut configuration = self.configuration.lock();
        *configuration = self::configuration(bus.is_wide);
        self.registers.configuration.write(*configuration);
        self.set_rate(bus.hertz);
        Ok(())
    }

    fn execute(&self, command: Command, data: Option<Data<'_>>) -> Result<u128, Failure> {
        self.await_answer()?;
        // What stops the card comes in the middle of something.
        if command.index != 12 {
            self.await_idle()?;
        }
        self.registers.status.set(ALL);
        match data {
            Some(data) => self.exchange(command, data),
            None => self.send(Order::READS::CLEAR, command),
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.registers.configuration.set(0);
        self.registers.power.set(0);
    }
}
