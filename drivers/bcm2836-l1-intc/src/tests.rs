//! The driver over a model of the registers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::Property;
use arm_sysregs::el1::fake::SYSREGS;
use arm_sysregs::el1::registers::MpidrEl1;
use fake_kernel::{FakeNode, Model};
use std::sync::{Arc, Mutex, MutexGuard};

/// Four processors' timers and mailboxes, and the devices' line.
#[derive(Default)]
struct Chip {
    control: u32,
    prescaler: u32,
    devices_to: u32,
    devices: bool,
    /// Whether each processor's timers ask for an interrupt, a bit a timer; and which are let through.
    timers: [u32; 4],
    timers_enabled: [u32; 4],
    mailboxes_enabled: [u32; 4],
    mailboxes: [u32; 16],
}

impl Chip {
    fn source(&self, processor: usize) -> u32 {
        let timers = self.timers[processor] & self.timers_enabled[processor];
        let mailboxes = (0..4).filter(|mailbox| {
            self.mailboxes[4 * processor + mailbox] != 0 && self.mailboxes_enabled[processor] >> mailbox & 1 != 0
        });
        let devices = self.devices && self.devices_to as usize == processor;
        timers | mailboxes.map(|mailbox| 1 << (4 + mailbox)).sum::<u32>() | u32::from(devices) << 8
    }
}

impl Model for Chip {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x40..0x50 => self.timers_enabled[(offset - 0x40) / 4],
            0x50..0x60 => self.mailboxes_enabled[(offset - 0x50) / 4],
            0x60..0x70 => self.source((offset - 0x60) / 4),
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => self.control = value,
            0x08 => self.prescaler = value,
            0x0c => self.devices_to = value,
            0x40..0x50 => self.timers_enabled[(offset - 0x40) / 4] = value,
            0x50..0x60 => self.mailboxes_enabled[(offset - 0x50) / 4] = value,
            0x80..0xc0 => self.mailboxes[(offset - 0x80) / 4] |= value,
            0xc0..0x100 => self.mailboxes[(offset - 0xc0) / 4] &= !value,
            _ => panic!("write at {offset:#x}"),
        }
    }
}

/// The system registers, which there is one set of: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Goes on as another processor.
fn become_processor(number: u64) {
    SYSREGS.lock().unwrap().mpidr_el1 = MpidrEl1::from_bits_retain(0x8000_0000 | number);
}

fn probe(properties: &[&str]) -> (Result<L1>, Arc<Mutex<Chip>>) {
    let model = Arc::new(Mutex::new(Chip { control: 0x300, timers_enabled: [0xff; 4], ..Chip::default() }));
    let node = FakeNode::with_model(0x100, model.clone());
    let property = |name: &&str| Property { name: (*name).to_owned(), value: Vec::new() };
    let properties = properties.iter().map(property).collect();
    let tree = Node::new("/soc/local_intc@40000000".to_owned(), "brcm,bcm2836-l1-intc".to_owned(), properties);
    (L1::probe(&tree, &mut node.resources()), model)
}

fn controller() -> (L1, Arc<Mutex<Chip>>) {
    become_processor(0);
    let (controller, model) = probe(&["interrupt-controller"]);
    (controller.unwrap(), model)
}

fn take(controller: &L1) -> Option<Cause> {
    let acknowledged = controller.acknowledge()?;
    controller.end(acknowledged);
    Some(acknowledged.cause)
}

#[test]
fn a_bcm2711_has_none() {
    let _turn = turn();
    become_processor(0);
    assert_eq!(probe(&[]).0.map(drop), Err(Error::Absent));
}

#[test]
fn the_timers_rate_is_set_and_firmwares_choices_are_forgotten() {
    let _turn = turn();
    let (_controller, model) = controller();
    let chip = model.lock().unwrap();
    assert_eq!((chip.control, chip.prescaler), (0, 0x8000_0000));
    assert_eq!((chip.timers_enabled, chip.mailboxes_enabled), ([0; 4], [1, 0, 0, 0]));
}

#[test]
fn each_processor_has_its_own_timers() {
    let _turn = turn();
    let (controller, model) = controller();
    become_processor(2);
    controller.start_processor().unwrap();
    let line = controller.translate(&[3, 4]).unwrap();
    controller.enable(line, Urgency::High).unwrap();
    model.lock().unwrap().timers = [8; 4];
    assert_eq!(take(&controller), Some(Cause::Line(3)));
    become_processor(0);
    assert_eq!(take(&controller), None);
    become_processor(2);
    controller.disable(3);
    assert_eq!(take(&controller), None);
}

#[test]
fn signals_reach_who_they_are_for() {
    let _turn = turn();
    let (controller, _) = controller();
    become_processor(3);
    controller.start_processor().unwrap();
    become_processor(0);
    controller.signal(ProcessorId::from_mpidr(0x8000_0003));
    controller.signal(ProcessorId::from_mpidr(3));
    assert_eq!(take(&controller), None);
    become_processor(3);
    assert_eq!((take(&controller), take(&controller)), (Some(Cause::Signal), None), "several may arrive as one");
    // Neither of these is there.
    controller.signal(ProcessorId::from_mpidr(4));
    become_processor(4);
    assert!(controller.start_processor().is_err());
    assert_eq!(take(&controller), None);
}

#[test]
fn the_devices_line_goes_to_who_enables_it_behind_timers_and_signals() {
    let _turn = turn();
    let (controller, model) = controller();
    become_processor(1);
    controller.start_processor().unwrap();
    for number in [8, 1] {
        let line = controller.translate(&[number, 4]).unwrap();
        controller.enable(line, Urgency::Normal).unwrap();
    }
    model.lock().unwrap().devices = true;
    model.lock().unwrap().timers[1] = 2;
    controller.signal(ProcessorId::from_mpidr(1));
    assert_eq!(take(&controller), Some(Cause::Line(1)));
    model.lock().unwrap().timers[1] = 0;
    assert_eq!(take(&controller), Some(Cause::Signal));
    assert_eq!(take(&controller), Some(Cause::Line(8)));
    become_processor(0);
    assert_eq!(take(&controller), None);
}

#[test]
fn refuses_lines_that_are_not_there() {
    let _turn = turn();
    let (controller, _) = controller();
    for specifier in [&[4, 4][..], &[9, 4], &[12], &[], &[1, 4, 0]] {
        assert!(matches!(controller.translate(specifier), Err(Error::Invalid(_))), "{specifier:?}");
    }
}
