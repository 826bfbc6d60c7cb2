//! What becomes of modules that fail.

use crate::interrupt;
use crate::processor::exceptions::Frame;
use abi::Error;
use abi::registry::ProviderId;
use abi::running::Publication;

/// See `abi::kernel::caught`.
pub fn caught(_exception: *mut u8, _publication: &'static Publication) -> Error {
    Error::Failed("it panicked".into())
}

/// The running thread has run for a whole tick.
pub fn charge(_frame: &mut Frame) {}

/// The interrupted code is to be stopped.
pub fn stop_if_told(_frame: &mut Frame) {}

/// A line wants a thread.
pub fn start_interrupt_thread(provider: ProviderId, number: u32) {
    let _ = interrupt::start_thread(provider, number);
}
