//! Both versions over registers that are plain memory. Offsets and values are those of the manuals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::interrupt::{Cause, Trigger};
use arm_sysregs::el1::fake::SYSREGS;
use arm_sysregs::el1::registers::{IccBpr1El1, IccIar1El1, IccIgrpen1El1, IccSreEl1, MpidrEl1};
use fake_kernel::FakeNode;
use std::sync::{Mutex, MutexGuard};

const SPI_40: Line = Line { number: 40, trigger: Trigger::Edge };
const PPI_27: Line = Line { number: 27, trigger: Trigger::Level };

/// The system registers, which there is one set of: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Goes on as another processor, whose MPIDR_EL1 has this value.
fn become_processor(mpidr: u64) {
    SYSREGS.lock().unwrap().mpidr_el1 = MpidrEl1::from_bits_retain(mpidr);
}

fn probe(registers: &FakeNode, compatible: &str) -> Result<Gic> {
    probe_with(registers, compatible, &[])
}

fn probe_with(registers: &FakeNode, compatible: &str, properties: &[(&str, &[u8])]) -> Result<Gic> {
    let property = |(name, value): &(&str, &[u8])| abi::Property { name: (*name).to_owned(), value: value.to_vec() };
    let properties = properties.iter().map(property).collect();
    let node = Node::new("/intc@8000000".to_owned(), compatible.to_owned(), properties);
    Gic::probe(&node, &mut registers.resources())
}

fn take(gic: &Gic) -> Option<Cause> {
    gic.acknowledge().map(|acknowledged| acknowledged.cause)
}

/// A GICv2 of 96 lines whose private target registers say that this is processor 2.
fn v2() -> FakeNode {
    let node = FakeNode::new(&[0x1000, 0x2000]);
    node.set(0, 0x004, 2);
    node.set(0, 0x800, 0x0404_0404);
    node
}

#[test]
fn v2_starts_with_all_lines_silent() {
    let node = v2();
    let gic = probe(&node, "arm,gic-400").unwrap();
    for word in 0..3 {
        assert_eq!(node.get(0, 0x180 + 4 * word), u32::MAX);
        assert_eq!(node.get(0, 0x080 + 4 * word), 0);
    }
    assert_eq!(node.get(0, 0x18c), 0, "there are 96 lines");
    assert_eq!((node.get(0, 0x000), node.get(1, 0x000), node.get(1, 0x004)), (1, 1, 0xff));
    assert_eq!(node.get(0, 0x100), 1, "but for signals");
    drop(gic);
    assert_eq!((node.get(0, 0x000), node.get(1, 0x000)), (0, 0));
}

#[test]
fn v2_sends_a_line_to_this_processor_and_leaves_its_neighbours_alone() {
    let node = v2();
    let gic = probe(&node, "arm,cortex-a15-gic").unwrap();
    node.set(0, 0x428, 0x1111_1111);
    node.set(0, 0xc08, u32::MAX);
    gic.enable(SPI_40, Urgency::Normal).unwrap();
    assert_eq!(node.get(0, 0x104), 1 << 8);
    assert_eq!(node.get(0, 0x428), 0x1111_1180);
    assert_eq!(node.get(0, 0x828), 0x04);
    gic.enable(Line { trigger: Trigger::Level, ..SPI_40 }, Urgency::Normal).unwrap();
    assert_eq!(node.get(0, 0xc08), !(2 << 16));
    gic.disable(40);
    assert_eq!(node.get(0, 0x184), 1 << 8);
}

#[test]
fn refuses_lines_that_are_not_there() {
    let node = v2();
    let gic = probe(&node, "arm,gic-400").unwrap();
    assert!(gic.enable(Line { number: 95, ..SPI_40 }, Urgency::Normal).is_ok());
    for number in [96, 1020, 1023, u32::MAX] {
        assert!(matches!(gic.enable(Line { number, ..SPI_40 }, Urgency::Normal), Err(Error::Invalid(_))));
        gic.disable(number);
    }
    // A distributor of all lines: 1020 to 1023 aren't any.
    node.set(0, 0x004, 0x1f);
    assert!(gic.enable(Line { number: 1019, ..SPI_40 }, Urgency::Normal).is_ok());
    assert!(gic.enable(Line { number: 1020, ..SPI_40 }, Urgency::Normal).is_err());
}

