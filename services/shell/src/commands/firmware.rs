//! What a board's firmware tells.

use super::Failure;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::firmware::Identity;
use abi::prelude::*;
use abi::registry;

/// Answers as the Raspberry Pi's program of this name does.
pub fn vcgencmd(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let firmware: Handle<dyn Firmware> =
        registry::first().ok_or(Failure::Missing("the machine has no firmware that answers questions"))?;
    match arguments {
        [] => {
            let identity = firmware.call(|firmware| firmware.identity())??;
            let Identity { firmware, revision, serial, mac_address } = identity;
            writeln!(terminal, "revision={revision:x}\nserial={serial:016x}\nmac={mac_address}\nversion={firmware}");
        }
        ["measure_temp"] => {
            let temperature = firmware.call(|firmware| firmware.temperature())??;
            writeln!(terminal, "temp={}.{}'C", temperature / 1000, temperature / 100 % 10);
        }
        ["measure_clock"] => {
            let mut table = Table::new([Column::Right("Number"), Column::Left("Clock"), Column::Right("Hz")]);
            for clock in firmware.call(|firmware| firmware.clocks())?? {
                table.row([clock.number.to_string(), clock.name, clock.hertz.to_string()]);
            }
            write!(terminal, "{table}");
        }
        ["measure_clock", name] => {
            let clocks = firmware.call(|firmware| firmware.clocks())??;
            let unknown = || Error::Invalid(format!("there is no clock `{name}`; measure_clock alone lists them"));
            let clock = clocks.into_iter().find(|clock| clock.name == *name).ok_or_else(unknown)?;
            writeln!(terminal, "frequency({})={}", clock.number, clock.hertz);
        }
        _ => return Err(Failure::Usage),
    }
    Ok(())
}
