//! Virtio block device.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.3, section 5.2.
//!
//! It works on [`virtio::Device`] and not on the crate's `VirtIOBlk`, whose requests are for one thread, one after the
//! other, or have to be finished by their token in memory that the caller keeps in place.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod call;
mod disk;
mod requests;
#[cfg(test)]
mod tests;

use abi::block::Geometry;
use abi::prelude::*;
use disk::{Disk, Features};
use virtio::{Device, DeviceType};

abi::driver!(VirtioBlk: BlockDevice, compatible = ["virtio,device2"], summary = "Virtio block device");

struct VirtioBlk {
    disk: Disk,
    _interrupt: Interrupt,
}

impl Driver for VirtioBlk {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let (mut device, features) = Device::open(resources, DeviceType::Block, Features::all())?;
        device.add_queue()?;
        Ok(Self { disk: Disk::start(device, features, resources.dma())?, _interrupt: interrupt })
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        self.disk.interrupt();
        Served::Done
    }
}

impl BlockDevice for VirtioBlk {
    fn geometry(&self) -> Geometry {
        self.disk.geometry
    }

    fn read(&self, first: u64, buffer: &mut [u8]) -> Result<()> {
        unless_broken(self.disk.read(first, buffer))
    }

    fn write(&self, first: u64, buffer: &[u8]) -> Result<()> {
        unless_broken(self.disk.write(first, buffer))
    }

    fn flush(&self) -> Result<()> {
        unless_broken(self.disk.flush())
    }
}

/// A device that has broken its protocol is of use again only once it has been reset, and that is what becomes of one whose
/// driver panics.
fn unless_broken(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Device(what)) => panic!("the device has to be reset: {what}"),
        result => result,
    }
}