#[test]
fn v2_takes_and_ends_lines() {
    let node = v2();
    let gic = probe(&node, "arm,gic-400").unwrap();
    node.set(1, 0x00c, 40);
    let taken = gic.acknowledge().unwrap();
    assert_eq!(taken.cause, Cause::Line(40));
    gic.end(taken);
    assert_eq!(node.get(1, 0x010), 40);
    node.set(1, 0x00c, 1023);
    assert_eq!(take(&gic), None);
}

#[test]
fn v2_gives_the_timer_precedence() {
    let node = v2();
    let gic = probe(&node, "arm,gic-400").unwrap();
    node.set(1, 0x008, 7);
    gic.start_processor().unwrap();
    assert_eq!(node.get(1, 0x008), 0, "as many bits as possible decide");
    gic.enable(SPI_40, Urgency::Normal).unwrap();
    gic.enable(PPI_27, Urgency::High).unwrap();
    assert_eq!((node.get(0, 0x428), node.get(0, 0x418)), (0x80, 0x4000_0000));
    assert_eq!(node.get(0, 0x818), 0, "the targets of private lines can't be chosen");
}

#[test]
fn v2_signals_the_processors_that_were_started() {
    let _turn = turn();
    SYSREGS.lock().unwrap().reset();
    let node = v2();
    become_processor(0x8000_0100);
    let gic = probe(&node, "arm,gic-400").unwrap();
    // Another: its private target registers and its lines are its own.
    become_processor(0x8000_0003);
    node.set(0, 0x800, 0x4040_4040);
    node.set(0, 0x180, 0);
    node.set(0, 0x184, 0);
    node.set(1, 0x000, 0);
    gic.start_processor().unwrap();
    assert_eq!((node.get(0, 0x180), node.get(0, 0x184)), (u32::MAX, 0), "shared lines are left alone");
    assert_eq!((node.get(1, 0x000), node.get(0, 0x100), node.get(0, 0x400)), (1, 1, 0x80));
    gic.enable(SPI_40, Urgency::Normal).unwrap();
    assert_eq!(node.get(0, 0x828), 0x40, "a line goes to who enabled it");

    gic.signal(ProcessorId::from_mpidr(0x100));
    assert_eq!(node.get(0, 0xf00), 0x04_0000);
    gic.signal(ProcessorId::from_mpidr(3));
    assert_eq!(node.get(0, 0xf00), 0x40_0000);
    node.set(0, 0xf00, 0);
    gic.signal(ProcessorId::from_mpidr(0));
    assert_eq!(node.get(0, 0xf00), 0);

    // The sender's number, 2, goes back with the end.
    node.set(1, 0x00c, 2 << 10);
    let taken = gic.acknowledge().unwrap();
    assert_eq!(taken.cause, Cause::Signal);
    gic.end(taken);
    assert_eq!(node.get(1, 0x010), 2 << 10);
}

/// A GICv3 of 64 lines, on processor 1 of cluster 2, whose redistributor is the first.
fn v3() -> (FakeNode, MutexGuard<'static, ()>) {
    let turn = turn();
    let mut system = SYSREGS.lock().unwrap();
    system.reset();
    system.icc_sre_el1 = IccSreEl1::SRE;
    system.mpidr_el1 = MpidrEl1::from_bits_retain(0x8000_0201);
    drop(system);
    let node = FakeNode::new(&[0x1_0000, 0x2_0000]);
    node.set(0, 0x0004, 1);
    node.set(1, 0x000c, 0x0000_0201);
    (node, turn)
}

