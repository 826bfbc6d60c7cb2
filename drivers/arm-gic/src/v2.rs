//! Version 2: distributor and processor interface are both mapped to memory. Registers: ARM IHI 0048B.b, chapter 4.

use crate::lines::{BINARY_POINT, DistributorKind, FIRST_SHARED, Lines, PRIORITY_MASK, SIGNAL, acknowledged, lines_in};
use crate::this_processor;
use abi::interrupt::{Acknowledged, Line, ProcessorId, Urgency};
use abi::prelude::*;
use core::sync::atomic::{AtomicU64, Ordering};

abi::registers! {
    Distributor {
        (0x000 => control: ReadWrite<u32, Control::Register>),
        (0x004 => kind: ReadOnly<u32, DistributorKind::Register>),
        (0x008 => _reserved0),
        (0x080 => group: [ReadWrite<u32>; 32]),
        (0x100 => set_enable: [ReadWrite<u32>; 32]),
        (0x180 => clear_enable: [ReadWrite<u32>; 32]),
        (0x200 => _pending),
        (0x380 => clear_active: [ReadWrite<u32>; 32]),
        (0x400 => priority: [ReadWrite<u8>; 1024]),
        (0x800 => target: [ReadWrite<u8>; 1024]),
        (0xc00 => configuration: [ReadWrite<u32>; 64]),
        (0xd00 => _reserved1),
        (0xf00 => signal: WriteOnly<u32, Signal::Register>),
        (0xf04 => @END),
    }
}

abi::registers! {
    Interface {
        (0x000 => control: ReadWrite<u32, Control::Register>),
        (0x004 => priority_mask: ReadWrite<u32>),
        (0x008 => binary_point: ReadWrite<u32>),
        (0x00c => acknowledge: ReadOnly<u32, Acknowledge::Register>),
        (0x010 => end: WriteOnly<u32>),
        (0x014 => @END),
    }
}

register_bitfields! {u32,
    /// `GICD_CTLR` and `GICC_CTLR`: the bit stands for group 1 where it is seen from the non-secure state, else for
    /// group 0.
    Control [ ENABLE OFFSET(0) NUMBITS(1) [] ],
    /// `GICC_IAR`. Above the number stands which processor has sent a signal.
    Acknowledge [ NUMBER OFFSET(0) NUMBITS(10) [] ],
    /// `GICD_SGIR`: the signal of number 0 is sent to the processors whose bits are set.
    Signal [ TARGETS OFFSET(16) NUMBITS(8) [] ]
}

pub struct Controller {
    distributor: Registers<Distributor>,
    /// Each processor has its own at the same address.
    interface: Registers<Interface>,
    /// Held by who changes what several lines share.
    changing: Lock<()>,
    /// The affinity of the processor that each bit of a target register stands for, or [`NOBODY`].
    processors: [AtomicU64; 8],
}

/// No processor's affinity.
const NOBODY: u64 = u64::MAX;

impl Controller {
    pub fn new(resources: &mut Resources) -> Result<Self> {
        let distributor: Registers<Distributor> = resources.registers(0)?;
        let interface: Registers<Interface> = resources.registers(1)?;

        distributor.control.set(0);
        distributor.lines().reset();
        // Group 0 is the one that `ENABLE` stands for. Seen from the non-secure state these writes do nothing, and
        // `ENABLE` stands for group 1, which holds what secure firmware has left to others.
        distributor.lines().set_group(0);
        distributor.control.write(Control::ENABLE::SET);
        let processors = [const { AtomicU64::new(NOBODY) }; 8];
        let controller = Self { distributor, interface, changing: Lock::new(()), processors };
        controller.start_processor()?;
        Ok(controller)
    }

    pub fn start_processor(&self) -> Result<()> {
        // The distributor shows each processor its own private lines.
        let changing = self.changing.lock();
        let lines = self.distributor.lines().private();
        lines.reset();
        lines.set_group(0);
        lines.enable(SIGNAL, Urgency::Normal)?;
        drop(changing);
        self.interface.priority_mask.set(PRIORITY_MASK.into());
        self.interface.binary_point.set(BINARY_POINT.into());
        self.interface.control.write(Control::ENABLE::SET);
        let bit = self.distributor.this_processor().trailing_zeros() as usize;
        if let Some(processor) = self.processors.get(bit) {
            processor.store(this_processor().affinity(), Ordering::Relaxed);
        }
        Ok(())
    }

    pub fn enable(&self, line: Line, urgency: Urgency) -> Result<()> {
        let _changing = self.changing.lock();
        if let Some(target) = self.distributor.target.get(line.number as usize)
            && line.number >= FIRST_SHARED
        {
            target.set(self.distributor.this_processor());
        }
        self.distributor.lines().enable(line, urgency)
    }

    pub fn disable(&self, number: u32) {
        self.distributor.lines().disable(number);
    }

    pub fn signal(&self, processor: ProcessorId) {
        let is_meant = |known: &AtomicU64| known.load(Ordering::Relaxed) == processor.affinity();
        if let Some(bit) = self.processors.iter().position(is_meant) {
            self.distributor.signal.write(Signal::TARGETS.val(1 << bit));
        }
    }

    #[inline]
    pub fn acknowledge(&self) -> Option<Acknowledged> {
        let taken = self.interface.acknowledge.extract();
        acknowledged(taken.read(Acknowledge::NUMBER), taken.get())
    }

    #[inline]
    pub fn end(&self, taken: u32) {
        self.interface.end.set(taken);
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.interface.control.set(0);
        self.distributor.control.set(0);
    }
}

impl Distributor {
    /// The calling processor's bit in a target register: what those of its private lines read as (section 4.3.12). 0 on
    /// a machine with one processor.
    fn this_processor(&self) -> u8 {
        let targets = self.target.iter().take(FIRST_SHARED as usize);
        targets.map(|target| target.get()).find(|target| *target != 0).unwrap_or(0)
    }

    /// The registers of the lines that there are.
    fn lines(&self) -> Lines<'_> {
        lines_in!(self).of_distributor(&self.kind)
    }
}
