//! The controller as a host for cards.

use crate::registers::{Blocks, Capabilities, Clock, Control, ERRORS, Layout, Order, Present, Status};
use crate::work::{self, Memory, Movement, Work};
use abi::prelude::*;
use abi::time;
use abi::tock_registers::LocalRegisterCopy;
use abi::tock_registers::fields::{Field, FieldValue};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use sdmmc::{Answer, Bus, Command, Data, Failure, Host};

/// The clock that cards are found with, in Hz.
const SLOW: u32 = 400_000;

/// The longest division of the clock (section 2.2.14).
const MOST_DIVISION: u32 = 2 * 0x3ff;

/// How long the controller itself may take for anything.
const MOMENT: Duration = Duration::from_millis(100);

/// How long a card may take to answer, and to send or take all data of one command.
const ANSWER_PATIENCE: Duration = Duration::from_millis(100);
const DATA_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before looking again where no interrupt tells: there is none before `probe` has returned.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a card's supply and its first clocks take (section 6.4.1 of the card's specification).
const POWER_UP: Duration = Duration::from_millis(2);

/// What is of interest in the status, besides errors.
const EVENTS: u32 = Status::COMMAND_COMPLETE::SET.value
    | Status::TRANSFER_COMPLETE::SET.value
    | Status::WRITE_READY::SET.value
    | Status::READ_READY::SET.value;

pub struct Controller {
    registers: Registers<Layout>,
    dma: Option<Dma>,
    /// The clock that is divided for the card, in Hz.
    base: u32,
    /// The card's clock, in Hz; 0 when it is off.
    rate: AtomicU32,
    /// Whether it may interrupt.
    interrupts: AtomicBool,
    /// Memory for the next command's data.
    memory: Lock<Option<Memory>>,
    /// The command that is under way.
    work: Lock<Option<Work>>,
}

impl Controller {
    /// The controller with a clock of `base` Hz.
    pub fn new(registers: Registers<Layout>, dma: Dma, base: u32) -> Result<Self> {
        if base == 0 || base / MOST_DIVISION >= SLOW {
            return Err(Error::Unsupported(format!("a clock of {base} Hz, of which one of {SLOW} Hz has to be made")));
        }
        let dma = registers.capabilities.is_set(Capabilities::DESCRIPTORS).then_some(dma);
        let controller = Self {
            registers,
            dma,
            base,
            rate: AtomicU32::new(0),
            interrupts: AtomicBool::new(false),
            memory: Lock::new(None),
            work: Lock::new(None),
        };
        *controller.memory.lock() = Some(controller.allocate()?);
        Ok(controller)
    }

    fn allocate(&self) -> Result<Memory> {
        self.dma.map_or_else(|| Ok(Memory::ordinary()), Memory::shared)
    }

    /// Lets the controller interrupt, from now on.
    pub fn use_interrupts(&self) {
        self.interrupts.store(true, Ordering::Relaxed);
        self.write(&self.registers.signal_enable, EVENTS | ERRORS);
    }

    /// Serves its interrupt, unless there are data to move: that takes too long here.
    pub fn interrupt_now(&self) -> Served {
        if self.work.lock().as_ref().is_some_and(|work| work.movement.is_some()) {
            return Served::OnThread;
        }
        self.advance();
        Served::Done
    }

    /// Does what the controller is ready for: moves a block, or notes what has come of a command. Returns whether there was
    /// anything.
    pub fn advance(&self) -> bool {
        let mut work = self.work.lock();
        let status = self.registers.status.extract();
        if status.get() == 0 {
            return false;
        }
        // Before data are moved: the next block may be there at once.
        self.write(&self.registers.status, status.get());
        if let Some(work) = &mut *work {
            work.advance(&self.registers, status);
        }
        true
    }

    /// Writes a register. The BCM2835's loses one of two writes that the card's clock doesn't come between.
    fn write(&self, register: &impl Writeable<T = u32>, value: u32) {
        register.set(value);
        let rate = self.rate.load(Ordering::Relaxed);
        if rate <= SLOW {
            let end = Instant::now() + Duration::from_nanos(4_000_000_000 / u64::from(rate.max(SLOW / 2)));
            while Instant::now() < end {}
        }
    }

