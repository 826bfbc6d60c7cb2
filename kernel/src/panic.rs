//! The end of a thread's work, or of the kernel's: panics, fatal exceptions, backtraces.
//!
//! A panic inside [`thread::guarded`] is unwound to it. Any other stops the system, after telling why.

use crate::memory::layout::{PAGE_SIZE, STACK_SLOT, STACKS};
use crate::memory::reserve;
use crate::processor::exceptions::{Cause, Frame};
use crate::{log, memory, modules, processor, thread};
use abi::power::Power;
use abi::sync::Lock;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::alloc::Layout;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use unwinding::custom_eh_frame_finder::{EhFrameFinder, FrameInfo, FrameInfoKind, set_custom_eh_frame_finder};

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

struct Frames;

unsafe extern "C" {
    static __eh_frame_hdr: u8;
}

// SAFETY: what is returned are the tables that the compiler made for the text at `pc`: the image's own by its linker
// script, a module's by the loader, mapped as long as the text is.
unsafe impl EhFrameFinder for Frames {
    fn find(&self, pc: usize) -> Option<FrameInfo> {
        if memory::image_text().contains(&pc) {
            let kind = FrameInfoKind::EhFrameHdr(&raw const __eh_frame_hdr as usize);
            return Some(FrameInfo { text_base: None, kind });
        }
        let eh_frame = modules::eh_frame(pc)?;
        Some(FrameInfo { text_base: None, kind: FrameInfoKind::EhFrame(eh_frame) })
    }
}

/// Lets panics unwind.
pub fn initialise() {
    // It fails only if it has been done before.
    let _ = set_custom_eh_frame_finder(&Frames);
}

/// Somebody asked for memory by a way that has no error, and there is none left for them: a panic, which ends what they do.
#[alloc_error_handler]
fn out_of_memory(layout: Layout) -> ! {
    static EXHAUSTED: &str = "lockstep: the memory is used up, what is kept for the kernel too\n";
    if reserve::is_open() && layout.size() <= PAGE_SIZE {
        // To tell of it takes memory.
        log::emergency(EXHAUSTED);
        processor::halt();
    }
    reserve::open();
    panic!("{}", memory::shortage(layout.size()))
}

#[panic_handler]
fn panicked(information: &PanicInfo<'_>) -> ! {
    reserve::open();
    let message = match information.location() {
        Some(location) => format!("{} ({}:{})", information.message(), location.file(), location.line()),
        None => information.message().to_string(),
    };
    // A panic while another unwinds, or in a function that can't unwind, mustn't be caught.
    if information.can_unwind() {
        // Returns only if no frame catches it.
        unwinding::panic::begin_panic(Box::new(message.clone()));
    }
    fatal(&format!("panic: {message}"), frame_pointer(), None)
}

/// Ends everything because of an exception in the kernel or in a module.
pub fn fatal_exception(cause: &Cause, frame: &Frame) -> ! {
    let [.., frame_pointer, _] = frame.general;
    fatal(&format!("exception: {cause}\n{frame}"), frame_pointer as usize, Some(frame.program_counter as usize))
}

fn fatal(what: &str, frame_pointer: usize, program_counter: Option<usize>) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    core::mem::forget(abi::sync::InterruptsMasked::new());
    if DYING.swap(true, Ordering::Relaxed) {
        // Telling it failed in turn, and would again.
        processor::halt();
    }
    log::emergency(&format!("\nlockstep: fatal error in thread '{}'\n{what}\nbacktrace:\n", thread::name()));
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = backtrace(&mut text, frame_pointer, program_counter);
    let afterwards = *AFTERWARDS.lock();
    let _ = writeln!(
        text,
        "lockstep: {}",
        match afterwards {
            Afterwards::Halt => "halted",
            Afterwards::PowerOff => "powering off",
            Afterwards::Reboot => "rebooting",
        }
    );
    log::emergency(&text);
    if let Some(power) = abi::registry::first::<dyn Power>().and_then(|power| power.get().ok()) {
        let result = match afterwards {
            Afterwards::Halt => Ok(()),
            Afterwards::PowerOff => power.power_off(),
            Afterwards::Reboot => power.reboot(),
        };
        if let Err(error) = result {
            log::emergency(&format!("lockstep: {error}\n"));
        }
    }
    processor::halt()
}

fn frame_pointer() -> usize {
    let frame_pointer;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) }
    frame_pointer
}

/// Follows the frame records (AAPCS64, section 6.2.3) as long as they stay within one stack.
fn backtrace(output: &mut String, frame_pointer: usize, program_counter: Option<usize>) -> fmt::Result {
    if let Some(program_counter) = program_counter {
        writeln!(output, "  {}", Place(program_counter))?;
    }
    let slot = frame_pointer & !(STACK_SLOT - 1);
    let mut frame = frame_pointer;
    let (mut previous, mut repeated) = (0, 0);
    for _ in 0..STACK_SLOT / 16 {
        let is_stack = STACKS.contains(&frame) || memory::boot_stack().contains(&frame);
        let inside = is_stack && frame & !(STACK_SLOT - 1) == slot && frame >= slot + STACK_SLOT / 2;
        if !inside || !frame.is_multiple_of(16) {
            break;
        }
        // SAFETY: the upper half of a stack's slot is mapped, and the record is aligned and within it.
        let [next, return_address] = unsafe { (frame as *const [usize; 2]).read() };
        if return_address == 0 {
            break;
        }
        // The call is the instruction before the one that it returns to. Of an endless recursion a few lines are enough.
        repeated = if return_address == previous { repeated + 1 } else { 0 };
        previous = return_address;
        if repeated < 4 {
            writeln!(output, "  {}", Place(return_address - 4))?;
        } else if repeated == 4 {
            writeln!(output, "  ... and so on")?;
        }
        if next <= frame {
            break;
        }
        frame = next;
    }
    Ok(())
}

/// An address in words: `kernel::binding::bind+0x40`.
struct Place(usize);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address) = self;
        write!(formatter, "{address:#018x} ")?;
        if memory::image_text().contains(address) {
            let offset = address - memory::image_text().start;
            let symbols = symbols::Symbols::parse(memory::image_appendix());
            return match symbols.and_then(|symbols| symbols.find(offset as u32)) {
                Some(place) => write!(formatter, "{}+{:#x}", place.function, place.offset),
                None => write!(formatter, "kernel+{offset:#x}"),
            };
        }
        match modules::describe(*address) {
            Some(description) => formatter.write_str(&description),
            None => formatter.write_str("?"),
        }
    }
}
