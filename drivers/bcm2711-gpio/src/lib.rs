//! Pins of Broadcom's BCM2711, and of the BCM2835 and its kin: what they are used for, their levels, their interrupts.
//!
//! Registers: BCM2711 ARM Peripherals, chapter 5; BCM2835 ARM Peripherals, chapter 6. Both are the same but for the way to
//! set pulls.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod events;
mod pins;
mod state;
#[cfg(test)]
mod tests;

use abi::gpio::{Function, PinStatus, Pull};
use abi::interrupt::{Acknowledged, Line, ProcessorId, Urgency};
use abi::prelude::*;
use events::Events;
use pins::{Pins, Variant};

abi::driver!(
    Controller: Gpio + PinControl + InterruptController,
    compatible = ["brcm,bcm2711-gpio", "brcm,bcm2835-gpio"],
    summary = "Broadcom BCM2711 and BCM2835 pins",
);

/// The interrupts, one for each bank of pins. A fourth tells of all banks once more.
const INTERRUPTS: usize = 3;

struct Controller {
    pins: Pins,
    events: Events,
    /// What the board calls the pins.
    names: Vec<String>,
    _interrupts: Vec<Interrupt>,
}

impl Driver for Controller {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupts = (0..INTERRUPTS).map(|index| resources.interrupt(index)).collect::<Result<_>>()?;
        let variant = match node.compatible() {
            "brcm,bcm2711-gpio" => Variant::Bcm2711,
            _ => Variant::Bcm2835,
        };
        let names = node.property("gpio-line-names").unwrap_or_default().split(|byte| *byte == 0);
        let pins = Pins::new(resources, variant)?;
        pins.registers().silence_events();
        Ok(Self {
            events: Events::default(),
            names: names.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            pins,
            _interrupts: interrupts,
        })
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // The pins stay as they are: devices go on needing them.
        self.pins.registers().silence_events();
    }
}

impl Gpio for Controller {
    fn pins(&self) -> u32 {
        self.pins.count()
    }

    fn status(&self, pin: u32) -> Result<PinStatus> {
        self.pins.check(pin)?;
        Ok(PinStatus {
            name: self.names.get(pin as usize).cloned().unwrap_or_default(),
            function: self.pins.function(pin),
            pull: self.pins.pull(pin),
            is_high: self.pins.is_high(pin),
        })
    }

    fn is_high(&self, pin: u32) -> Result<bool> {
        self.pins.check(pin)?;
        Ok(self.pins.is_high(pin))
    }

    fn set_level(&self, pin: u32, is_high: bool) -> Result<()> {
        self.pins.check(pin)?;
        self.pins.set_level(pin, is_high);
        Ok(())
    }

    fn set_function(&self, pin: u32, function: Function) -> Result<()> {
        self.pins.check(pin)?;
        self.pins.set_function(pin, function)
    }

    fn set_pull(&self, pin: u32, pull: Pull) -> Result<()> {
        self.pins.check(pin)?;
        self.pins.set_pull(pin, pull);
        Ok(())
    }
}

impl PinControl for Controller {
    fn apply(&self, state: &[Node]) -> Result<()> {
        state.iter().try_for_each(|node| state::apply(&self.pins, node))
    }
}

impl InterruptController for Controller {
    fn translate(&self, specifier: &[u32]) -> Result<Line> {
        self.events.translate(&self.pins, specifier)
    }

    fn start_processor(&self) -> Result<()> {
        Ok(())
    }

    fn enable(&self, line: Line, _urgency: Urgency) -> Result<()> {
        self.events.enable(self.pins.registers(), line.number);
        Ok(())
    }

    fn disable(&self, number: u32) {
        self.events.disable(self.pins.registers(), number);
    }

    fn signal(&self, _processor: ProcessorId) {}

    fn acknowledge(&self) -> Option<Acknowledged> {
        self.events.acknowledge(self.pins.registers())
    }

    fn end(&self, acknowledged: Acknowledged) {
        self.events.end(self.pins.registers(), acknowledged.token);
    }
}
