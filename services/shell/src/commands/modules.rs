//! Commands about modules and devices.

use super::Failure;
use crate::table::{Column, Table, WIDEST, one_line};
use crate::terminal::Terminal;
use abi::prelude::*;
use abi::system::{self, Assignment, Dependents, DeviceState, LoadReport, ModuleStatus};

pub fn lsmod(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let columns = [Column::Left("Module"), Column::Right("Size"), Column::Left("Text at"), Column::Left("Used by")];
    let mut table = Table::new(columns);
    for module in system::modules() {
        let users = [module.needed_by, module.drives].concat().join(" ");
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
        DeviceState::NotStarted(reason) => format!("not started: {reason}"),
        DeviceState::Unclaimed => "unclaimed: no module claims it".into(),
        DeviceState::Deferred(what) => format!("deferred: waiting for {what}"),
        DeviceState::Released => "released: its module was removed".into(),
        DeviceState::Failed(reason) => format!("failed: {reason}"),
    }
}

pub fn modinfo(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["-v"] => load_reports(terminal),
        ["-v", name] => {
            information(terminal, name)?;
            match system::modules().into_iter().find(|module| module.name == *name) {
                Some(module) => load_report(terminal, &module.report),
                None => writeln!(terminal, "It isn't loaded, so there is nothing to tell of its loading."),
            }
        }
        [name] if !name.starts_with('-') => information(terminal, name)?,
        _ => return Err(Failure::Usage),
    }
    Ok(())
}

/// What a module says of itself.
fn information(terminal: &mut Terminal, name: &str) -> Result<(), Failure> {
    let facts = system::module_information(name)?;
    let width = facts.iter().map(|fact| fact.name.len() + 1).max().unwrap_or(0).min(WIDEST);
    for fact in facts {
        writeln!(terminal, "{:width$} {}", one_line(fact.name) + ":", one_line(fact.value));
    }
    Ok(())
}

/// What loading one module took.
fn load_report(terminal: &mut Terminal, report: &LoadReport) {
    let mut table = Table::new([Column::Left("Loaded"), Column::Right("")]);
    for (what, number) in [
        ("bytes of the file", report.file),
        ("bytes of text", report.text),
        ("bytes of constants", report.constants),
        ("bytes of data", report.data),
        ("sections", report.sections),
        ("imports", report.imports),
        ("relocations", report.relocations),
        ("veneers", report.veneers),
        ("erratum fixes", report.erratum_fixes),
        ("global offset table", report.offset_table_entries),
    ] {
        table.row([what.into(), number.to_string()]);
    }
    for step in &report.steps {
        table.row([format!("us to {}", step.name), step.time.as_micros().to_string()]);
    }
    table.row(["us in all".into(), report.time().as_micros().to_string()]);
    write!(terminal, "{table}");
}

/// What loading each module took, a line for each.
fn load_reports(terminal: &mut Terminal) {
    let numbers = ["File", "Text", "Constants", "Data", "Sections", "Relocations", "Imports", "us"].map(Column::Right);
    let [file, text, constants, data, sections, relocations, imports, time] = numbers;
    let (module, steps) = (Column::Left("Module"), Column::Left("us of each step"));
    let mut table = Table::new([module, file, text, constants, data, sections, relocations, imports, time, steps]);
    for module in system::modules() {
        let report = &module.report;
        let LoadReport { file, text, constants, data, sections, relocations, imports, .. } = report;
        let [file, text, constants, data, sections, relocations, imports] =
            [file, text, constants, data, sections, relocations, imports].map(ToString::to_string);
        let time = report.time().as_micros().to_string();
        let steps: Vec<_> =
            report.steps.iter().map(|step| format!("{} {}", step.name, step.time.as_micros())).collect();
        let steps = steps.join(", ");
        table.row([module.name, file, text, constants, data, sections, relocations, imports, time, steps]);
    }
    write!(terminal, "{table}");
}

pub fn insmod(_terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (replaces, arguments) = match arguments {
        ["--replace", rest @ ..] => (true, rest),
        _ => (false, arguments),
    };
    let (name, parameters) = arguments.split_first().ok_or(Failure::Usage)?;
    let parameters = assignments(parameters);
    if replaces {
        return Ok(system::replace_module(name, &parameters)?);
    }
    Ok(system::load_module(name, &parameters)?)
}

/// `NAME=VALUE` or a bare `NAME` each.
fn assignments(words: &[&str]) -> Vec<Assignment> {
    let assignment = |word: &&str| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        Assignment { name: name.into(), value: value.into() }
    };
    words.iter().map(assignment).collect()
}

/// As `insmod`, which loads what a module depends on as well, but content when it is loaded already; or as `rmmod`.
pub fn modprobe(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        ["-r" | "--remove", name] => rmmod(terminal, &[name]),
        [name, parameters @ ..] if !name.starts_with('-') => {
            // Dashes and underscores are the same in a module's name.
            let is_meant = |module: &ModuleStatus| module.name.replace('_', "-") == name.replace('_', "-");
            if system::modules().iter().any(is_meant) {
                return Ok(());
            }
            Ok(system::load_module(name, &assignments(parameters))?)
        }
        _ => Err(Failure::Usage),
    }
}

pub fn rmmod(_terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let (name, dependents) = match arguments {
        ["--force" | "-f", name] | [name, "--force" | "-f"] => (*name, Dependents::Stop),
        [name] => (*name, Dependents::Keep),
        _ => return Err(Failure::Usage),
    };
    match name {
        // It would wait for this very thread to end.
        env!("CARGO_PKG_NAME") => Err(Failure::Missing("the shell can't remove itself")),
        name => Ok(system::unload_module(name, dependents)?),
    }
}
