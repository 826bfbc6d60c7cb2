//! Version 3: the processor interface is in system registers, and each processor has a redistributor for its private
//! lines. Registers: ARM IHI 0069H, chapter 12.

use crate::lines::{DistributorKind, FIRST_SHARED, Lines, PRIORITY_MASK, lines_in};
use abi::interrupt::Line;
use abi::prelude::*;
use arm_sysregs::el1::accessors::{
    read_icc_iar1_el1, read_icc_sre_el1, read_mpidr_el1, write_icc_ctlr_el1, write_icc_eoir1_el1,
    write_icc_igrpen1_el1, write_icc_pmr_el1,
};
use arm_sysregs::el1::registers::{IccCtlrEl1, IccEoir1El1, IccIgrpen1El1, IccPmrEl1, IccSreEl1};

abi::registers! {
    Distributor {
        (0x0000 => control: ReadWrite<u32, Control::Register>),
        (0x0004 => kind: ReadOnly<u32, DistributorKind::Register>),
        (0x0008 => _reserved0),
        (0x0080 => group: [ReadWrite<u32>; 32]),
        (0x0100 => set_enable: [ReadWrite<u32>; 32]),
        (0x0180 => clear_enable: [ReadWrite<u32>; 32]),
        (0x0200 => _pending),
        (0x0380 => clear_active: [ReadWrite<u32>; 32]),
        (0x0400 => priority: [ReadWrite<u8>; 1024]),
        (0x0800 => _target),
        (0x0c00 => configuration: [ReadWrite<u32>; 64]),
        (0x0d00 => _reserved1),
        (0x6000 => route: [ReadWrite<u64>; 1020]),
        (0x7fe0 => @END),
    }
}

abi::registers! {
    /// The two pages of 64 KiB that a processor's redistributor begins with: `RD_base` and `SGI_base`.
    Redistributor {
        (0x00000 => control: ReadOnly<u32, RedistributorControl::Register>),
        (0x00004 => _identification),
        (0x00008 => kind: ReadOnly<u64, RedistributorKind::Register>),
        (0x00010 => _status),
        (0x00014 => waker: ReadWrite<u32, Waker::Register>),
        (0x00018 => _reserved0),
        (0x10080 => group: [ReadWrite<u32>; 1]),
        (0x10084 => _reserved1),
        (0x10100 => set_enable: [ReadWrite<u32>; 1]),
        (0x10104 => _reserved2),
        (0x10180 => clear_enable: [ReadWrite<u32>; 1]),
        (0x10184 => _reserved3),
        (0x10380 => clear_active: [ReadWrite<u32>; 1]),
        (0x10384 => _reserved4),
        (0x10400 => priority: [ReadWrite<u8>; 32]),
        (0x10420 => _reserved5),
        (0x10c00 => configuration: [ReadWrite<u32>; 2]),
        (0x10c08 => @END),
    }
}

register_bitfields! {u32,
    /// `GICD_CTLR`. What the bits of the groups are called depends on the security state; with affinity routing, bit 1
    /// always enables the group 1 of the state that writes it.
    Control [
        GROUPS OFFSET(0) NUMBITS(3) [ ONE = 0b010 ],
        AFFINITY_ROUTING OFFSET(4) NUMBITS(1) [],
        WRITE_PENDING OFFSET(31) NUMBITS(1) []
    ],
    /// `GICR_CTLR`.
    RedistributorControl [ WRITE_PENDING OFFSET(3) NUMBITS(1) [] ],
    /// `GICR_WAKER`.
    Waker [
        PROCESSOR_SLEEP OFFSET(1) NUMBITS(1) [],
        CHILDREN_ASLEEP OFFSET(2) NUMBITS(1) []
    ]
}

register_bitfields! {u64,
    /// `GICR_TYPER`: the processor's Aff3, Aff2, Aff1, Aff0 from the most significant byte on.
    RedistributorKind [ AFFINITY OFFSET(32) NUMBITS(32) [] ]
}