#[test]
fn v3_enables_group_1_of_this_processor() {
    let (node, _turn) = v3();
    node.set(1, 0x0014, 2);
    let gic = probe(&node, "arm,gic-v3").unwrap();
    assert_eq!(node.get(0, 0x0000), 1 << 4 | 1 << 1);
    assert_eq!(node.get(1, 0x0014), 0, "the processor is awake");
    assert_eq!((node.get(0, 0x0084), node.get(1, 0x1_0080)), (u32::MAX, u32::MAX));
    assert_eq!((node.get(0, 0x0184), node.get(1, 0x1_0180)), (u32::MAX, u32::MAX));
    assert_eq!(SYSREGS.lock().unwrap().icc_igrpen1_el1, IccIgrpen1El1::ENABLE);
    assert_eq!(SYSREGS.lock().unwrap().icc_pmr_el1.priority(), 0xff);
    drop(gic);
    assert_eq!(SYSREGS.lock().unwrap().icc_igrpen1_el1, IccIgrpen1El1::empty());
}

#[test]
fn v3_routes_shared_lines_and_keeps_private_ones_in_the_redistributor() {
    let (node, _turn) = v3();
    let gic = probe(&node, "arm,gic-v3").unwrap();
    gic.enable(SPI_40, Urgency::Normal).unwrap();
    assert_eq!(node.get(0, 0x0104), 1 << 8);
    assert_eq!(node.get(0, 0x0428), 0x80);
    assert_eq!(node.get(0, 0x0c08), 2 << 16);
    assert_eq!((node.get(0, 0x6140), node.get(0, 0x6144)), (0x201, 0));
    gic.enable(PPI_27, Urgency::High).unwrap();
    assert_eq!(node.get(0, 0x0100), 0);
    assert_eq!(node.get(1, 0x1_0100), 1 << 27);
    assert_eq!(node.get(1, 0x1_0418), 0x4000_0000);
    gic.disable(27);
    assert_eq!(node.get(1, 0x1_0180), 1 << 27);
    assert!(gic.enable(Line { number: 64, ..SPI_40 }, Urgency::Normal).is_err());
}

#[test]
fn v3_takes_and_ends_lines() {
    let (node, _turn) = v3();
    let gic = probe(&node, "arm,gic-v3").unwrap();
    SYSREGS.lock().unwrap().icc_iar1_el1 = IccIar1El1::from_bits_retain(40);
    let taken = gic.acknowledge().unwrap();
    assert_eq!(taken.cause, Cause::Line(40));
    gic.end(taken);
    assert_eq!(SYSREGS.lock().unwrap().icc_eoir1_el1.intid(), 40);
    SYSREGS.lock().unwrap().icc_iar1_el1 = IccIar1El1::from_bits_retain(0);
    assert_eq!(take(&gic), Some(Cause::Signal));
    SYSREGS.lock().unwrap().icc_iar1_el1 = IccIar1El1::from_bits_retain(1023);
    assert_eq!(take(&gic), None);
}

