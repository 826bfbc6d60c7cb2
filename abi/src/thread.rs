//! Threads of a module's own.

use crate::{Result, kernel};
use alloc::boxed::Box;

/// Starts a thread that belongs to the calling module. Before the module is removed, every wait of the thread returns
/// [`Error::Stopping`](crate::Error::Stopping), and the removal waits until `body` has returned.
///
/// `name` is what `ps` shows.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for a name that [`check_name`](crate::text::check_name) refuses,
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    spawn_with_priority(name, Priority::Normal, body)
}

/// Starts a thread as [`spawn`] does, more or less urgent than others.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with_priority(name: &str, priority: Priority, body: impl FnOnce() + Send + 'static) -> Result<()> {
    kernel::thread_spawn(name, priority, Box::new(body))
}

/// How urgent a thread is. One that is ready runs before all that are less urgent, and takes turns with its equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Priority {
    /// For work that nobody waits for.
    Low,
    /// For most.
    Normal,
    /// For protocols and others whose delay is felt everywhere.
    High,
    /// For serving interrupts.
    Urgent,
}

/// Lets other threads that are ready run.
pub fn yield_now() {
    kernel::thread_yield();
}