    fn modify(&self, value: FieldValue<u32, Clock::Register>) {
        let mut clock: LocalRegisterCopy<u32, Clock::Register> = self.registers.clock.extract();
        clock.modify(value);
        self.write(&self.registers.clock, clock.get());
    }

    /// Waits for what the controller does by itself.
    fn await_moment(&self, what: &str, mut is_done: impl FnMut(&Layout) -> bool) -> Result<()> {
        let deadline = Instant::now() + MOMENT;
        while !is_done(&self.registers) {
            if Instant::now() > deadline {
                return Err(Error::Device(format!("{what} for {} ms", MOMENT.as_millis())));
            }
            time::sleep(PAUSE)?;
        }
        Ok(())
    }

    fn reset(&self, part: Field<u32, Clock::Register>) -> Result<()> {
        self.modify(part.val(1));
        self.await_moment("its reset has been going on", |registers| !registers.clock.is_set(part))
    }

    /// Changes the card's clock (section 3.2).
    fn set_rate(&self, hertz: u32) -> Result<()> {
        self.modify(Clock::CARD::CLEAR);
        let divisor = if hertz >= self.base { 0 } else { self.base.div_ceil(2 * hertz) };
        self.rate.store(hertz, Ordering::Relaxed);
        let divisor = Clock::DIVISOR_LOW.val(divisor & 0xff) + Clock::DIVISOR_HIGH.val(divisor >> 8);
        self.modify(divisor + Clock::INTERNAL::SET + Clock::TIMEOUT::Longest);
        self.await_moment("its clock hasn't been stable", |registers| registers.clock.is_set(Clock::STABLE))?;
        self.modify(Clock::CARD::SET);
        Ok(())
    }

    fn control(&self, bus: Bus) {
        let mut control = Control::POWER::SET + Control::VOLTAGE::Volts33;
        control += if bus.is_wide { Control::WIDE::SET } else { Control::WIDE::CLEAR };
        // The BCM2835's tells of no such mode, and has no other timing for it.
        if bus.is_fast && self.registers.capabilities.is_set(Capabilities::HIGH_SPEED) {
            control += Control::HIGH_SPEED::SET;
        }
        if self.dma.is_some() {
            control += Control::DMA::Descriptors;
        }
        self.write(&self.registers.control, control.value);
    }

    /// Waits until the command that is under way has ended. `moves` says whether the processor moves its data.
    fn wait(&self, event: &Event, moves: bool) -> Result<(), Failure> {
        let mut start = Instant::now();
        let interrupts = self.interrupts.load(Ordering::Relaxed);
        let mut deadline = start + ANSWER_PATIENCE;
        loop {
            // To look would only hold up the interrupt's thread.
            if moves && interrupts {
                event.wait(Some(deadline))?;
            } else if self.advance() {
                start = Instant::now();
            }
            let (outcome, patience, failure) = match &mut *self.work.lock() {
                Some(work) if work.answer.is_none() => (work.outcome.take(), ANSWER_PATIENCE, Failure::NoAnswer),
                Some(work) => (work.outcome.take(), DATA_PATIENCE, Failure::NoData),
                None => return Err(Error::Device("its driver has lost a command".to_owned()).into()),
            };
            deadline = start + patience;
            match outcome {
                Some(outcome) => return outcome,
                None if Instant::now() > deadline => return Err(failure),
                None if !interrupts => event.wait(Some(Instant::now() + PAUSE))?,
                None if !moves => event.wait(Some(deadline))?,
                None => continue,
            };
        }
    }

