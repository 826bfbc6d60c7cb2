//! Finding what other modules publish.

use crate::event::Signal;
use crate::{Class, Error, Handle, Published, Result, kernel};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The node or service that publishes something; stays the same when its module is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub(crate) u32);

impl ProviderId {
    /// For the kernel, which alone assigns them.
    #[doc(hidden)]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// For the kernel, which alone assigns them.
    #[doc(hidden)]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The node's path in the device tree, or the service's name; empty if it is unknown.
    pub fn name(self) -> String {
        kernel::provider_name(self)
    }
}

/// Everything that is published under the class of `T` at this moment or will be once its module has been started again
/// after a failure, in the order of the device tree; of consoles first the one that the log is shown on.
pub fn all<T: Published + ?Sized>() -> Vec<Handle<T>> {
    // SAFETY: handles change nothing there.
    let publications = unsafe { kernel::publications(T::CLASS) };
    publications.into_iter().map(Handle::new).collect()
}

/// The first of [`all`].
pub fn first<T: Published + ?Sized>() -> Option<Handle<T>> {
    all().into_iter().next()
}

/// The first of [`all`], for a `probe` that can't do without.
///
/// # Errors
/// [`Error::Deferred`] when there is none yet.
pub fn required<T: Published + ?Sized>() -> Result<Handle<T>> {
    first().ok_or_else(|| Error::Deferred(T::CLASS.to_string()))
}

/// Raises `signal` each time that something is published under `class` or taken away, until its event is dropped. To say so
/// twice makes no difference.
pub fn watch(class: Class, signal: Signal) {
    kernel::watch(class, signal);
}
