//! The class of random number generators.

use crate::Result;

/// A source of random bytes in hardware.
pub trait Random: Send + Sync {
    /// Fills `bytes` with what nobody can predict.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when its self-test fails, or when it delivers nothing in time: then `bytes`
    /// are not to be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}
