//! SD host controllers of Broadcom's BCM2835 and its successors, and the second one of the BCM2711.
//!
//! Registers: SD Specifications Part A2, SD Host Controller Simplified Specification, version 3.00; sections named below are
//! its. What the BCM2835's does otherwise: BCM2835 ARM Peripherals, chapter 5.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod controller;
mod registers;
#[cfg(test)]
mod tests;
mod work;

use abi::block::Geometry;
use abi::prelude::*;
use abi::registry;
use controller::Controller;
use sdmmc::Disk;

abi::driver!(
    Slot: BlockDevice,
    compatible = ["brcm,bcm2711-emmc2", "brcm,bcm2835-sdhci", "brcm,bcm2835-mmc"],
    summary = "SD cards behind Broadcom's BCM2711 and BCM2835",
);

/// The firmware's numbers of the controllers' clocks (Linux, `soc/bcm2835/raspberrypi-firmware.h`). The tree counts those of
/// the hardware behind them.
const EMMC: u32 = 1;
const EMMC2: u32 = 12;

struct Slot {
    disk: Disk<Controller>,
    _interrupt: Interrupt,
}

impl Driver for Slot {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let clock = if node.compatible() == "brcm,bcm2711-emmc2" { EMMC2 } else { EMMC };
        let firmware = registry::required::<dyn Firmware>()?;
        let rate = firmware.call(|firmware| firmware.clock_rate(clock))??;
        let controller = Controller::new(resources.registers(0)?, resources.dma(), rate)?;
        let disk = Disk::start(controller, node.path())?;
        // Not before there is a card: the BCM2711's two controllers share a line, and seldom have both one.
        let interrupt = resources.interrupt(0)?;
        disk.host().use_interrupts();
        Ok(Self { disk, _interrupt: interrupt })
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        self.disk.host().interrupt_now()
    }

    fn interrupt(&self, _index: usize) {
        while self.disk.host().advance() {}
    }
}

impl BlockDevice for Slot {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }

    fn read(&self, first: u64, buffer: &mut [u8]) -> Result<()> {
        self.disk.read(first, buffer)
    }

    fn write(&self, first: u64, buffer: &[u8]) -> Result<()> {
        self.disk.write(first, buffer)
    }

    fn flush(&self) -> Result<()> {
        // The card has stored what was written.
        Ok(())
    }
}
