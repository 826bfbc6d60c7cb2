//! Failures: what code does instead of returning, and who gets to know.
//!
//! A panic, an exception that the processor takes, and being stopped all end in the same way: the stack is unwound to where
//! the thread's innermost guarded call was made (`abi::guard`), which returns a [`Failure`]. If a module's code has lost its
//! stack, it is left as it is, and the caller goes on all the same. What has no caller of that kind is [`fatal`].
//!
//! [`unwinding`] starts and continues it with the crate `unwinder`; [`record`] keeps what is noted meanwhile; [`place`]
//! names addresses.

mod fatal;
mod place;
mod record;
mod unwinding;

use crate::memory::layout::PAGE_SIZE;
use crate::memory::reserve;
use crate::thread::calls;
use crate::{log, memory, processor};
use abi::guard::{Ended, guarded};
use abi::running::MOST_CALLS;
use core::convert::Infallible;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr::NonNull;
use record::Note;

pub use fatal::{Afterwards, fatal_exception, set_afterwards};
pub use unwinding::exception;
pub use unwinding::{stop, stop_here};

/// How a piece of code failed: the end of a sentence, such as `panicked: no frame is left (src/lib.rs:12)`.
///
/// It occupies one of a few dozen records until it is dropped. That should be soon; what is kept is its text.
pub struct Failure(Note);

impl Failure {
    /// Where it failed and who had called it, up to who goes on: instructions, from the innermost, but no more than a few
    /// dozen. None if the frames can't be followed.
    pub fn addresses(&self) -> Option<&[usize]> {
        (!self.0.is_abandoned()).then(|| self.0.backtrace().addresses())
    }

    /// Whether it was a panic, of which all cleanups have run, and not something that came upon code anywhere.
    pub fn is_panic(&self) -> bool {
        self.0.text().starts_with(PANICKED)
    }

    /// Where it failed and who had called it, up to who caught it: a line for each, with names.
    pub fn backtrace(&self) -> impl fmt::Display {
        self.0.backtrace()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.text())
    }
}

/// Runs code that may fail, such as a module's.
///
/// # Errors
/// When `action` has panicked, or was ended by an exception or by force. When calls are nested too deep it isn't run.
pub fn catch<R>(action: impl FnOnce() -> R) -> Result<R, Failure> {
    guarded(None, || Ok::<R, Infallible>(action())).map_err(|ended| match ended {
        Ended::Refused(never) => match never {},
        Ended::Failed(failure) => caught(failure),
        Ended::TooDeep => Failure(Note::new(format_args!("was called {MOST_CALLS} calls deep"))),
    })
}

/// The running thread's innermost call has returned with other locks held than before. If it has kept some, returns what
/// [`caught`] takes, unless it is the caller that has failed.
pub fn kept_locks() -> Option<NonNull<u8>> {
    if !calls::keeps_locks() {
        return None;
    }
    calls::poison_locks();
    if calls::keeps_callers_locks() {
        calls::recover();
        unwinding::raise(Note::new(format_args!("kept a lock that it had taken in a call")));
    }
    NonNull::new(Note::new(format_args!("returned and kept a lock")).into_raw())
}

/// A failure has landed, with this pointer: the call that it ended is over, and so is what it did with locks.
pub fn caught(failure: *mut u8) -> Failure {
    reserve::close();
    calls::recover();
    let mut note = Note::from_raw(failure);
    note.end();
    Failure(note)
}

/// Goes on with a failure that was caught, to the next call.
pub fn resume(Failure(note): Failure) -> ! {
    unwinding::raise(note)
}

/// What the sentence about a panic begins with.
const PANICKED: &str = "panicked";

#[panic_handler]
fn panicked(information: &PanicInfo<'_>) -> ! {
    // What it takes to unwind a module that ran out of memory is there for that alone.
    reserve::open();
    let message = information.message();
    let note = match information.location() {
        Some(location) => Note::new(format_args!("{PANICKED}: {message} ({}:{})", location.file(), location.line())),
        None => Note::new(format_args!("{PANICKED}: {message}")),
    };
    if information.can_unwind() { unwinding::raise(note) } else { unwinding::raise_past_caller(note) }
}

/// There is no memory for what was asked for, and who asked can't go on without.
#[alloc_error_handler]
fn out_of_memory(layout: core::alloc::Layout) -> ! {
    static EXHAUSTED: &str = "lockstep: the memory is used up, what is kept for the kernel too\n";
    if reserve::is_open() && layout.size() <= PAGE_SIZE {
        // To tell of it takes memory.
        let _ = log::Emergency.write_str(EXHAUSTED);
        processor::halt();
    }
    reserve::open();
    panic!("{}", memory::shortage(layout.size()))
}

/// What tables for unwinding name as the function to call for each frame. There is only one kind, and nobody calls it.
#[lang = "eh_personality"]
extern "C" fn rust_eh_personality() {}
