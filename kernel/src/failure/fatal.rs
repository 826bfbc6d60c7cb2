//! The end of everything: the kernel itself has failed.

use super::record::Backtrace;
use super::unwinding::Machine;
use crate::processor::exceptions::{Cause, Frame};
use crate::{log, memory, processor, thread};
use abi::power::Power;
use abi::sync::Lock;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use unwinder::{Place, Registers, Walk};

/// What happens after a fatal error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// The machine stands still.
    #[default]
    Halt,
    /// It is switched off.
    PowerOff,
    /// It is reset.
    Reboot,
}

static AFTERWARDS: Lock<Afterwards> = Lock::new(Afterwards::Halt);

/// Chooses what happens after a fatal error: `panic=halt|poweroff|reboot` in `bootargs`.
pub fn set_afterwards(afterwards: Afterwards) {
    *AFTERWARDS.lock() = afterwards;
}

/// Ends everything because of an exception in the kernel, or one that for this reason can't be unwound.
pub fn fatal_exception(cause: &Cause, reason: Option<&dyn fmt::Display>, frame: &Frame) -> ! {
    let registers = &frame.registers;
    match reason {
        Some(reason) => fatal(
            format_args!("exception: {cause}\nit can't be unwound: {reason}\n{frame}"),
            registers,
            Place::Instruction,
        ),
        None => fatal(format_args!("exception: {cause}\n{frame}"), registers, Place::Instruction),
    }
}

/// Ends everything because of what happened at these registers. Says it first, with neither memory from the heap nor a lock
/// that others hold; for names it takes the heap, if that isn't what has failed.
pub fn fatal(what: fmt::Arguments<'_>, registers: &Registers, place: Place) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    core::mem::forget(processor::InterruptsMasked::new());
    if DYING.swap(true, Ordering::Relaxed) {
        // Telling it failed in turn, and would again.
        processor::halt();
    }
    let has_heap = memory::heap::is_usable();
    let mut console = log::Emergency;
    // Writing there can't fail.
    let _ = write!(console, "\nlockstep: fatal error");
    if has_heap {
        let _ = write!(console, " in thread '{}'", thread::name());
    }
    let _ = write!(console, "\n{what}\nbacktrace:\n{}", backtrace(registers, place));
    let afterwards = if has_heap { *AFTERWARDS.lock() } else { Afterwards::Halt };
    let end = match afterwards {
        Afterwards::Halt => "halted",
        Afterwards::PowerOff => "powering off",
        Afterwards::Reboot => "rebooting",
    };
    let _ = writeln!(console, "lockstep: {end}");
    if afterwards != Afterwards::Halt
        && let Some(power) = abi::registry::first::<dyn Power>()
    {
        let result = match afterwards {
            Afterwards::Halt => Ok(()),
            Afterwards::PowerOff => power.call(|power| power.power_off()).flatten(),
            Afterwards::Reboot => power.call(|power| power.reboot()).flatten(),
        };
        if let Err(error) = result {
            let _ = writeln!(console, "lockstep: {error}");
        }
    }
    processor::halt()
}

/// The frames that led to these registers, as far as they can be followed.
fn backtrace(registers: &Registers, place: Place) -> Backtrace {
    let mut backtrace = Backtrace::new();
    let machine = Machine::of(registers.stack_pointer);
    let mut walk = Walk::new(&machine, registers.clone(), place);
    while let Ok(Some(frame)) = walk.next_frame() {
        backtrace.push(&frame);
    }
    backtrace
}
