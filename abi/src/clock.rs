//! The class of clocks that know the time of day.

/// A moment in seconds since 1970-01-01T00:00:00Z, not counting leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The moment `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

/// A clock that knows the time of day.
pub trait Clock: Send + Sync {
    /// The time of day, in UTC.
    fn now(&self) -> UnixTime;
}
