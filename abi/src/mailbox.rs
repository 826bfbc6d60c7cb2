//! The class of mailboxes: words to another processor of the machine and back.

use crate::Result;
use core::time::Duration;

/// A mailbox whose messages come back when the other side has dealt with them.
pub trait Mailbox: Send + Sync {
    /// Sends `message`, and waits until it comes back. What it consists of is agreed between sender and receiver; memory
    /// that it points to must have been [lent](crate::dma::DmaBuffer::lend) before.
    ///
    /// # Errors
    /// [`Error::TimedOut`](crate::Error::TimedOut) when it hasn't come back in time, or
    /// [`Error::Stopping`](crate::Error::Stopping) when the caller is to end before: then the receiver may still work on it.
    fn exchange(&self, message: u32, patience: Duration) -> Result<()>;
}
