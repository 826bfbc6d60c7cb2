//! The way of a failure from where it happens to who goes on after it.

use super::fatal::{fatal, fatal_exception};
use super::place;
use super::record::{Backtrace, Note};
use crate::memory::layout;
use crate::processor::exceptions::{self, Cause};
use crate::thread::calls;
use crate::{memory, modules};
use core::fmt;
use core::ops::Range;
use unwinder::{Error, Frame, Landing, Place, Registers, Section, System, Tables, Walk, advance, search};

core::arch::global_asm!(include_str!("unwinding.s"));

/// How much of the stack has to be free below a landing pad: for what it drops, and for `_Unwind_Resume`, which takes
/// 6 KiB, and an interrupt meanwhile.
const ROOM: usize = 14 << 10;

/// The machine as the unwinder sees it: all code there is, and one stack.
pub struct Machine {
    stack: Range<usize>,
}

impl Machine {
    /// With the stack that a stack pointer points into, or just below, as after an overflow.
    pub fn of(stack_pointer: u64) -> Self {
        Self { stack: layout::stack_of(stack_pointer as usize).unwrap_or_default() }
    }
}

/// Memory that only its address is known of.
///
/// # Safety
/// It has to be mapped and unchanged as long as the section is used.
unsafe fn section<'a>(range: Range<usize>) -> Section<'a> {
    // SAFETY: the caller answers for it.
    let bytes = unsafe { core::slice::from_raw_parts(range.start as *const u8, range.len()) };
    Section { address: range.start as u64, bytes }
}

impl System for Machine {
    fn tables(&self, address: u64) -> Option<Tables<'_>> {
        let tables = if memory::image_text().contains(&(address as usize)) {
            memory::image_unwind_tables()
        } else {
            modules::unwind_tables(address as usize)?
        };
        // SAFETY: constants of the image, or of a module that this thread executes and that therefore stays where it is.
        let section = |range| unsafe { section(range) };
        Some(Tables {
            frames: section(tables.frames),
            index: tables.index.map(section),
            actions: section(tables.actions),
        })
    }

    fn word(&self, address: u64) -> Option<u64> {
        let address = address as usize;
        let is_inside = self.stack.contains(&address) && address.is_multiple_of(8);
        // SAFETY: aligned, and within a stack, which is a multiple of 8 long and in use. Whose word it is doesn't matter:
        // their owners are the frames that are unwound.
        is_inside.then(|| unsafe { (address as *const u64).read_volatile() })
    }

    fn is_expendable(&self, address: u64) -> bool {
        is_module(address)
    }

    fn has_room(&self, stack_pointer: u64) -> bool {
        stack_pointer as usize >= self.stack.start + ROOM
    }
}

/// Whether an address is in a module's code.
fn is_module(address: u64) -> bool {
    modules::unwind_tables(address as usize).is_some()
}

/// How a failure gets to where it leads.
struct Way {
    landing: Landing,
    backtrace: Backtrace,
    /// It leads through a module's code.
    through_module: bool,
    /// Why it can't be unwound. It is left as it is then, with all that it would have dropped.
    obstacle: Option<Error>,
}

/// Finds the way from these registers to where the running thread's innermost guarded call has been made.
///
/// # Errors
/// When there is none.
fn find_way(registers: &Registers, place: Place) -> Result<Way, Error> {
    let landing = calls::landing().ok_or(Error::NotGuarded)?;
    let machine = Machine::of(landing.stack_pointer);
    let mut backtrace = Backtrace::new();
    let mut through_module = false;
    let obstacle = search(&machine, registers, place, &landing, |frame| {
        backtrace.push(frame);
        through_module |= is_module(frame.instruction());
    });
    let Err(obstacle) = obstacle else { return Ok(Way { landing, backtrace, through_module, obstacle: None }) };
    // The kernel's functions are only left without being unwound when they have just been called with a stack pointer that
    // is none, or are about to end what a module has done.
    let is_lost = !machine.stack.contains(&(registers.stack_pointer as usize))
        || !memory::image_text().contains(&(registers.program_counter as usize));
    if matches!(obstacle, Error::MustNotUnwind(_)) || !(through_module || is_lost) || calls::holds_kernel_lock() {
        return Err(obstacle);
    }
    Ok(Way { landing, backtrace, through_module: true, obstacle: Some(obstacle) })
}

