//! Threads of a module's own.

use crate::{Result, kernel};
use alloc::boxed::Box;

/// Starts a thread that belongs to the calling module. Before the module is removed, every wait of the thread returns
/// [`Error::Stopping`](crate::Error::Stopping), and the removal waits until `body` has returned.
///
/// `name` is what `ps` shows.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    kernel::thread_spawn(name, Box::new(body))
}

/// Lets other threads that are ready run.
pub fn yield_now() {
    kernel::thread_yield();
}
