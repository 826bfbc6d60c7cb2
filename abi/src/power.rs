//! The class of devices that switch the machine off and on again.

use crate::Result;

/// Power control of the whole machine.
pub trait Power: Send + Sync {
    /// Resets the machine; returns only if that failed.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the firmware refuses.
    fn reboot(&self) -> Result<()>;

    /// Switches the machine off; returns only if that failed.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) when the firmware refuses.
    fn power_off(&self) -> Result<()>;
}
