//! Interrupt controller of the devices of Broadcom's BCM2835 and its successors, behind that of the processors.
//!
//! Registers: BCM2835 ARM Peripherals, section 7.5; binding: Linux,
//! `interrupt-controller/brcm,bcm2835-armctrl-ic.txt`. Lines are numbered by bank and bit: 32 a bank.
//!
//! It has no priorities either: while an interrupt is served, all lines are silent.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::interrupt::{Acknowledged, Cause, Line, ProcessorId, Trigger, Urgency};
use abi::prelude::*;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

abi::driver!(
    Armctrl: InterruptController,
    compatible = ["brcm,bcm2836-armctrl-ic"],
    summary = "Broadcom BCM2835 interrupt controller",
);

/// Bank 0 has 8 lines of the processors' side, 1 and 2 have 32 each of the devices.
const BANKS: usize = 3;

abi::registers! {
    Layout {
        (0x00 => pending: [ReadOnly<u32>; BANKS]),
        (0x0c => fast: ReadWrite<u32>),
        (0x10 => enable: [ReadWrite<u32>; BANKS]),
        (0x1c => disable: [ReadWrite<u32>; BANKS]),
        (0x28 => @END),
    }
}

/// Bits of a bank's `pending` that are lines: bank 0 repeats some of the others' above.
const LINES: [u32; BANKS] = [0xff, u32::MAX, u32::MAX];

/// The order of the banks in `enable` and `disable`.
const ORDER: [usize; BANKS] = [2, 0, 1];

struct Armctrl {
    registers: Registers<Layout>,
    /// The lines that are to interrupt.
    enabled: [AtomicU32; BANKS],
    /// One is being served.
    is_serving: AtomicBool,
    _interrupt: Interrupt,
}

impl Driver for Armctrl {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        registers.silence();
        let enabled = [const { AtomicU32::new(0) }; BANKS];
        Ok(Self { registers, enabled, is_serving: AtomicBool::new(false), _interrupt: interrupt })
    }
}

impl Drop for Armctrl {
    fn drop(&mut self) {
        self.registers.silence();
    }
}

impl InterruptController for Armctrl {
    fn translate(&self, specifier: &[u32]) -> Result<Line> {
        match *specifier {
            [bank @ 0..3, bit @ 0..32] if LINES[bank as usize] >> bit & 1 != 0 => {
                Ok(Line { number: 32 * bank + bit, trigger: Trigger::Level })
            }
            _ => Err(Error::Invalid(format!(
                "the interrupt specifier {specifier:x?} is not one of this controller's: a bank, 0 to 2, and a bit"
            ))),
        }
    }

    fn start_processor(&self) -> Result<()> {
        Ok(())
    }

    fn enable(&self, line: Line, _urgency: Urgency) -> Result<()> {
        let (bank, bit) = place(line.number);
        self.enabled[bank].fetch_or(bit, Ordering::SeqCst);
        if !self.is_serving.load(Ordering::SeqCst) {
            self.registers.enable[ORDER[bank]].set(bit);
            if self.is_serving.load(Ordering::SeqCst) {
                // Another processor has taken an interrupt meanwhile, and will enable the line when it is done.
                self.registers.disable[ORDER[bank]].set(bit);
            }
        }
        Ok(())
    }

    fn disable(&self, number: u32) {
        if number < 32 * BANKS as u32 {
            let (bank, bit) = place(number);
            self.enabled[bank].fetch_and(!bit, Ordering::SeqCst);
            self.registers.disable[ORDER[bank]].set(bit);
        }
    }

    fn signal(&self, _processor: ProcessorId) {}

    fn acknowledge(&self) -> Option<Acknowledged> {
        if self.is_serving.swap(true, Ordering::SeqCst) {
            return None;
        }
        let mut taken = None;
        for bank in 0..BANKS {
            let pending = self.registers.pending[bank].get() & LINES[bank];
            let enabled = self.enabled[bank].load(Ordering::SeqCst);
            if taken.is_none() && pending & enabled != 0 {
                taken = Some(32 * bank as u32 + (pending & enabled).trailing_zeros());
            }
            // Lines that were disabled while another processor enabled all go silent here, too.
            self.registers.disable[ORDER[bank]].set(pending | enabled);
        }
        match taken {
            Some(number) => Some(Acknowledged { cause: Cause::Line(number), token: number }),
            None => {
                self.resume();
                None
            }
        }
    }

    fn end(&self, _acknowledged: Acknowledged) {
        self.resume();
    }
}

impl Armctrl {
    /// Lets lines interrupt again.
    fn resume(&self) {
        self.is_serving.store(false, Ordering::SeqCst);
        for (bank, enabled) in ORDER.into_iter().zip(&self.enabled) {
            self.registers.enable[bank].set(enabled.load(Ordering::SeqCst));
        }
    }
}

impl Layout {
    /// Has no line interrupt, and none be taken on the fast way.
    fn silence(&self) {
        self.fast.set(0);
        self.disable.iter().for_each(|bank| bank.set(u32::MAX));
    }
}

/// The bank of a line, and its bit there.
fn place(number: u32) -> (usize, u32) {
    (number as usize / 32, 1 << (number % 32))
}

#[cfg(test)]
mod tests;
