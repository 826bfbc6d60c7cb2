//! Both versions over registers that are plain memory. Offsets and values are those of the manuals.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::interrupt::Trigger;
use arm_sysregs::el1::fake::SYSREGS;
use arm_sysregs::el1::registers::{IccIar1El1, IccIgrpen1El1, IccSreEl1, MpidrEl1};
use fake_kernel::FakeNode;
use std::sync::{Mutex, MutexGuard};

const SPI_40: Line = Line { number: 40, trigger: Trigger::Edge };
const PPI_27: Line = Line { number: 27, trigger: Trigger::Level };

fn probe(registers: &FakeNode, compatible: &str) -> Result<Gic> {
    let node = Node::new("/intc@8000000".to_owned(), compatible.to_owned(), Vec::new());
    Gic::probe(&node, &mut registers.resources())
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
    drop(gic);
    assert_eq!((node.get(0, 0x000), node.get(1, 0x000)), (0, 0));
}

#[test]
fn v2_sends_a_line_to_this_processor_and_leaves_its_neighbours_alone() {
    let node = v2();
    let gic = probe(&node, "arm,cortex-a15-gic").unwrap();
    node.set(0, 0x428, 0x1111_1111);
    node.set(0, 0xc08, u32::MAX);
    gic.enable(SPI_40).unwrap();
    assert_eq!(node.get(0, 0x104), 1 << 8);
    assert_eq!(node.get(0, 0x428), 0x1111_1180);
    assert_eq!(node.get(0, 0x828), 0x04);
    gic.enable(Line { trigger: Trigger::Level, ..SPI_40 }).unwrap();
    assert_eq!(node.get(0, 0xc08), !(2 << 16));
    gic.disable(40);
    assert_eq!(node.get(0, 0x184), 1 << 8);
}

#[test]
fn refuses_lines_that_are_not_there() {
    let node = v2();
    let gic = probe(&node, "arm,gic-400").unwrap();
    assert!(gic.enable(Line { number: 95, ..SPI_40 }).is_ok());
    for number in [96, 1020, 1023, u32::MAX] {
        assert!(matches!(gic.enable(Line { number, ..SPI_40 }), Err(Error::Invalid(_))));
        gic.disable(number);
    }
    // A distributor of all lines: 1020 to 1023 aren't any.
    node.set(0, 0x004, 0x1f);
    assert!(gic.enable(Line { number: 1019, ..SPI_40 }).is_ok());
    assert!(gic.enable(Line { number: 1020, ..SPI_40 }).is_err());
}

#[test]
fn v2_takes_and_ends_lines() {
    let node = v2();
    let gic = probe(&node, "arm,gic-400").unwrap();
    node.set(1, 0x00c, 40);
    assert_eq!(gic.acknowledge(), Some(40));
    gic.end(40);
    assert_eq!(node.get(1, 0x010), 40);
    node.set(1, 0x00c, 1023);
    assert_eq!(gic.acknowledge(), None);
}

/// A GICv3 of 64 lines, on processor 1 of cluster 2, whose redistributor is the first.
fn v3() -> (FakeNode, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut system = SYSREGS.lock().unwrap();
    system.reset();
    system.icc_sre_el1 = IccSreEl1::SRE;
    system.mpidr_el1 = MpidrEl1::from_bits_retain(0x8000_0201);
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
    gic.enable(SPI_40).unwrap();
    assert_eq!(node.get(0, 0x0104), 1 << 8);
    assert_eq!(node.get(0, 0x0428), 0x80);
    assert_eq!(node.get(0, 0x0c08), 2 << 16);
    assert_eq!((node.get(0, 0x6140), node.get(0, 0x6144)), (0x201, 0));
    gic.enable(PPI_27).unwrap();
    assert_eq!(node.get(0, 0x0100), 0);
    assert_eq!(node.get(1, 0x1_0100), 1 << 27);
    assert_eq!(node.get(1, 0x1_0418), 0x8000_0000);
    gic.disable(27);
    assert_eq!(node.get(1, 0x1_0180), 1 << 27);
    assert!(gic.enable(Line { number: 64, ..SPI_40 }).is_err());
}

#[test]
fn v3_takes_and_ends_lines() {
    let (node, _turn) = v3();
    let gic = probe(&node, "arm,gic-v3").unwrap();
    SYSREGS.lock().unwrap().icc_iar1_el1 = IccIar1El1::from_bits_retain(40);
    assert_eq!(gic.acknowledge(), Some(40));
    gic.end(40);
    assert_eq!(SYSREGS.lock().unwrap().icc_eoir1_el1.intid(), 40);
    SYSREGS.lock().unwrap().icc_iar1_el1 = IccIar1El1::from_bits_retain(1023);
    assert_eq!(gic.acknowledge(), None);
}

#[test]
fn v3_says_why_it_can_not_work() {
    let (node, _turn) = v3();
    node.set(1, 0x000c, 0x0000_0200);
    let error = probe(&node, "arm,gic-v3").err().unwrap().to_string();
    assert!(error.contains("0x200") && error.contains("0x201"), "{error}");
    SYSREGS.lock().unwrap().icc_sre_el1 = IccSreEl1::empty();
    let error = probe(&node, "arm,gic-v3").err().unwrap().to_string();
    assert!(error.contains("ICC_SRE_EL1"), "{error}");
}
