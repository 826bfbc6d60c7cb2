//! The class of screens: what the console shows, for somebody who looks and doesn't type.

/// A screen that shows text.
///
/// The log goes to every screen from its first record on, and the shell writes to them what it writes to its console.
pub trait Screen: Send + Sync {
    /// Shows text: UTF-8, with the control characters and escape sequences of a terminal. It may be drawn after this
    /// returns, so this may be called in interrupt context.
    fn write(&self, bytes: &[u8]);

    /// Draws at once what has been written: for a system that is about to stop, in which no thread will.
    fn draw(&self);
}