    /// Sends a command, and waits for it and its data.
    fn carry_out(&self, command: Command, data: Option<&Data<'_>>, movement: Option<Movement>) -> Result<(), Failure> {
        self.await_moment("a command before has been going on", |registers| {
            let present = registers.present.extract();
            !present.is_set(Present::COMMAND_INHIBIT) && (data.is_none() || !present.is_set(Present::DATA_INHIBIT))
        })?;
        let mut order = Order::INDEX.val(command.index.into())
            + match command.answer {
                Answer::None => Order::RESPONSE::None,
                Answer::Short => Order::RESPONSE::Short + Order::CHECK_CRC::SET + Order::CHECK_INDEX::SET,
                Answer::Bare => Order::RESPONSE::Short,
                Answer::Long => Order::RESPONSE::Long + Order::CHECK_CRC::SET,
            };
        if command.index == 12 {
            order += Order::TYPE::Abort;
        }
        if let Some(data) = data {
            let blocks = Blocks::SIZE.val(data.block() as u32) + Blocks::COUNT.val(data.blocks() as u32);
            self.write(&self.registers.blocks, blocks.value);
            order += Order::HAS_DATA::SET + Order::COUNTS_BLOCKS::SET;
            order += if data.blocks() > 1 { Order::SEVERAL_BLOCKS::SET } else { Order::SEVERAL_BLOCKS::CLEAR };
            order += if matches!(data, Data::Read(_)) { Order::READS::SET } else { Order::READS::CLEAR };
            order += if movement.is_none() { Order::DMA::SET } else { Order::DMA::CLEAR };
        }
        let (event, moves) = (Event::new()?, movement.is_some());
        *self.work.lock() = Some(Work::new(event.signal(), command, data.is_some(), movement));
        self.write(&self.registers.argument, command.argument);
        self.write(&self.registers.command, order.value);
        self.wait(&event, moves)
    }

    /// Ends what is under way.
    fn abort(&self) -> Result<()> {
        self.reset(Clock::RESET_COMMAND)?;
        self.reset(Clock::RESET_DATA)?;
        self.write(&self.registers.status, u32::MAX);
        Ok(())
    }

    /// As [`carry_out`](Self::carry_out), with the data in memory of its own.
    fn exchange(&self, command: Command, mut data: Data<'_>) -> Result<u128, Failure> {
        let memory = self.memory.lock().take();
        let mut memory = memory.map_or_else(|| self.allocate(), Ok)?;
        let length = data.length();
        if let Data::Write(bytes) = &data {
            memory.bytes()[..length].copy_from_slice(bytes);
        }
        let (result, mut memory) = match memory {
            Memory::Ordinary(bytes) => {
                let movement = Movement::new(bytes, &data);
                let result = self.carry_out(command, Some(&data), Some(movement));
                let ended = self.end(result);
                (ended.result, ended.movement.map(|movement| Memory::Ordinary(movement.bytes)))
            }
            Memory::Shared(buffer) => {
                let (lent, descriptors) = work::lend(buffer, length);
                self.write(&self.registers.descriptors, descriptors);
                let result = self.carry_out(command, Some(&data), None);
                let ended = self.end(result);
                // One that can't be stopped goes on using it.
                (ended.result, ended.is_over.then(|| Memory::Shared(lent.take_back())))
            }
        };
        if let (Ok(_), Data::Read(bytes), Some(memory)) = (&result, &mut data, &mut memory) {
            bytes.copy_from_slice(&memory.bytes()[..length]);
        }
        *self.memory.lock() = memory;
        result
    }

    /// Ends a command that has been carried out, or not.
    fn end(&self, result: Result<(), Failure>) -> Ended {
        let work = self.work.lock().take();
        let is_complete = result.is_ok() && work.as_ref().is_some_and(|work| !work.lacks_data());
        let is_over = is_complete || self.abort().is_ok();
        let (answer, movement) = work.map(|work| (work.answer, work.movement)).unwrap_or_default();
        Ended { result: result.map(|()| answer.unwrap_or_default()), movement, is_over }
    }
}

/// A command that has ended.
struct Ended {
    /// The answer.
    result: Result<u128, Failure>,
    movement: Option<Movement>,
    /// Whether the controller does nothing any more.
    is_over: bool,
}

impl Host for Controller {
    fn start(&self) -> Result<()> {
        self.rate.store(0, Ordering::Relaxed);
        self.reset(Clock::RESET_ALL)?;
        self.control(Bus { hertz: SLOW, is_wide: false, is_fast: false });
        self.set_rate(SLOW)?;
        self.write(&self.registers.status_enable, EVENTS | ERRORS);
        if self.interrupts.load(Ordering::Relaxed) {
            self.use_interrupts();
        }
        time::sleep(POWER_UP)
    }

    fn set_bus(&self, bus: Bus) -> Result<()> {
        self.control(bus);
        self.set_rate(bus.hertz)
    }

    fn execute(&self, command: Command, data: Option<Data<'_>>) -> Result<u128, Failure> {
        match data {
            Some(data) => self.exchange(command, data),
            None => {
                let result = self.carry_out(command, None, None);
                self.end(result).result
            }
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.registers.clock.write(Clock::RESET_ALL::SET);
    }
}
