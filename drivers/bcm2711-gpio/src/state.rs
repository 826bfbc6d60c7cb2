//! States of pins as the device tree describes them: Linux binding `pinctrl/brcm,bcm2835-gpio.txt`, which has properties of
//! its own and the common ones (`pinctrl/pincfg-node.yaml`, `pinctrl/pinmux-node.yaml`).

use crate::pins::{self, Pins};
use abi::gpio::{Function, Pull};
use abi::prelude::*;

/// Sets the pins that a node lists, if it lists any.
pub fn apply(pins: &Pins, node: &Node) -> Result<()> {
    let wrong = |what: &str| Error::Invalid(format!("{what} of {} makes no sense", node.path()));
    if let Some(listed) = node.property("brcm,pins") {
        let listed = cells(listed);
        let pulls = cells(node.property("brcm,pull").unwrap_or_default());
        for (index, pin) in listed.into_iter().enumerate() {
            pins.check(pin)?;
            // One for all, or one for each.
            if let Some(pull) = if pulls.len() == 1 { pulls.first() } else { pulls.get(index) } {
                let pull = [Pull::None, Pull::Down, Pull::Up].get(*pull as usize);
                pins.set_pull(pin, *pull.ok_or_else(|| wrong("brcm,pull"))?);
            }
            if let Some(code) = node.u32("brcm,function") {
                if code > 7 {
                    return Err(wrong("brcm,function"));
                }
                pins.set_function(pin, pins::decode(code))?;
            }
        }
    }
    if let Some(listed) = node.property("pins") {
        let function = match node.string("function") {
            Some(name) => Some(function(name).ok_or_else(|| wrong("function"))?),
            None => None,
        };
        for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let number = core::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("gpio")?.parse().ok());
            let pin = number.ok_or_else(|| wrong("pins"))?;
            pins.check(pin)?;
            let is_asked = |name| node.property(name).is_some();
            let pulls = [("bias-disable", Pull::None), ("bias-pull-down", Pull::Down), ("bias-pull-up", Pull::Up)];
            if let Some((_, pull)) = pulls.into_iter().find(|(name, _)| is_asked(name)) {
                pins.set_pull(pin, pull);
            }
            // The level comes before the output.
            let levels = [("output-low", false), ("output-high", true)];
            if let Some((_, is_high)) = levels.into_iter().find(|(name, _)| is_asked(name)) {
                pins.set_level(pin, is_high);
                pins.set_function(pin, Function::Output)?;
            }
            if let Some(function) = function {
                pins.set_function(pin, function)?;
            }
        }
    }
    Ok(())
}

/// The function of this name.
fn function(name: &str) -> Option<Function> {
    match name {
        "gpio_in" => Some(Function::Input),
        "gpio_out" => Some(Function::Output),
        name => name.strip_prefix("alt")?.parse().ok().map(Function::Alternate),
    }
}

fn cells(value: &[u8]) -> Vec<u32> {
    value.as_chunks().0.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
}
