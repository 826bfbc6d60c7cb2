//! The kernel's time, which counts nanoseconds, and smoltcp's, which counts microseconds.

use abi::prelude::*;

/// The microsecond that `instant` lies in.
pub fn to_stack(instant: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(instant.as_nanoseconds() / 1000).unwrap_or(i64::MAX))
}

/// The first nanosecond of that microsecond; of those before reset, the moment of reset.
pub fn from_stack(instant: smoltcp::time::Instant) -> Instant {
    Instant::from_nanoseconds(u64::try_from(instant.total_micros()).unwrap_or(0).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_once_its_nanosecond_has() {
        for micros in [0, 1, 999, 1_000_000, i64::MAX / 1000] {
            let deadline = smoltcp::time::Instant::from_micros(micros);
            assert_eq!(to_stack(from_stack(deadline)), deadline);
        }
    }

    #[test]
    fn time_before_reset_and_beyond_the_end_stays_in_range() {
        assert_eq!(from_stack(smoltcp::time::Instant::from_micros(-1)), Instant::default());
        assert_eq!(from_stack(smoltcp::time::Instant::from_micros(i64::MAX)), Instant::from_nanoseconds(u64::MAX));
        assert_eq!(to_stack(Instant::from_nanoseconds(1999)).total_micros(), 1);
    }
}
