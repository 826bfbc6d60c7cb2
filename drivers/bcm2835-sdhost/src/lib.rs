//! SD host controller of Broadcom's BCM2835 and its successors, beside the one of the SD Association's specification.
//!
//! There is no public manual. Registers: as Linux (`mmc/host/bcm2835.c`) and QEMU (`hw/sd/bcm2835_sdhost.c`) use and model
//! them; binding: Linux, `mmc/brcm,bcm2835-sdhost.yaml`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod controller;
mod registers;
#[cfg(test)]
mod tests;

use abi::block::Geometry;
use abi::prelude::*;
use abi::registry;
use controller::Controller;
use sdmmc::Disk;

abi::driver!(
    Slot: BlockDevice,
    compatible = ["brcm,bcm2835-sdhost"],
    summary = "SD cards behind Broadcom's BCM2835, by its own controller",
);

/// The firmware's number of the clock that is divided for the card: that of the VideoCore (Linux,
/// `soc/bcm2835/raspberrypi-firmware.h`).
const CORE: u32 = 4;

struct Slot {
    disk: Disk<Controller>,
    _interrupt: Interrupt,
}

impl Driver for Slot {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let firmware = registry::required::<dyn Firmware>()?;
        let rate = firmware.call(|firmware| firmware.clock_rate(CORE))??;
        let interrupt = resources.interrupt(0)?;
        let disk = Disk::start(Controller::new(resources.registers(0)?, rate)?, node.path())?;
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