pub struct Controller {
    registers: Lock<MappedRegisters>,
    /// This processor's affinity, as a routing register takes it.
    processor: u64,
}

struct MappedRegisters {
    distributor: Registers<Distributor>,
    redistributor: Registers<Redistributor>,
}

impl Controller {
    pub fn new(resources: &mut Resources) -> Result<Self> {
        let distributor: Registers<Distributor> = resources.registers(0)?;
        let redistributor: Registers<Redistributor> = resources.registers(1)?;
        if !read_icc_sre_el1().contains(IccSreEl1::SRE) {
            let reason =
                "the GIC's system registers are switched off (ICC_SRE_EL1), which firmware and boot code decide";
            return Err(Error::Unsupported(reason.to_owned()));
        }
        let processor = read_mpidr_el1().bits() & 0xff_00ff_ffff;
        let owner = redistributor.kind.read(RedistributorKind::AFFINITY);
        let owner = (owner & 0xff00_0000) << 8 | owner & 0xff_ffff;
        if owner != processor {
            return Err(Error::Unsupported(format!(
                "the GIC's first redistributor belongs to processor {owner:#x}, and this is {processor:#x}"
            )));
        }

        // Affinity routing may be switched on only while all groups are off (section 12.9.4).
        distributor.control.modify(Control::GROUPS::CLEAR);
        wait(|| !distributor.control.is_set(Control::WRITE_PENDING))?;
        distributor.control.modify(Control::AFFINITY_ROUTING::SET);
        redistributor.waker.modify(Waker::PROCESSOR_SLEEP::CLEAR);
        wait(|| !redistributor.waker.is_set(Waker::CHILDREN_ASLEEP))?;

        distributor.lines().reset();
        redistributor.lines().reset();
        wait(|| !distributor.control.is_set(Control::WRITE_PENDING))?;
        wait(|| !redistributor.control.is_set(RedistributorControl::WRITE_PENDING))?;
        distributor.lines().set_group(1);
        redistributor.lines().set_group(1);

        distributor.control.modify(Control::GROUPS::ONE);
        write_icc_pmr_el1(IccPmrEl1::empty().with_priority(PRIORITY_MASK));
        write_icc_ctlr_el1(IccCtlrEl1::empty());
        write_icc_igrpen1_el1(IccIgrpen1El1::ENABLE);
        Ok(Self { registers: Lock::new(MappedRegisters { distributor, redistributor }), processor })
    }

    pub fn enable(&self, line: Line) -> Result<()> {
        let registers = self.registers.lock();
        if line.number < FIRST_SHARED {
            return registers.redistributor.lines().enable(line);
        }
        if let Some(route) = registers.distributor.route.get(line.number as usize) {
            route.set(self.processor);
        }
        registers.distributor.lines().enable(line)
    }

    pub fn disable(&self, number: u32) {
        let registers = self.registers.lock();
        if number < FIRST_SHARED {
            registers.redistributor.lines().disable(number);
        } else {
            registers.distributor.lines().disable(number);
        }
    }

    #[inline]
    pub fn acknowledge(&self) -> u32 {
        read_icc_iar1_el1().intid()
    }

    #[inline]
    pub fn end(&self, number: u32) {
        write_icc_eoir1_el1(IccEoir1El1::empty().with_intid(number));
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        write_icc_igrpen1_el1(IccIgrpen1El1::empty());
        self.registers.get_mut().distributor.control.modify(Control::GROUPS::CLEAR);
    }
}

impl Distributor {
    /// The registers of all lines; those of private lines do nothing here.
    fn lines(&self) -> Lines<'_> {
        lines_in!(self).of_distributor(&self.kind)
    }
}

impl Redistributor {
    /// The registers of the private lines.
    fn lines(&self) -> Lines<'_> {
        lines_in!(self)
    }
}

/// Waits until the hardware has done what it always does within microseconds.
fn wait(done: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !done() {
        if Instant::now() > deadline {
            return Err(Error::Device("the GIC takes longer than a second for a write to take effect".to_owned()));
        }
        core::hint::spin_loop();
    }
    Ok(())
}
