//! What a debugger is told of the modules: which are loaded, and where their sections are. `xtask/gdb.py` reads it.

use super::Loaded;
use abi::sync::Lock;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use loader::Linked;

/// A text in memory, for who knows nothing of Rust.
#[repr(C)]
struct Text {
    start: AtomicPtr<u8>,
    size: AtomicUsize,
}

/// The lines of all modules that are loaded.
#[used]
#[unsafe(no_mangle)]
static LOCKSTEP_MODULES_LOADED: Text = Text { start: AtomicPtr::new(ptr::null_mut()), size: AtomicUsize::new(0) };

/// What [`LOCKSTEP_MODULES_LOADED`] refers to.
static LINES: Lock<String> = Lock::new(String::new());

/// A module's line: its name and, for each section, what gdb's `add-symbol-file` takes: ` -s .text 0xffffffff84000000`.
pub fn line(name: &str, linked: &Linked<'_>) -> String {
    let mut line = String::from(name);
    for section in linked.sections() {
        // Writing to a string can't fail.
        let _ = write!(line, " -s {} {:#x}", section.name, section.address);
    }
    line.push('\n');
    line
}

/// Tells a debugger that these are the modules now.
pub fn tell(loaded: &[Arc<Loaded>]) {
    let new: String = loaded.iter().map(|module| module.line.as_str()).collect();
    let mut lines = LINES.lock();
    LOCKSTEP_MODULES_LOADED.start.store(new.as_ptr().cast_mut(), Ordering::Relaxed);
    LOCKSTEP_MODULES_LOADED.size.store(new.len(), Ordering::Relaxed);
    // The former text goes when nobody is told to read it any more.
    *lines = new;
    lockstep_modules_changed();
}

/// Where a debugger stops to read the list again.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn lockstep_modules_changed() {
    // SAFETY: it is empty. It keeps the call, and what was stored before it, where they are.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
}
