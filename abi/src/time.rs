//! Time since reset, and sleeping.

use crate::{Result, kernel};
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment, in nanoseconds since reset. It never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        kernel::time_now()
    }

    /// The moment that lies `nanoseconds` after reset.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since reset.
    pub const fn as_nanoseconds(self) -> u64 {
        self.0
    }

    /// The time since `earlier`, or zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Lets other threads run for that long.
///
/// # Errors
/// [`Error::Stopping`](crate::Error::Stopping) when the thread's module is being removed.
pub fn sleep(duration: Duration) -> Result<()> {
    kernel::sleep_until(Instant::now() + duration)
}
