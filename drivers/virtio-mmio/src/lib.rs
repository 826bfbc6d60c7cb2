//! A slot for a virtio device behind memory-mapped registers.
//!
//! Its node says nothing of what is in it: this reads the device's number and publishes a child that the driver for
//! that kind of device claims, named as in the Linux binding `virtio-device.yaml`. Registers: Virtual I/O Device 1.3,
//! section 4.2.2.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;

abi::driver!(VirtioMmio: Bus, compatible = ["virtio,mmio"], summary = "Slot for a memory-mapped virtio device");

abi::registers! {
    Layout {
        (0x000 => magic: ReadOnly<u32>),
        (0x004 => _version),
        (0x008 => device: ReadOnly<u32>),
        (0x00c => @END),
    }
}

/// "virt".
const MAGIC: u32 = 0x7472_6976;

struct VirtioMmio {
    /// The number of the kind of device: 1 is a network card.
    device: u32,
}

impl Driver for VirtioMmio {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        // Given back at once: the child's driver needs them.
        let registers: Registers<Layout> = resources.registers(0)?;
        match (registers.magic.get(), registers.device.get()) {
            (MAGIC, 0) => Err(Error::Absent),
            (MAGIC, device) => Ok(Self { device }),
            (magic, _) => Err(Error::Device(format!("it begins with {magic:#x} where virtio has {MAGIC:#x}"))),
        }
    }
}

impl Bus for VirtioMmio {
    fn children(&self) -> Vec<Child> {
        let device = self.device;
        vec![Child { name: format!("device{device:x}"), compatible: vec![format!("virtio,device{device:x}")] }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_kernel::FakeNode;

    fn probe(magic: u32, device: u32) -> Result<Vec<Child>> {
        let node = FakeNode::new(&[0x200]);
        node.set(0, 0x000, magic);
        node.set(0, 0x008, device);
        VirtioMmio::probe(&Node::default(), &mut node.resources()).map(|slot| slot.children())
    }

    #[test]
    fn publishes_the_device_by_its_number() {
        let child = |name: &str| Child { name: name.to_owned(), compatible: vec![format!("virtio,{name}")] };
        assert_eq!(probe(MAGIC, 1), Ok(vec![child("device1")]));
        assert_eq!(probe(MAGIC, 26), Ok(vec![child("device1a")]));
    }

    #[test]
    fn tells_an_empty_slot_from_something_else() {
        assert_eq!(probe(MAGIC, 0), Err(Error::Absent));
        assert!(matches!(probe(0, 0), Err(Error::Device(_))));
    }
}
