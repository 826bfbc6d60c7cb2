//! Version 3: the processor interface is in system registers, and each processor has a redistributor for its private
//! lines. Registers: ARM IHI 0069H, chapter 12.

use crate::lines::{BINARY_POINT, DistributorKind, FIRST_SHARED, Lines, PRIORITY_MASK, SIGNAL, acknowledged, lines_in};
use crate::this_processor;
use abi::interrupt::{Acknowledged, Line, ProcessorId, Urgency};
use abi::prelude::*;
use arm_sysregs::el1::accessors::{
    read_icc_iar1_el1, read_icc_sre_el1, write_icc_bpr1_el1, write_icc_ctlr_el1, write_icc_eoir1_el1,
    write_icc_igrpen1_el1, write_icc_pmr_el1, write_icc_sgi1r_el1,
};
use arm_sysregs::el1::registers::{
    IccBpr1El1, IccCtlrEl1, IccEoir1El1, IccIgrpen1El1, IccPmrEl1, IccSgi1rEl1, IccSreEl1,
};

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
    /// `GICR_TYPER`. `AFFINITY` is the processor's Aff3, Aff2, Aff1, Aff0 from the most significant byte on.
    RedistributorKind [
        AFFINITY OFFSET(32) NUMBITS(32) [],
        LAST OFFSET(4) NUMBITS(1) [],
        VIRTUAL_LPIS OFFSET(1) NUMBITS(1) []
    ]
}

/// Bytes from one redistributor to the next in version 3, and in version 4, which has two more pages of 64 KiB.
const STRIDE: usize = 0x2_0000;
const STRIDE_VERSION_4: usize = 0x4_0000;

pub struct Controller {
    distributor: Registers<Distributor>,
    /// The runs of redistributors.
    regions: Vec<Registers<Redistributor>>,
    /// From one redistributor to the next, if the tree says so.
    stride: Option<usize>,
    /// Held by who changes what several lines share.
    changing: Lock<()>,
}

impl Controller {
    /// Node: the Linux binding `arm,gic-v3.yaml`.
    pub fn new(node: &Node, resources: &mut Resources) -> Result<Self> {
        let distributor: Registers<Distributor> = resources.registers(0)?;
        let regions = 1..=node.u32("#redistributor-regions").unwrap_or(1) as usize;
        let regions = regions.map(|index| resources.registers(index)).collect::<Result<Vec<_>>>()?;
        let stride = node.property("redistributor-stride").and_then(|value| value.try_into().ok());
        let stride = stride.map(|value| u64::from_be_bytes(value) as usize).filter(|stride| *stride > 0);
        check_system_registers()?;

        // Affinity routing may be switched on only while all groups are off (section 12.9.4).
        distributor.control.modify(Control::GROUPS::CLEAR);
        wait(|| !distributor.control.is_set(Control::WRITE_PENDING))?;
        distributor.control.modify(Control::AFFINITY_ROUTING::SET);
        distributor.lines().reset();
        wait(|| !distributor.control.is_set(Control::WRITE_PENDING))?;
        distributor.lines().set_group(1);
        distributor.control.modify(Control::GROUPS::ONE);

        let controller = Self { distributor, regions, stride, changing: Lock::new(()) };
        controller.start_processor()?;
        Ok(controller)
    }

    pub fn start_processor(&self) -> Result<()> {
        check_system_registers()?;
        let redistributor = self.redistributor()?;
        redistributor.waker.modify(Waker::PROCESSOR_SLEEP::CLEAR);
        wait(|| !redistributor.waker.is_set(Waker::CHILDREN_ASLEEP))?;
        redistributor.lines().reset();
        wait(|| !redistributor.control.is_set(RedistributorControl::WRITE_PENDING))?;
        redistributor.lines().set_group(1);
        redistributor.lines().enable(SIGNAL, Urgency::Normal)?;
        write_icc_pmr_el1(IccPmrEl1::empty().with_priority(PRIORITY_MASK));
        write_icc_bpr1_el1(IccBpr1El1::empty().with_binarypoint(BINARY_POINT));
        write_icc_ctlr_el1(IccCtlrEl1::empty());
        write_icc_igrpen1_el1(IccIgrpen1El1::ENABLE);
        Ok(())
    }

    /// The calling processor's.
    fn redistributor(&self) -> Result<&Redistributor> {
        let processor = this_processor().affinity();
        for region in &self.regions {
            let mut offset = 0;
            while let Some(redistributor) = region.at(offset) {
                let kind = redistributor.kind.extract();
                let owner = kind.read(RedistributorKind::AFFINITY);
                if (owner & 0xff00_0000) << 8 | owner & 0xff_ffff == processor {
                    return Ok(redistributor);
                }
                if kind.is_set(RedistributorKind::LAST) {
                    break;
                }
                let is_version_4 = kind.is_set(RedistributorKind::VIRTUAL_LPIS);
                offset += self.stride.unwrap_or(if is_version_4 { STRIDE_VERSION_4 } else { STRIDE });
            }
        }
        Err(Error::Unsupported(format!("the GIC has no redistributor for this processor, {processor:#x}")))
    }

    pub fn enable(&self, line: Line, urgency: Urgency) -> Result<()> {
        let _changing = self.changing.lock();
        if line.number < FIRST_SHARED {
            return self.redistributor()?.lines().enable(line, urgency);
        }
        if let Some(route) = self.distributor.route.get(line.number as usize) {
            route.set(this_processor().affinity());
        }
        self.distributor.lines().enable(line, urgency)
    }

    pub fn disable(&self, number: u32) {
        if number >= FIRST_SHARED {
            self.distributor.lines().disable(number);
        } else if let Ok(redistributor) = self.redistributor() {
            redistributor.lines().disable(number);
        }
    }

    pub fn signal(&self, processor: ProcessorId) {
        let [affinity0, affinity1, affinity2, _, affinity3, ..] = processor.affinity().to_le_bytes();
        let target = IccSgi1rEl1::empty().with_aff3(affinity3).with_aff2(affinity2).with_aff1(affinity1);
        // A range of 16 processors, and a bit for each of them.
        let target = target.with_rs(affinity0 / 16).with_targetlist(1 << (affinity0 % 16));
        write_icc_sgi1r_el1(target.with_intid(SIGNAL.number as u8));
    }

    #[inline]
    pub fn acknowledge(&self) -> Option<Acknowledged> {
        let number = read_icc_iar1_el1().intid();
        acknowledged(number, number)
    }

    #[inline]
    pub fn end(&self, number: u32) {
        write_icc_eoir1_el1(IccEoir1El1::empty().with_intid(number));
    }
}

/// Makes sure that the processor reaches its interface to the GIC.
fn check_system_registers() -> Result<()> {
    if read_icc_sre_el1().contains(IccSreEl1::SRE) {
        return Ok(());
    }
    let reason = "the GIC's system registers are switched off (ICC_SRE_EL1), which firmware and boot code decide";
    Err(Error::Unsupported(reason.to_owned()))
}

impl Drop for Controller {
    fn drop(&mut self) {
        write_icc_igrpen1_el1(IccIgrpen1El1::empty());
        self.distributor.control.modify(Control::GROUPS::CLEAR);
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