/// Takes the first step; returns the registers to go on with.
fn set_out(registers: &Registers, place: Place, way: Way, mut note: Note) -> Registers {
    note.set_backtrace(way.backtrace);
    if let Some(obstacle) = &way.obstacle {
        note.abandon(obstacle);
    }
    let exception = note.set_landing(&way.landing).into_raw();
    calls::poison_locks();
    match way.obstacle {
        Some(_) => land(&way.landing, exception),
        None => step(registers, place, exception),
    }
}

/// The registers with which the next code on the way of a failure is entered.
fn step(registers: &Registers, place: Place, exception: *mut u8) -> Registers {
    let Some(landing) = calls::landing() else { lost(exception, registers, place, Error::NotGuarded) };
    match advance(&Machine::of(landing.stack_pointer), registers, place, &landing, exception as u64) {
        Ok(next) if next.program_counter == landing.program_counter => land(&landing, exception),
        Ok(next) => next,
        Err(error) if matches!(error, Error::MustNotUnwind(_)) || calls::holds_kernel_lock() => {
            lost(exception, registers, place, error)
        }
        // A cleanup has damaged the frames.
        Err(_) => land(&landing, exception),
    }
}

/// The registers to go to a landing with, by way of `failure_land`.
fn land(landing: &Landing, exception: *mut u8) -> Registers {
    calls::land();
    let mut registers = landing.enter(exception as u64);
    let stack = Machine::of(landing.stack_pointer).stack;
    let is_on_it = stack.contains(&(landing.stack_pointer as usize));
    registers.general[19] = landing.program_counter;
    registers.general[20] = if is_on_it { stack.start as u64 } else { landing.stack_pointer };
    registers.program_counter = failure_land as *const () as u64;
    registers
}

/// A failure leads nowhere.
fn lost(exception: *mut u8, registers: &Registers, place: Place, error: Error) -> ! {
    let note = Note::from_raw(exception);
    fatal(format_args!("{}\nit can't be unwound: {error}", note.text()), registers, place)
}

unsafe extern "C" {
    /// Clears the stack, and goes to where x19 says.
    fn failure_land();
}

unsafe extern "C-unwind" {
    /// Calls `function` with the argument and the registers of who calls this, and goes on with what it makes of them.
    fn failure_with_registers(argument: *mut u8, function: extern "C" fn(*mut u8, &mut Registers)) -> !;
}

/// Unwinds the caller to who goes on, or ends everything.
pub fn raise(note: Note) -> ! {
    extern "C" fn start(exception: *mut u8, registers: &mut Registers) {
        calls::unwinding(|| match find_way(registers, Place::Call) {
            Ok(way) => *registers = set_out(registers, Place::Call, way, Note::from_raw(exception)),
            Err(error) => lost(exception, registers, Place::Call, error),
        });
    }
    // SAFETY: `start` leaves registers with which a landing pad wants to be entered.
    unsafe { failure_with_registers(note.into_raw(), start) }
}

/// As [`raise`], for a panic that must not unwind the function that called for it: if that is a module's, it is left without
/// its consent, and its callers are unwound.
pub fn raise_past_caller(note: Note) -> ! {
    extern "C" fn start(exception: *mut u8, registers: &mut Registers) {
        calls::unwinding(|| {
            let caller = caller_of_panic(registers).filter(|caller| is_module(caller.instruction()));
            let Some(Frame { registers: caller, .. }) = caller else {
                lost(exception, registers, Place::Call, Error::MustNotUnwind(registers.program_counter));
            };
            match find_way(&caller, Place::Call) {
                Ok(way) => *registers = set_out(&caller, Place::Call, way, Note::from_raw(exception)),
                Err(error) => lost(exception, registers, Place::Call, error),
            }
        });
    }
    // SAFETY: `start` leaves registers with which a landing pad wants to be entered.
    unsafe { failure_with_registers(note.into_raw(), start) }
}