#[test]
fn v3_finds_the_redistributor_of_each_processor() {
    let _turn = turn();
    // Two regions: in the first one of version 3 and two of version 4, in the second one.
    let node = FakeNode::new(&[0x1_0000, 0xa_0000, 0x2_0000]);
    const LAST: u32 = 1 << 4;
    const VERSION_4: u32 = 1 << 1;
    let processors = [
        (0x8000_0000, 1, 0x0_0000, 0, 0x0000_0000),
        (0x8000_0001, 1, 0x2_0000, VERSION_4, 0x0000_0001),
        (0x8000_0100, 1, 0x6_0000, VERSION_4 | LAST, 0x0000_0100),
        (0x03_8002_0114, 2, 0x0_0000, LAST, 0x0302_0114),
    ];
    node.set(0, 0x0004, 1);
    for (_, block, offset, kind, affinity) in processors {
        node.set(block, offset + 0x8, kind);
        node.set(block, offset + 0xc, affinity);
    }
    let regions: [(&str, &[u8]); 1] = [("#redistributor-regions", &[0, 0, 0, 2])];
    let mut system = SYSREGS.lock().unwrap();
    system.reset();
    system.icc_sre_el1 = IccSreEl1::SRE;
    drop(system);
    become_processor(processors[0].0);
    let gic = probe_with(&node, "arm,gic-v3", &regions).unwrap();
    for (mpidr, block, offset, ..) in processors {
        become_processor(mpidr);
        node.set(block, offset + 0x14, 2);
        SYSREGS.lock().unwrap().icc_igrpen1_el1 = IccIgrpen1El1::empty();
        SYSREGS.lock().unwrap().icc_bpr1_el1 = IccBpr1El1::from_bits_retain(7);
        gic.start_processor().unwrap();
        assert_eq!(node.get(block, offset + 0x14), 0, "{mpidr:#x} is awake");
        assert_eq!(SYSREGS.lock().unwrap().icc_igrpen1_el1, IccIgrpen1El1::ENABLE);
        assert_eq!(SYSREGS.lock().unwrap().icc_bpr1_el1.binarypoint(), 0);
        assert_eq!(node.get(block, offset + 0x1_0100), 1, "signals come through");
        gic.enable(PPI_27, Urgency::High).unwrap();
        assert_eq!(node.get(block, offset + 0x1_0100), 1 << 27);
        gic.disable(27);
        assert_eq!(node.get(block, offset + 0x1_0180), 1 << 27);
        gic.enable(SPI_40, Urgency::Normal).unwrap();
        assert_eq!((node.get(0, 0x6140), node.get(0, 0x6144)), (mpidr as u32 & 0xff_ffff, (mpidr >> 32) as u32));
    }
    become_processor(0x8000_0002);
    let error = gic.start_processor().unwrap_err().to_string();
    assert!(error.contains("no redistributor for this processor, 0x2"), "{error}");
    assert!(gic.enable(PPI_27, Urgency::High).is_err());
}

#[test]
fn v3_goes_by_the_stride_that_the_tree_gives() {
    let (_, _turn) = v3();
    let node = FakeNode::new(&[0x1_0000, 0xa_0000]);
    node.set(1, 0x2_0008, 1 << 4);
    node.set(1, 0x8_000c, 0x0000_0201);
    let stride: [(&str, &[u8]); 1] = [("redistributor-stride", &[0, 0, 0, 0, 0, 8, 0, 0])];
    assert!(probe(&node, "arm,gic-v3").is_err(), "what lies between says that it is the last");
    probe_with(&node, "arm,gic-v3", &stride).unwrap().enable(PPI_27, Urgency::High).unwrap();
    assert_eq!(node.get(1, 0x9_0100), 1 << 27);
}

#[test]
fn v3_signals_any_processor() {
    let (node, _turn) = v3();
    let gic = probe(&node, "arm,gic-v3").unwrap();
    // Fields of ICC_SGI1R_EL1: Aff3 from bit 48, the range from 44, Aff2 from 32, Aff1 from 16, a bit for each Aff0.
    for (mpidr, written) in
        [(0x8000_0000, 1), (0x8000_0203, 0x2_0008), (0x0004_8003_0225, 0x0004_2003_0002_0020), (15, 0x8000)]
    {
        gic.signal(ProcessorId::from_mpidr(mpidr));
        assert_eq!(SYSREGS.lock().unwrap().icc_sgi1r_el1.bits(), written, "{mpidr:#x}");
    }
}

#[test]
fn v3_says_why_it_can_not_work() {
    let (node, _turn) = v3();
    node.set(1, 0x000c, 0x0000_0200);
    let error = probe(&node, "arm,gic-v3").err().unwrap().to_string();
    assert!(error.contains("no redistributor for this processor, 0x201"), "{error}");
    SYSREGS.lock().unwrap().icc_sre_el1 = IccSreEl1::empty();
    let error = probe(&node, "arm,gic-v3").err().unwrap().to_string();
    assert!(error.contains("ICC_SRE_EL1"), "{error}");
}
