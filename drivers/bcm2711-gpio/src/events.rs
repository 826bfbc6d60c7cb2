//! Interrupts of pins. Their lines are numbered as the pins are.

use crate::pins::{Layout, Pins, place};
use abi::interrupt::{Acknowledged, Cause, Line, Trigger};
use abi::prelude::*;

/// What a pin interrupts for: bits as in the second cell of a specifier (Linux, `dt-bindings/interrupt-controller/irq.h`).
const RISING: u8 = 1;
const FALLING: u8 = 2;
const HIGH: u8 = 4;
const LOW: u8 = 8;

/// What each pin is to interrupt for. Who changes registers holds it.
pub struct Events(Lock<[u8; 64]>);

impl Default for Events {
    fn default() -> Self {
        Self(Lock::new([0; 64]))
    }
}

impl Events {
    /// Reads the two cells pin and trigger, and remembers the latter.
    pub fn translate(&self, pins: &Pins, specifier: &[u32]) -> Result<Line> {
        let invalid = || Error::Invalid(format!("the interrupt specifier {specifier:x?} is not one of a pin's"));
        let &[pin, flags] = specifier else { return Err(invalid()) };
        pins.check(pin)?;
        let flags = u8::try_from(flags).map_err(|_| invalid())?;
        let trigger = match flags {
            RISING | FALLING | 3 => Trigger::Edge,
            HIGH | LOW => Trigger::Level,
            _ => return Err(invalid()),
        };
        self.0.lock()[pin as usize] = flags;
        Ok(Line { number: pin, trigger })
    }

    pub fn enable(&self, registers: &Layout, pin: u32) {
        let kinds = self.0.lock();
        registers.detect(pin, kinds.get(pin as usize).copied().unwrap_or(0));
    }

    pub fn disable(&self, registers: &Layout, pin: u32) {
        let _changing = self.0.lock();
        if pin < 64 {
            registers.detect(pin, 0);
        }
    }

    /// Takes the event of the lowest pin that has one. The next one of an edge may come from here on.
    pub fn acknowledge(&self, registers: &Layout) -> Option<Acknowledged> {
        let word = registers.event.iter().position(|events| events.get() != 0)?;
        let bit = registers.event.get(word)?.get().trailing_zeros();
        let pin = 32 * word as u32 + bit;
        registers.forget(pin);
        Some(Acknowledged { cause: Cause::Line(pin), token: pin })
    }

    /// Forgets the event that a level has caused meanwhile, which it causes again if it is still there.
    pub fn end(&self, registers: &Layout, pin: u32) {
        let (word, bit) = place(pin);
        let is_level = [&registers.high, &registers.low].into_iter().any(|levels| levels[word].get() & bit != 0);
        if is_level {
            registers.forget(pin);
        }
    }
}

impl Layout {
    /// Has a pin cause events for these reasons, and for no others.
    fn detect(&self, pin: u32, kinds: u8) {
        let (word, bit) = place(pin);
        for (registers, kind) in
            [(&self.rising, RISING), (&self.falling, FALLING), (&self.high, HIGH), (&self.low, LOW)]
        {
            let others = registers[word].get() & !bit;
            registers[word].set(if kinds & kind != 0 { others | bit } else { others });
        }
        if kinds == 0 {
            self.forget(pin);
        }
    }

    fn forget(&self, pin: u32) {
        let (word, bit) = place(pin);
        self.event[word].set(bit);
    }

    /// Has no pin cause events.
    pub fn silence_events(&self) {
        for registers in [&self.rising, &self.falling, &self.high, &self.low] {
            registers.iter().for_each(|register| register.set(0));
        }
        self.event.iter().for_each(|register| register.set(u32::MAX));
    }
}
