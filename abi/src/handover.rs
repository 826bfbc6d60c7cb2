//! What a module leaves to the one that takes its place while the system runs.

use crate::event::Signal;
use crate::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The state that an instance of a driver or service hands over to its successor
/// ([`Driver::hand_over`](crate::Driver::hand_over), [`Resources::handover`](crate::Resources::handover)).
///
/// It consists of bytes and of types of this crate, because nothing makes the private types of two builds of a module the
/// same. What the bytes mean is told by a name and a version, which both builds know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    state: String,
    version: u32,
    /// The state itself.
    pub bytes: Vec<u8>,
    /// Whom to tell of what happens: those who have subscribed.
    pub signals: Vec<Signal>,
}

impl Handover {
    /// A state of this name, in this version of it.
    pub fn new(state: &str, version: u32, bytes: Vec<u8>, signals: Vec<Signal>) -> Self {
        Self { state: state.to_owned(), version, bytes, signals }
    }

    /// Which version of the state `state` it is, if that is one of the `versions` that the caller understands.
    ///
    /// # Errors
    /// [`Error::Unsupported`] otherwise; returned from `probe` or `start` it has the old instance put back.
    pub fn version(&self, state: &str, versions: core::ops::RangeInclusive<u32>) -> Result<u32> {
        if self.state == state && versions.contains(&self.version) {
            return Ok(self.version);
        }
        Err(Error::Unsupported(format!(
            "a handover of {} in version {}, where {state} in version {} to {} was expected",
            self.state,
            self.version,
            versions.start(),
            versions.end()
        )))
    }
}
