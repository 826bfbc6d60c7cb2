//! Waiting for something to happen, and saying that it has.

use crate::time::Instant;
use crate::{Result, kernel};

/// Something that a thread can wait for. It remembers one signal: a signal raised before the wait ends it at once.
///
/// Owned by the thread that made it; others get a [`Signal`].
#[derive(Debug)]
pub struct Event {
    signal: Signal,
}

/// The right to raise an [`Event`]. Plain data: it may outlive the event, and raising it then does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(u64);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The event was raised; it is now clear again.
    Raised,
    /// The deadline passed first.
    TimedOut,
}

impl Event {
    /// Makes an event that is not raised.
    ///
    /// # Errors
    /// [`Error::TooMany`](crate::Error::TooMany) when the module's device or service has 1024 already,
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn new() -> Result<Self> {
        Ok(Self { signal: kernel::event_create()? })
    }

    /// What others raise it with.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Waits until the event is raised or `deadline` passes; without a deadline, for as long as it takes.
    ///
    /// # Errors
    /// [`Error::Stopping`](crate::Error::Stopping) when the thread's module is being removed.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<Wake> {
        kernel::event_wait(self.signal, deadline)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        kernel::event_destroy(self.signal);
    }
}

impl Signal {
    /// For the kernel, which alone assigns them.
    #[doc(hidden)]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// For the kernel, which alone assigns them.
    #[doc(hidden)]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Raises the event and wakes the thread that waits for it. Allowed in interrupt context.
    pub fn raise(self) {
        kernel::event_raise(self);
    }
}
