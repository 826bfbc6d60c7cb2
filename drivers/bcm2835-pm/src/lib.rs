//! Power manager of Broadcom's BCM2835 and its successors: reset, power off, watchdog.
//!
//! Registers: the manuals leave them out; elinux.org, "BCM2835 registers", and Linux, `bcm2835_wdt.c`, have them. There is
//! no switch: to power off is to reset into a partition that stands for "halt", in which the firmware does nothing.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::prelude::*;
use abi::{thread, time};
use alloc::sync::Arc;

abi::driver!(
    Pm: Power,
    compatible = ["brcm,bcm2711-pm", "brcm,bcm2835-pm", "brcm,bcm2835-pm-wdt"],
    summary = "Broadcom BCM2835 power manager: reset, power off, watchdog",
    parameters = {
        /// After how many seconds without a sign of life the machine is reset; 0: never
        watchdog: u32 in 0..=15 = 0,
    },
);

abi::registers! {
    Layout {
        (0x00 => _reserved),
        (0x1c => reset_control: ReadWrite<u32, ResetControl::Register>),
        (0x20 => reset_status: ReadWrite<u32>),
        (0x24 => watchdog: ReadWrite<u32>),
        (0x28 => @END),
    }
}

register_bitfields! {u32,
    ResetControl [
        /// What happens when the watchdog has counted to zero.
        ACTION OFFSET(4) NUMBITS(2) [ NONE = 0, RESET = 2 ],
        /// Writes without it are ignored.
        PASSWORD OFFSET(24) NUMBITS(8) [ PASSWORD = 0x5a ]
    ]
}

/// The password, for registers without fields.
const PASSWORD: u32 = 0x5a << 24;

/// The bits of the reset's status that hold the partition to boot from: every other one from bit 0 on.
const PARTITION: u32 = 0b101_0101_0101;

/// Partition 63: halt.
const HALT: u32 = PARTITION;

/// The watchdog's ticks in a second.
const TICKS: u32 = 1 << 16;

/// The ticks that a reset takes: few, and more than the registers need.
const SOON: u32 = 10;

struct Pm {
    registers: Arc<Registers<Layout>>,
}

impl Driver for Pm {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let registers = Arc::new(resources.registers::<Layout>(0)?);
        // A boot loader may have left it running.
        registers.stop();
        let seconds = parameters::watchdog();
        if seconds > 0 {
            let registers = registers.clone();
            thread::spawn("watchdog", move || {
                loop {
                    registers.reset_after(seconds * TICKS);
                    if time::sleep(Duration::from_secs(seconds.into()) / 4).is_err() {
                        return;
                    }
                }
            })?;
        }
        Ok(Self { registers })
    }
}

impl Drop for Pm {
    fn drop(&mut self) {
        self.registers.stop();
    }
}

impl Power for Pm {
    fn reboot(&self) -> Result<()> {
        self.registers.reset_into(0)
    }

    fn power_off(&self) -> Result<()> {
        self.registers.reset_into(HALT)
    }
}

impl Layout {
    /// Resets the machine in so many ticks, unless it is told otherwise before.
    fn reset_after(&self, ticks: u32) {
        self.watchdog.set(PASSWORD | ticks);
        self.reset_control.modify(ResetControl::PASSWORD::PASSWORD + ResetControl::ACTION::RESET);
    }

    fn stop(&self) {
        self.reset_control.modify(ResetControl::PASSWORD::PASSWORD + ResetControl::ACTION::NONE);
    }

    /// Resets the machine now, and has the firmware boot from that partition.
    fn reset_into(&self, partition: u32) -> Result<()> {
        let status = self.reset_status.get() & 0xff_ffff & !PARTITION;
        self.reset_status.set(PASSWORD | status | partition);
        self.reset_after(SOON);
        time::sleep(Duration::from_secs(1))?;
        Err(Error::Device("the power manager doesn't reset the machine".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use fake_kernel::{FakeNode, Model};
    use std::sync::{Arc as StdArc, Mutex as StdMutex};

    /// A power manager that ignores writes without the password.
    #[derive(Default)]
    struct Manager {
        control: u32,
        status: u32,
        watchdog: u32,
        /// The partitions that were reset into, and the ticks that that took.
        resets: Vec<(u32, u32)>,
    }

    impl Model for Manager {
        fn read(&mut self, offset: usize) -> u32 {
            match offset {
                0x1c => self.control,
                0x20 => self.status,
                0x24 => self.watchdog,
                _ => panic!("read at {offset:#x}"),
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            assert_eq!(value >> 24, 0x5a, "the password");
            let value = value & 0xff_ffff;
            match offset {
                0x1c => {
                    self.control = value;
                    if value & 0x30 == 0x20 {
                        let partition = (0..6).map(|bit| (self.status >> (2 * bit) & 1) << bit).sum();
                        self.resets.push((partition, self.watchdog));
                    }
                }
                0x20 => self.status = value,
                0x24 => self.watchdog = value,
                _ => panic!("write at {offset:#x}"),
            }
        }
    }

    fn probe(manager: Manager) -> (Pm, StdArc<StdMutex<Manager>>) {
        let model = StdArc::new(StdMutex::new(manager));
        let node = FakeNode::with_model(0x114, model.clone());
        (Pm::probe(&Node::default(), &mut node.resources()).unwrap(), model)
    }

    #[test]
    fn a_reboot_is_a_reset_into_the_first_partition() {
        // It was halted before; the bits between those of the partition are somebody else's.
        let (pm, model) = probe(Manager { status: 0xfff, ..Manager::default() });
        assert!(matches!(pm.reboot(), Err(Error::Device(_))));
        let manager = model.lock().unwrap();
        assert_eq!((manager.resets.as_slice(), manager.status), (&[(0, 10)][..], 0xaaa));
    }

    #[test]
    fn powering_off_is_a_reset_into_partition_63() {
        let (pm, model) = probe(Manager { control: 0x102, ..Manager::default() });
        assert!(matches!(pm.power_off(), Err(Error::Device(_))));
        let manager = model.lock().unwrap();
        assert_eq!((manager.resets.as_slice(), manager.control), (&[(63, 10)][..], 0x122));
    }

    #[test]
    fn the_watchdog_runs_only_when_asked_to() {
        let (pm, model) = probe(Manager { control: 0x122, ..Manager::default() });
        assert_eq!(model.lock().unwrap().control, 0x102, "left running, and stopped");
        pm.registers.reset_after(15 * TICKS);
        assert_eq!(model.lock().unwrap().resets, [(0, 15 << 16)]);
        drop(pm);
        assert_eq!(model.lock().unwrap().control, 0x102);
    }
}
