//! The Lockstep kernel: memory, exceptions, threads and time, the device tree, the loading and binding of modules, and
//! the registry of what they provide.
//!
//! It drives no device but the architected timer, and for its first lines a console. Everything else is a module:
//!
//! - [`chance`] makes each boot different;
//! - [`machine`] reads what the boot loader handed over, [`memory`] takes over what the tree lists;
//! - [`binding`] matches nodes to modules, [`modules`] loads them, [`resources`] resolves what they need;
//! - [`registry`] knows what they publish, [`interrupt`] passes interrupts on, [`thread`] runs their threads;
//! - [`export`] is all of that as modules see it, declared in `abi::kernel`.
#![no_std]
#![feature(alloc_error_handler, allocator_api, lang_items, panic_can_unwind)]
#![allow(internal_features, reason = "what unwinds is told to rustc, and caught, by its own means only")]

extern crate alloc;

mod binding;
mod chance;
mod export;
mod failure;
mod interrupt;
mod log;
mod machine;
mod memory;
mod modules;
mod processor;
mod registry;
mod resources;
mod supervision;
mod thread;
mod time;
mod trace;

use ::log::{LevelFilter, error, info};
use abi::system::DeviceState;
use abi::thread::Priority;
use alloc::boxed::Box;
use alloc::format;
use core::slice;
use devicetree::Tree;
use loader::exports::ExportTable;

/// What `boot` hands over.
pub struct Handover {
    /// Where the device tree is mapped at first.
    pub device_tree: usize,
    /// The device tree's physical address.
    pub device_tree_physical: usize,
    /// Where the image was loaded.
    pub image_physical: usize,
    /// What modules are linked for.
    pub contract: &'static Contract,
}

/// What modules are linked for. The build makes it.
pub struct Contract {
    /// What they may call.
    pub exports: &'static ExportTable,
    /// What they must have been built with.
    pub stamp: &'static str,
    /// The packed description of `abi` (see [`stamp::description`]).
    pub abi: &'static [u8],
    /// The public key that they must have been signed for (RFC 8032, section 5.1.5).
    pub key: [u8; 32],
}

/// Starts the system. Runs on the boot stack, with the boot tables, interrupts masked; becomes the idle thread.
pub fn main(handover: Handover) -> ! {
    processor::initialise(0);
    thread::prepare();
    processor::exceptions::install();
    memory::layout::set_image_physical(handover.image_physical);
    // SAFETY: first thing, and only here.
    unsafe { memory::heap::initialise() };
    time::initialise();
    log::initialise();
    thread::initialise();

    // SAFETY: `start.s` has mapped it there.
    let tree = match Tree::parse(unsafe { early_tree(handover.device_tree) }) {
        Ok(tree) => tree,
        Err(error) => panic!("the boot loader's device tree can't be used: {error}"),
    };
    // SAFETY: the boot tables are in use, and this is the only call.
    if let Err(error) = unsafe { memory::initialise(&tree, &handover) } {
        panic!("memory can't be taken over: {error}");
    }
    if let Err(error) = processor::start::guard_exception_stack() {
        panic!("there is no stack for exceptions: {error}");
    }
    // The window is gone; from here on the tree is read through the linear map.
    let place = handover.device_tree_physical..handover.device_tree_physical + tree.size();
    drop(tree);
    // SAFETY: memory that was reserved for the tree, which nobody writes to.
    let tree = match Tree::parse(unsafe { memory::reserved_bytes(place) }) {
        Ok(tree) => tree,
        Err(error) => panic!("the device tree has changed while it was read: {error}"),
    };
    if let Err(error) = thread::spawn("init", None, Priority::Urgent, Box::new(move || start(tree, &handover))) {
        panic!("the first thread can't be started: {error}");
    }
    // SAFETY: the vectors are installed, and no lock is held.
    unsafe { processor::unmask_interrupts() };
    thread::idle()
}

/// The device tree as it is mapped at first.
///
/// # Safety
/// `address` must be where `start.s` has mapped it, and the boot tables be in use.
unsafe fn early_tree(address: usize) -> &'static [u8] {
    // SAFETY: the window that the caller speaks of has at least the tree's size, and nobody writes to it.
    let early = |size| unsafe { slice::from_raw_parts(address as *const u8, size) };
    // The header's second word is the size of it all (Devicetree Specification 0.4, section 5.2).
    let size = early(8).last_chunk().map_or(0, |size| u32::from_be_bytes(*size));
    early(size as usize)
}

/// The first thread: binds what is there, starts the services, and says so.
fn start(tree: Tree<'static>, handover: &Handover) {
    early_console(&tree);
    let machine = machine::initialise(tree, handover);
    use_arguments(machine);
    let memory = memory::status(0);
    info!(
        "{}, {} MiB of memory, kernel at {:#x}",
        machine.tree.root().string("model").ok().flatten().unwrap_or("a machine without a name"),
        memory.total >> 20,
        handover.image_physical
    );
    info!("{}", chance::Hardening);
    if let Err(error) = supervision::start(machine) {
        error!("modules that fail can't be started again: {error}");
    }
    binding::settle(machine);
    if modules::status().is_empty() && !machine.modules().is_empty() {
        error!("no module of the initramfs could be loaded: was it built together with this kernel?");
    }
    // This thread is the most urgent, and so far threads run on this processor alone: what services have to say comes
    // after it.
    announce();
    thread::schedule::spread();
    // The console belongs to people now; what they should know at once still comes through.
    if machine.argument("log").is_none_or(|level| level.parse::<LevelFilter>().is_err()) {
        log::set_shown(LevelFilter::Warn);
    }
}

/// Says that the first round of binding has settled.
fn announce() {
    let modules = modules::status().len();
    let bound = registry::devices().iter().filter(|device| device.state == DeviceState::Bound).count();
    let now = time::now().as_nanoseconds() / 1000;
    log::announce(&format!(
        "lockstep: ready {}.{:06} s after reset, {modules} modules loaded, {bound} devices bound",
        now / 1_000_000,
        now % 1_000_000
    ));
}

fn use_arguments(machine: &machine::Machine) {
    match machine.argument("panic") {
        None | Some("halt") => {}
        Some("poweroff") => failure::set_afterwards(failure::Afterwards::PowerOff),
        Some("reboot") => failure::set_afterwards(failure::Afterwards::Reboot),
        Some(other) => error!("bootargs: panic={other}: expected halt, poweroff or reboot"),
    }
    if let Some(level) = machine.argument("log") {
        match level.parse::<LevelFilter>() {
            Ok(level) => log::set_shown(level),
            Err(_) => error!("bootargs: log={level}: expected off, error, warn, info, debug or trace"),
        }
    }
}

/// Shows the log from now on, if the tree's standard output is a UART that the kernel knows; where the tree
/// names none, on the first of those. One that is not the standard output may be connected to something else.
fn early_console(tree: &Tree<'_>) {
    let standard = match tree.standard_output() {
        Ok(Some(output)) => Some(output.node),
        Ok(None) => tree.nodes().find(log::EarlyConsole::is_known),
        Err(_) => None,
    };
    let Some(node) = standard.filter(log::EarlyConsole::is_known) else { return };
    let Ok(Some(range)) = node.registers().map(|ranges| ranges.first().copied()) else { return };
    match log::EarlyConsole::new(&node, memory::physical_range(&range)) {
        Ok(console) => log::use_early_console(console),
        Err(error) => error!("{}: {error}", node.path()),
    }
}