/// The frame of who called a function of `core::panicking`, which has called the panic handler.
fn caller_of_panic(registers: &Registers) -> Option<Frame> {
    let machine = Machine::of(registers.stack_pointer);
    let mut walk = Walk::new(&machine, registers.clone(), Place::Call);
    let mut is_panicking = false;
    while let Ok(Some(frame)) = walk.next_frame() {
        let was_panicking = is_panicking;
        is_panicking = place::is_panicking(frame.instruction() as usize);
        if was_panicking && !is_panicking {
            return Some(frame);
        }
    }
    None
}

/// Where `_Unwind_Resume` leads, with the registers of the landing pad that calls it when it is done.
#[unsafe(no_mangle)]
extern "C" fn failure_resume(exception: *mut u8, registers: &mut Registers) {
    calls::unwinding(|| *registers = step(registers, Place::Call, exception));
}

/// Bits of the saved processor state (SPSR_EL1; Arm ARM C5.2.19) that would be in the way of a landing pad: single step,
/// illegal execution state, and the kind of branch just taken.
const STATE_TO_CLEAR: u64 = 1 << 21 | 1 << 20 | 0b11 << 10;
/// The bit that tells that interrupts were masked. (Fast ones always are.)
const INTERRUPTS_MASKED: u64 = 1 << 7;

/// Has what an exception interrupted unwind when it goes on, if that leads through a module, or is in a call of one.
fn unwind_interrupted(frame: &mut exceptions::Frame, what: fmt::Arguments<'_>) -> Result<(), Error> {
    let way = find_way(&frame.registers, Place::Instruction)?;
    // What the kernel does with what a module has left in registers is the module's doing, too.
    if !way.through_module && !calls::is_in_call() {
        return Err(Error::NotGuarded);
    }
    frame.registers = set_out(&frame.registers, Place::Instruction, way, Note::new(what));
    frame.state &= !STATE_TO_CLEAR;
    Ok(())
}

/// Ends the code that caused an exception, if it is a module's or was called by one: it unwinds when the exception returns.
/// Otherwise this is the kernel's own, and the end of everything.
pub fn exception(cause: &Cause, frame: &mut exceptions::Frame) {
    let reason: &dyn fmt::Display = if frame.state & INTERRUPTS_MASKED != 0 {
        // It is in the middle of what others must not see.
        &"interrupts are masked"
    } else if calls::holds_kernel_lock() {
        &"a lock of the kernel's is held"
    } else {
        match unwind_interrupted(frame, format_args!("caused an exception: {cause}")) {
            Ok(()) => return,
            Err(error) => &{ error },
        }
    };
    fatal_exception(cause, Some(reason), frame)
}

/// Ends the code that an interrupt came upon, which must be a module's: it unwinds when the interrupt returns. `reason` is
/// the end of the sentence "it was stopped: ".
///
/// # Errors
/// When it can't be ended here: it is the kernel's, or nobody would go on.
pub fn stop(frame: &mut exceptions::Frame, reason: fmt::Arguments<'_>) -> Result<(), Error> {
    if calls::holds_kernel_lock() || !is_module(frame.registers.program_counter) {
        return Err(Error::NotGuarded);
    }
    unwind_interrupted(frame, format_args!("was stopped: {reason}"))
}

/// Ends the code that has called a function of the kernel's, from within that. `reason` as for [`stop`].
pub fn stop_here(reason: fmt::Arguments<'_>) -> ! {
    raise(Note::new(format_args!("was stopped: {reason}")))
}
