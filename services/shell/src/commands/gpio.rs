//! Pins, one by one.

use super::Failure;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::gpio::{Function, PinStatus, Pull};
use abi::prelude::*;
use abi::registry;

/// `gpio` lists the pins; `gpio PIN WORD...` does what the words say to one, in order, and shows it.
pub fn gpio(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let gpio: Handle<dyn Gpio> =
        registry::first().ok_or(Failure::Missing("the machine has no pins: no module publishes any"))?;
    let pins = match arguments {
        [] => 0..gpio.call(|gpio| gpio.checked_pins())??,
        [pin, words @ ..] => {
            let pin = pin.parse().map_err(|_| Failure::Usage)?;
            for word in words {
                set(gpio, pin, word)?;
            }
            pin..pin + 1
        }
    };
    let mut table = Table::new([
        Column::Right("Pin"),
        Column::Left("Name"),
        Column::Left("Function"),
        Column::Left("Pull"),
        Column::Left("Level"),
    ]);
    for pin in pins {
        let PinStatus { name, function, pull, is_high } = gpio.call(|gpio| gpio.status(pin))??;
        let function = match function {
            Function::Input => "in".to_owned(),
            Function::Output => "out".to_owned(),
            Function::Alternate(number) => format!("alt{number}"),
        };
        let pull = match pull {
            Some(Pull::None) => "none",
            Some(Pull::Down) => "down",
            Some(Pull::Up) => "up",
            None => "-",
        };
        let level = if is_high { "high" } else { "low" };
        table.row([pin.to_string(), name, function, pull.to_owned(), level.to_owned()]);
    }
    write!(terminal, "{table}");
    Ok(())
}

fn set(gpio: Handle<dyn Gpio>, pin: u32, word: &str) -> Result<(), Failure> {
    let alternate = || word.strip_prefix("alt")?.parse().ok().map(Function::Alternate);
    let done = match word {
        "in" => gpio.call(|gpio| gpio.set_function(pin, Function::Input)),
        "out" => gpio.call(|gpio| gpio.set_function(pin, Function::Output)),
        "high" => gpio.call(|gpio| gpio.set_level(pin, true)),
        "low" => gpio.call(|gpio| gpio.set_level(pin, false)),
        "up" => gpio.call(|gpio| gpio.set_pull(pin, Pull::Up)),
        "down" => gpio.call(|gpio| gpio.set_pull(pin, Pull::Down)),
        "none" => gpio.call(|gpio| gpio.set_pull(pin, Pull::None)),
        _ => {
            let function = alternate().ok_or(Failure::Usage)?;
            gpio.call(|gpio| gpio.set_function(pin, function))
        }
    };
    Ok(done??)
}
