//! Failures: what code does instead of returning, and who gets to know.
//!
//! A panic, an exception that the processor takes, and being stopped all end in the same way: the stack is unwound to the
//! innermost [`catch`], which returns a [`Failure`]. What can't be unwound, or isn't caught, is [`fatal`].
//!
//! [`unwinding`] starts and continues it with the crate `unwinder`; [`record`] keeps what is noted meanwhile; [`place`]
//! names addresses.

mod fatal;
mod place;
mod record;
mod unwinding;

use crate::memory::layout::PAGE_SIZE;
use crate::memory::reserve;
use crate::{log, memory, processor};
use core::fmt::{self, Write};
use core::mem::ManuallyDrop;
use core::panic::PanicInfo;
use record::Note;

pub use fatal::{Afterwards, fatal_exception, set_afterwards};
pub use unwinding::exception;
pub use unwinding::{stop, stop_here};

/// How a piece of code failed: the end of a sentence, such as `panicked: no frame is left (src/lib.rs:12)`.
///
/// It occupies one of a few dozen records until it is dropped. That should be soon; what is kept is its text.
pub struct Failure(Note);

impl Failure {
    /// Whether the code that failed, or any that had called it up to who caught it, passes `test`.
    pub fn leads_through(&self, test: impl Fn(usize) -> bool) -> bool {
        self.0.backtrace().addresses().iter().any(|address| test(*address))
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

/// Runs code that may fail, such as a module's. It costs nothing unless it does.
///
/// # Errors
/// When `action` has panicked, or was ended by an exception or by force.
pub fn catch<R, F: FnOnce() -> R>(action: F) -> Result<R, Failure> {
    /// What the one passes to the other.
    union Attempt<R, F> {
        action: ManuallyDrop<F>,
        result: ManuallyDrop<R>,
        failure: ManuallyDrop<Failure>,
    }

    fn attempt<R, F: FnOnce() -> R>(data: *mut u8) {
        // SAFETY: `data` is an `Attempt` that holds the action, and nobody else touches it meanwhile.
        let data = unsafe { &mut *data.cast::<Attempt<R, F>>() };
        // SAFETY: it holds the action, and this is the one time that it is taken.
        let action = unsafe { ManuallyDrop::take(&mut data.action) };
        data.result = ManuallyDrop::new(action());
    }

    fn failed<R, F: FnOnce() -> R>(data: *mut u8, exception: *mut u8) {
        // SAFETY: `data` is an `Attempt`, which `attempt` has left for good.
        let data = unsafe { &mut *data.cast::<Attempt<R, F>>() };
        data.failure = ManuallyDrop::new(caught(exception));
    }

    let mut data = Attempt { action: ManuallyDrop::new(action) };
    let place = (&raw mut data).cast();
    // SAFETY: both functions take what `place` points to as what it is, and don't unwind on their own account: `failed`
    // calls what doesn't, and what `attempt` unwinds is what is caught.
    let has_failed = unsafe { core::intrinsics::catch_unwind(attempt::<R, F>, place, failed::<R, F>) } != 0;
    if has_failed {
        // SAFETY: `failed` has put it there, after which nothing else was.
        Err(ManuallyDrop::into_inner(unsafe { data.failure }))
    } else {
        // SAFETY: `attempt` returned, and has put it there.
        Ok(ManuallyDrop::into_inner(unsafe { data.result }))
    }
}

/// What `core::intrinsics::catch_unwind` has caught, from the pointer that it passes on. To be called once for each.
pub fn caught(exception: *mut u8) -> Failure {
    reserve::close();
    let mut note = Note::from_raw(exception);
    note.end();
    Failure(note)
}

/// Goes on with a failure that was caught, to the next who does.
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
