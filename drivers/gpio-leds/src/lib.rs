//! LEDs at pins.
//!
//! Binding: Linux, `leds/leds-gpio.yaml`. Of the triggers that say what an LED shows, two need no other device: `default-on`
//! and `heartbeat`, which blinks for as long as threads run.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::gpio::Function;
use abi::prelude::*;
use abi::{thread, time};

abi::driver!(Leds, compatible = ["gpio-leds"], summary = "LEDs at pins");

/// How long the heartbeat's LED is on, and off.
const BEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(900));

struct Leds;

/// An LED.
#[derive(Clone, Copy)]
struct Led {
    gpio: Handle<dyn Gpio>,
    pin: u32,
    is_active_low: bool,
}

impl Driver for Leds {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let mut beating = Vec::new();
        let (mut found, mut missing) = (0, Ok(()));
        for child in resources.children() {
            let led = match Led::find(resources, &child) {
                Ok(led) => led,
                // One controller may never come: that is no reason to do without the other LEDs.
                Err(error) => {
                    missing = Err(error);
                    continue;
                }
            };
            found += 1;
            match (child.string("linux,default-trigger"), child.string("default-state")) {
                (Some("heartbeat"), _) => beating.push(led),
                (Some("default-on"), _) | (_, Some("on")) => led.show(true)?,
                (_, Some("keep")) => {}
                _ => led.show(false)?,
            }
        }
        if found == 0 {
            missing?;
            info!("{} has no LEDs", node.path());
        }
        if !beating.is_empty() {
            // It ends when the module is removed, or when it has no LED any more.
            thread::spawn("heartbeat", move || while beat(&beating).is_ok() {})?;
        }
        Ok(Self)
    }
}

impl Led {
    /// The LED that a node describes.
    fn find(resources: &Resources, node: &Node) -> Result<Self> {
        let references = resources.references(node, "gpios", "#gpio-cells")?;
        let reference = references.first().ok_or_else(|| Error::Invalid(format!("{} has no gpios", node.path())))?;
        let &[pin, flags] = reference.arguments() else {
            return Err(Error::Invalid(format!("gpios of {} should have two cells behind the pointer", node.path())));
        };
        Ok(Self { gpio: reference.find()?, pin, is_active_low: flags & 1 != 0 })
    }

    fn show(&self, is_on: bool) -> Result<()> {
        self.gpio.call(|gpio| {
            gpio.set_level(self.pin, is_on != self.is_active_low)?;
            gpio.set_function(self.pin, Function::Output)
        })?
    }
}

fn beat(leds: &[Led]) -> Result<()> {
    for (is_on, duration) in [(true, BEAT.0), (false, BEAT.1)] {
        for led in leds {
            match led.show(is_on) {
                // The pin's driver will be back.
                Ok(()) | Err(Error::Failed(_) | Error::Restarting) => {}
                Err(error) => return Err(error),
            }
        }
        time::sleep(duration)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
