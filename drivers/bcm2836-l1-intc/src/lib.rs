//! Interrupt controller of the processors of Broadcom's BCM2836 and BCM2837: their timers, signals from one to another, and
//! one line for all of the chip's devices.
//!
//! Registers: Broadcom, "Quad-A7 control" (QA7_rev3.4.pdf), chapter 4. Lines are numbered by the bits of the register that
//! tells where an interrupt comes from.
//!
//! There are no priorities, and the devices' line can't be silenced here: the controller behind it
//! (`bcm2835-armctrl-ic`) lets nothing through while one of its interrupts is served, and timers and signals always come.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::interrupt::{Acknowledged, Cause, Line, ProcessorId, Trigger, Urgency};
use abi::prelude::*;
use arm_sysregs::el1::accessors::read_mpidr_el1;

abi::driver!(
    L1: InterruptController,
    compatible = ["brcm,bcm2836-l1-intc"],
    summary = "Broadcom BCM2836 interrupt controller of the processors",
);

/// The processors.
const PROCESSORS: usize = 4;

abi::registers! {
    Layout {
        (0x00 => control: ReadWrite<u32>),
        (0x04 => _reserved0),
        (0x08 => prescaler: ReadWrite<u32>),
        (0x0c => devices: ReadWrite<u32>),
        (0x10 => _reserved1),
        (0x40 => timers: [ReadWrite<u32>; PROCESSORS]),
        (0x50 => mailboxes: [ReadWrite<u32>; PROCESSORS]),
        (0x60 => source: [ReadOnly<u32, Source::Register>; PROCESSORS]),
        (0x70 => _reserved2),
        (0x80 => mailbox_set: [WriteOnly<u32>; 4 * PROCESSORS]),
        (0xc0 => mailbox_clear: [ReadWrite<u32>; 4 * PROCESSORS]),
        (0x100 => @END),
    }
}

register_bitfields! {u32,
    Source [
        TIMERS OFFSET(0) NUMBITS(4) [],
        /// The first of four mailboxes, which signals come in.
        MAILBOX OFFSET(4) NUMBITS(1) [],
        DEVICES OFFSET(8) NUMBITS(1) []
    ]
}

/// The processors' timers: secure, non-secure, of the hypervisor, virtual.
const TIMERS: core::ops::Range<u32> = 0..4;

/// The line that all devices share.
const DEVICES: u32 = 8;

/// The timers count at the crystal's rate, which firmware tells them to tell, but for this factor in units of 2^-31.
const PRESCALER: u32 = 1 << 31;

struct L1 {
    registers: Registers<Layout>,
}

impl Driver for L1 {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        // A BCM2711 has a GIC beside it, and these registers only to choose between the two.
        if node.property("interrupt-controller").is_none() {
            return Err(Error::Absent);
        }
        let registers: Registers<Layout> = resources.registers(0)?;
        registers.control.set(0);
        registers.prescaler.set(PRESCALER);
        registers.timers.iter().chain(&registers.mailboxes).for_each(|register| register.set(0));
        let controller = Self { registers };
        controller.start_processor()?;
        Ok(controller)
    }
}

impl InterruptController for L1 {
    fn translate(&self, specifier: &[u32]) -> Result<Line> {
        match *specifier {
            // The second cell, where there is one, tells what the hardware knows.
            [number] | [number, _] if TIMERS.contains(&number) || number == DEVICES => {
                Ok(Line { number, trigger: Trigger::Level })
            }
            _ => Err(Error::Invalid(format!(
                "the interrupt specifier {specifier:x?} is not one of the processors' timers (0 to 3) or the devices (8)"
            ))),
        }
    }

    fn start_processor(&self) -> Result<()> {
        let processor = this_processor()?;
        self.registers.mailbox_clear[4 * processor].set(u32::MAX);
        self.registers.mailboxes[processor].set(1);
        Ok(())
    }

    fn enable(&self, line: Line, _urgency: Urgency) -> Result<()> {
        let processor = this_processor()?;
        if line.number == DEVICES {
            self.registers.devices.set(processor as u32);
        } else {
            let timers = &self.registers.timers[processor];
            timers.set(timers.get() | 1 << line.number);
        }
        Ok(())
    }

    fn disable(&self, number: u32) {
        if let Ok(processor) = this_processor()
            && TIMERS.contains(&number)
        {
            let timers = &self.registers.timers[processor];
            timers.set(timers.get() & !(1 << number));
        }
    }

    fn signal(&self, processor: ProcessorId) {
        if let Ok(processor) = number_of(processor) {
            self.registers.mailbox_set[4 * processor].set(1);
        }
    }

    fn acknowledge(&self) -> Option<Acknowledged> {
        let processor = this_processor().ok()?;
        let source = self.registers.source[processor].extract();
        let timers = source.read(Source::TIMERS);
        let cause = if timers != 0 {
            Cause::Line(timers.trailing_zeros())
        } else if source.is_set(Source::MAILBOX) {
            // What is signalled from here on comes again.
            self.registers.mailbox_clear[4 * processor].set(u32::MAX);
            Cause::Signal
        } else if source.is_set(Source::DEVICES) {
            Cause::Line(DEVICES)
        } else {
            return None;
        };
        Some(Acknowledged { cause, token: 0 })
    }

    fn end(&self, _acknowledged: Acknowledged) {}
}

/// The number that the calling processor has here.
fn this_processor() -> Result<usize> {
    number_of(ProcessorId::from_mpidr(read_mpidr_el1().bits()))
}

fn number_of(processor: ProcessorId) -> Result<usize> {
    match processor.affinity() as usize & 0xff {
        number @ 0..PROCESSORS => Ok(number),
        number => Err(Error::Invalid(format!("this controller has four processors, and none of number {number}"))),
    }
}

#[cfg(test)]
mod tests;
