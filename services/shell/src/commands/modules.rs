//! Commands about modules and devices.

use super::Failure;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::prelude::*;
use abi::system::{self, DeviceState};

pub fn lsmod(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let columns = [Column::Left("Module"), Column::Right("Size"), Column::Left("Text at"), Column::Left("Used by")];
    let mut table = Table::new(columns);
    for module in system::modules() {
        let users = module.users.join(" ");
        table.row([module.name, module.size.to_string(), format!("{:#x}", module.text), users]);
    }
    write!(terminal, "{table}");
    Ok(())
}

pub fn lsdev(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let columns = [Column::Left("Node"), Column::Left("Compatible"), Column::Left("Module"), Column::Left("State")];
    let mut table = Table::new(columns);
    for device in system::devices() {
        let module = device.module.unwrap_or_else(|| "-".into());
        table.row([device.path, device.compatible.join(" "), module, state(&device.state)]);
    }
    write!(terminal, "{table}");
    Ok(())
}

/// The state and, for a device without a driver, the reason.
fn state(state: &DeviceState) -> String {
    match state {
        DeviceState::Bound => "bound".into(),
        DeviceState::Kernel => "used by the kernel".into(),
        DeviceState::Empty => "empty: its driver found nothing there".into(),
        DeviceState::Disabled(status) => format!("disabled: its status is \"{status}\""),
        DeviceState::Unclaimed => "unclaimed: no module claims it".into(),
        DeviceState::Deferred(what) => format!("deferred: waiting for {what}"),
        DeviceState::Released => "released: its module was removed".into(),
        DeviceState::Failed(reason) => format!("failed: {reason}"),
    }
}

pub fn modinfo(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let pairs = system::module_information(name(arguments)?)?;
    let width = pairs.iter().map(|(key, _)| key.len() + 1).max().unwrap_or(0);
    for (key, value) in pairs {
        writeln!(terminal, "{:width$} {value}", key + ":");
    }
    Ok(())
}

pub fn insmod(_terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    Ok(system::load_module(name(arguments)?)?)
}

pub fn rmmod(_terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    match name(arguments)? {
        // It would wait for this very thread to end.
        env!("CARGO_PKG_NAME") => Err(Failure::Missing("the shell can't remove itself")),
        name => Ok(system::unload_module(name)?),
    }
}

/// The one argument of most commands about modules.
fn name<'a>(arguments: &[&'a str]) -> Result<&'a str, Failure> {
    match arguments {
        [name] => Ok(name),
        _ => Err(Failure::Usage),
    }
}
