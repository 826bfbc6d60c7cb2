//! The registers, and what they make of pins.

use abi::gpio::{Function, Pull};
use abi::prelude::*;

abi::registers! {
    pub Layout {
        (0x00 => function: [ReadWrite<u32>; 6]),
        (0x18 => _reserved0),
        (0x1c => set: [WriteOnly<u32>; 2]),
        (0x24 => _reserved1),
        (0x28 => clear: [WriteOnly<u32>; 2]),
        (0x30 => _reserved2),
        (0x34 => level: [ReadOnly<u32>; 2]),
        (0x3c => _reserved3),
        (0x40 => pub event: [ReadWrite<u32>; 2]),
        (0x48 => _reserved4),
        (0x4c => pub rising: [ReadWrite<u32>; 2]),
        (0x54 => _reserved5),
        (0x58 => pub falling: [ReadWrite<u32>; 2]),
        (0x60 => _reserved6),
        (0x64 => pub high: [ReadWrite<u32>; 2]),
        (0x6c => _reserved7),
        (0x70 => pub low: [ReadWrite<u32>; 2]),
        (0x78 => _reserved8),
        (0x94 => bcm2835_pull: ReadWrite<u32>),
        (0x98 => bcm2835_pull_clock: [ReadWrite<u32>; 2]),
        (0xa0 => _reserved9),
        (0xe4 => bcm2711_pull: [ReadWrite<u32>; 4]),
        (0xf4 => @END),
    }
}

/// Which chip it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Bcm2835,
    Bcm2711,
}

/// How long each step of setting a BCM2835's pull takes at least: 150 cycles of a clock of 250 MHz or more.
const PULL_TIME: Duration = Duration::from_micros(1);

/// The pins.
pub struct Pins {
    registers: Registers<Layout>,
    variant: Variant,
    /// Held by who changes what several pins share.
    changing: Lock<()>,
}

impl Pins {
    pub fn new(resources: &mut Resources, variant: Variant) -> Result<Self> {
        // The trees of Linux list 0xb4 bytes for all chips, which leaves out the BCM2711's pulls.
        Ok(Self { registers: resources.registers_beyond_tree(0)?, variant, changing: Lock::new(()) })
    }

    pub fn registers(&self) -> &Layout {
        &self.registers
    }

    pub fn count(&self) -> u32 {
        match self.variant {
            Variant::Bcm2835 => 54,
            Variant::Bcm2711 => 58,
        }
    }

    /// Fails unless there is such a pin. All that follows is for pins that there are.
    pub fn check(&self, pin: u32) -> Result<()> {
        match pin < self.count() {
            true => Ok(()),
            false => Err(Error::Invalid(format!("there is no pin {pin}: there are 0 to {}", self.count() - 1))),
        }
    }

    pub fn is_high(&self, pin: u32) -> bool {
        let (word, bit) = place(pin);
        self.registers.level[word].get() & bit != 0
    }

    pub fn set_level(&self, pin: u32, is_high: bool) {
        let (word, bit) = place(pin);
        let registers = if is_high { &self.registers.set } else { &self.registers.clear };
        registers[word].set(bit);
    }

    pub fn function(&self, pin: u32) -> Function {
        let (register, shift) = self.function_place(pin);
        decode(register.get() >> shift & 0b111)
    }

    pub fn set_function(&self, pin: u32, function: Function) -> Result<()> {
        let code = encode(function)
            .ok_or_else(|| Error::Invalid(format!("pin {pin} has the functions in, out and alt0 to alt5")))?;
        let (register, shift) = self.function_place(pin);
        let _changing = self.changing.lock();
        register.set(register.get() & !(0b111 << shift) | code << shift);
        Ok(())
    }

    /// Three bits a pin.
    fn function_place(&self, pin: u32) -> (&ReadWrite<u32>, u32) {
        (&self.registers.function[pin as usize / 10], pin % 10 * 3)
    }

    /// None where it can't be read.
    pub fn pull(&self, pin: u32) -> Option<Pull> {
        let (register, shift) = match self.variant {
            Variant::Bcm2835 => return None,
            Variant::Bcm2711 => self.pull_place(pin),
        };
        match register.get() >> shift & 0b11 {
            0 => Some(Pull::None),
            1 => Some(Pull::Up),
            2 => Some(Pull::Down),
            _ => None,
        }
    }

    pub fn set_pull(&self, pin: u32, pull: Pull) {
        let _changing = self.changing.lock();
        match self.variant {
            Variant::Bcm2711 => {
                let code = match pull {
                    Pull::None => 0,
                    Pull::Up => 1,
                    Pull::Down => 2,
                };
                let (register, shift) = self.pull_place(pin);
                register.set(register.get() & !(0b11 << shift) | code << shift);
            }
            Variant::Bcm2835 => {
                let (word, bit) = place(pin);
                // The other way round.
                let code = match pull {
                    Pull::None => 0,
                    Pull::Down => 1,
                    Pull::Up => 2,
                };
                self.registers.bcm2835_pull.set(code);
                pause();
                self.registers.bcm2835_pull_clock[word].set(bit);
                pause();
                self.registers.bcm2835_pull.set(0);
                self.registers.bcm2835_pull_clock[word].set(0);
            }
        }
    }

    /// Two bits a pin.
    fn pull_place(&self, pin: u32) -> (&ReadWrite<u32>, u32) {
        (&self.registers.bcm2711_pull[pin as usize / 16], pin % 16 * 2)
    }
}

/// The word and the bit of a pin in registers with one bit a pin.
pub fn place(pin: u32) -> (usize, u32) {
    (pin as usize / 32, 1 << (pin % 32))
}

/// The function that the hardware has this number for.
pub fn decode(code: u32) -> Function {
    match code {
        0 => Function::Input,
        1 => Function::Output,
        2 => Function::Alternate(5),
        3 => Function::Alternate(4),
        code => Function::Alternate(code as u8 - 4),
    }
}

/// The hardware's number for a function.
fn encode(function: Function) -> Option<u32> {
    (0..8).find(|code| decode(*code) == function)
}

/// Waits for as long as a step takes. Too short for a sleep, and a lock is held.
fn pause() {
    let end = Instant::now() + PULL_TIME;
    while Instant::now() <= end {}
}
