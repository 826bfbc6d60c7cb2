//! Version 2: distributor and processor interface are both mapped to memory. Registers: ARM IHI 0048B.b, chapter 4.

use crate::lines::{DistributorKind, Lines, PRIORITY_MASK, lines_in};
use abi::interrupt::Line;
use abi::prelude::*;

abi::registers! {
    Distributor {
        (0x000 => control: ReadWrite<u32, Control::Register>),
        (0x004 => kind: ReadOnly<u32, DistributorKind::Register>),
        (0x008 => _reserved),
        (0x080 => group: [ReadWrite<u32>; 32]),
        (0x100 => set_enable: [ReadWrite<u32>; 32]),
        (0x180 => clear_enable: [ReadWrite<u32>; 32]),
        (0x200 => _pending),
        (0x380 => clear_active: [ReadWrite<u32>; 32]),
        (0x400 => priority: [ReadWrite<u8>; 1024]),
        (0x800 => target: [ReadWrite<u8>; 1024]),
        (0xc00 => configuration: [ReadWrite<u32>; 64]),
        (0xd00 => @END),
    }
}

abi::registers! {
    Interface {
        (0x000 => control: ReadWrite<u32, Control::Register>),
        (0x004 => priority_mask: ReadWrite<u32>),
        (0x008 => _binary_point),
        (0x00c => acknowledge: ReadOnly<u32, Acknowledge::Register>),
        (0x010 => end: WriteOnly<u32>),
        (0x014 => @END),
    }
}

register_bitfields! {u32,
    /// `GICD_CTLR` and `GICC_CTLR`: the bit stands for group 1 where it is seen from the non-secure state, else for
    /// group 0.
    Control [ ENABLE OFFSET(0) NUMBITS(1) [] ],
    /// `GICC_IAR`.
    Acknowledge [ LINE OFFSET(0) NUMBITS(10) [] ]
}

pub struct Controller {
    distributor: Lock<Registers<Distributor>>,
    interface: Registers<Interface>,
    /// The bit of this processor in a target register; 0 on a machine with one processor.
    processor: u8,
}

impl Controller {
    pub fn new(resources: &mut Resources) -> Result<Self> {
        let distributor: Registers<Distributor> = resources.registers(0)?;
        let interface: Registers<Interface> = resources.registers(1)?;

        distributor.control.set(0);
        distributor.lines().reset();
        // Group 0 is the one that `ENABLE` stands for. Seen from the non-secure state these writes do nothing, and
        // `ENABLE` stands for group 1, which holds what secure firmware has left to others.
        distributor.lines().set_group(0);
        // The target registers of private lines read as the processor that reads them (section 4.3.12).
        let processor = distributor.target.iter().take(32).map(|target| target.get()).find(|target| *target != 0);

        distributor.control.write(Control::ENABLE::SET);
        interface.priority_mask.set(PRIORITY_MASK.into());
        interface.control.write(Control::ENABLE::SET);
        Ok(Self { distributor: Lock::new(distributor), interface, processor: processor.unwrap_or(0) })
    }

    pub fn enable(&self, line: Line) -> Result<()> {
        let distributor = self.distributor.lock();
        if let Some(target) = distributor.target.get(line.number as usize) {
            target.set(self.processor);
        }
        distributor.lines().enable(line)
    }

    pub fn disable(&self, number: u32) {
        self.distributor.lock().lines().disable(number);
    }

    #[inline]
    pub fn acknowledge(&self) -> u32 {
        self.interface.acknowledge.read(Acknowledge::LINE)
    }

    #[inline]
    pub fn end(&self, number: u32) {
        self.interface.end.set(number);
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.interface.control.set(0);
        self.distributor.get_mut().control.set(0);
    }
}

impl Distributor {
    /// The registers of the lines that there are.
    fn lines(&self) -> Lines<'_> {
        lines_in!(self).of_distributor(&self.kind)
    }
}
