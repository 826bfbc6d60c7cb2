//! System timer of Broadcom's BCM2835 and its successors: a counter of microseconds that nothing stops.
//!
//! The kernel keeps time by the processors' own timer, whose frequency the firmware says, and which it has to set up; on
//! some boards it didn't. So this counter is what that timer is checked against, once.
//!
//! Registers: BCM2835 ARM Peripherals, chapter 12.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::{thread, time};

abi::driver!(
    SystemTimer,
    compatible = ["brcm,bcm2835-system-timer"],
    summary = "Broadcom BCM2835 system timer, which the kernel's time is checked against",
);

abi::registers! {
    Layout {
        (0x00 => _reserved),
        (0x04 => microseconds: ReadOnly<u32>),
        (0x08 => @END),
    }
}

/// How long the comparison takes.
const INTERVAL: Duration = Duration::from_secs(1);

/// The difference that is reported, in thousandths: crystals differ by less than one.
const LIMIT: u64 = 10;

/// How long it may take to read both times for them to be of one moment.
const MOMENT: Duration = Duration::from_micros(100);

struct SystemTimer;

impl Driver for SystemTimer {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let registers: Registers<Layout> = resources.registers(0)?;
        thread::spawn("time-check", move || {
            // It ends early only when the module is removed.
            let Err(Error::Stopping) = check(&registers) else { return };
        })?;
        Ok(Self)
    }
}

/// Compares both times, and says so if they differ.
fn check(registers: &Layout) -> Result<()> {
    let (start, start_microseconds) = both(registers);
    time::sleep(INTERVAL)?;
    let (end, end_microseconds) = both(registers);
    let kernel = (end - start).as_micros() as u64;
    let timer = u64::from(end_microseconds.wrapping_sub(start_microseconds));
    if let Some(percent) = difference(kernel, timer) {
        warn!(
            "the kernel's time runs at {percent} % of the system timer's: does the firmware set up the processors' timer?"
        );
    }
    Ok(())
}

/// Both times at one moment, or as near as can be.
fn both(registers: &Layout) -> (Instant, u32) {
    let reading = || {
        let before = Instant::now();
        let microseconds = registers.microseconds.get();
        (Instant::now() - before, before, microseconds)
    };
    let mut best = reading();
    for _ in 0..10 {
        if best.0 <= MOMENT {
            break;
        }
        best = best.min(reading());
    }
    (best.1, best.2)
}

/// The kernel's time in percent of the timer's if they differ by more than [`LIMIT`].
fn difference(kernel: u64, timer: u64) -> Option<u64> {
    (kernel.abs_diff(timer) * 1000 > LIMIT * timer).then(|| 100 * kernel / timer.max(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use fake_kernel::{FakeNode, Model};

    #[test]
    fn a_hundredth_more_or_less_is_reported() {
        assert_eq!(difference(1_000_900, 1_000_000), None);
        assert_eq!(difference(990_000, 1_000_000), None);
        // A Raspberry Pi 3 whose prescaler was left alone.
        assert_eq!(difference(333_333, 1_000_000), Some(33));
        assert_eq!(difference(2_000_000, 1_000_000), Some(200));
        assert_eq!(difference(1_000_000, 0), Some(100_000_000));
    }

    /// A timer that runs with the host's clock, and wraps around soon.
    struct Timer(Instant);

    impl Model for Timer {
        fn read(&mut self, offset: usize) -> u32 {
            assert_eq!(offset, 0x04);
            ((Instant::now() - self.0).as_micros() as u32).wrapping_sub(500_000)
        }

        fn write(&mut self, offset: usize, _: u32) {
            panic!("write at {offset:#x}");
        }
    }

    #[test]
    fn both_times_are_of_one_moment_when_the_counter_wraps_around() {
        let node = FakeNode::with_model(0x1000, Timer(Instant::now()));
        let registers: Registers<Layout> = node.resources().registers(0).unwrap();
        let (start, first) = both(&registers);
        time::sleep(INTERVAL).unwrap();
        let (end, last) = both(&registers);
        assert!(last < first, "it has wrapped around");
        let timer = u64::from(last.wrapping_sub(first));
        let kernel = (end - start).as_micros() as u64;
        assert!(kernel.abs_diff(timer) < 100_000, "{kernel} {timer}");
    }
}
