//! The driver over a model of the registers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{FakeNode, Model};
use std::sync::{Arc, Mutex};

/// Levels of lines by bank, and which are let through.
#[derive(Default)]
struct Chip {
    levels: [u32; 3],
    enabled: [u32; 3],
    fast: u32,
}

impl Chip {
    fn interrupts(&self) -> bool {
        (0..3).any(|bank| self.levels[bank] & self.enabled[bank] != 0)
    }
}

impl Model for Chip {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            // Bits 8 and 9 tell of the other banks, those above repeat some of their lines.
            0x00 => self.levels[0] | u32::from(self.levels[1] != 0) << 8 | 1 << 20,
            0x04 | 0x08 => self.levels[offset / 4],
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x0c => self.fast = value,
            0x10 => self.enabled[1] |= value,
            0x14 => self.enabled[2] |= value,
            0x18 => self.enabled[0] |= value,
            0x1c => self.enabled[1] &= !value,
            0x20 => self.enabled[2] &= !value,
            0x24 => self.enabled[0] &= !value,
            _ => panic!("write at {offset:#x}"),
        }
    }
}

fn probe() -> (Armctrl, Arc<Mutex<Chip>>) {
    let model = Arc::new(Mutex::new(Chip { enabled: [0xff; 3], fast: 0x81, ..Chip::default() }));
    let node = FakeNode::with_model(0x200, model.clone());
    (Armctrl::probe(&Node::default(), &mut node.resources()).unwrap(), model)
}

fn enable(controller: &Armctrl, specifier: &[u32]) -> u32 {
    let line = controller.translate(specifier).unwrap();
    controller.enable(line, Urgency::Normal).unwrap();
    line.number
}

#[test]
fn firmwares_choices_are_forgotten() {
    let (controller, model) = probe();
    assert_eq!(model.lock().unwrap().enabled, [0; 3]);
    assert_eq!(model.lock().unwrap().fast, 0);
    enable(&controller, &[1, 29]);
    drop(controller);
    assert_eq!(model.lock().unwrap().enabled, [0; 3]);
}

#[test]
fn lines_of_all_banks_are_taken_one_after_the_other() {
    let (controller, model) = probe();
    let lines = [[0, 2], [1, 29], [2, 31]].map(|specifier| enable(&controller, &specifier));
    assert_eq!(lines, [2, 61, 95]);
    assert_eq!(controller.acknowledge(), None);
    // Of lines that nobody has enabled none is taken.
    model.lock().unwrap().levels = [1 << 2 | 1 << 3, 1 << 29 | 1, 1 << 31];
    for (bank, line) in lines.into_iter().enumerate() {
        assert!(model.lock().unwrap().interrupts());
        let taken = controller.acknowledge().unwrap();
        assert_eq!(taken.cause, Cause::Line(line));
        assert!(!model.lock().unwrap().interrupts(), "all is silent while it is served");
        assert_eq!(controller.acknowledge(), None);
        model.lock().unwrap().levels[bank] = 0;
        controller.end(taken);
    }
    assert!(!model.lock().unwrap().interrupts());
    assert_eq!(model.lock().unwrap().enabled, [1 << 2, 1 << 29, 1 << 31]);
}

#[test]
fn lines_that_are_changed_while_one_is_served_are_so_afterwards() {
    let (controller, model) = probe();
    let first = enable(&controller, &[1, 4]);
    model.lock().unwrap().levels[1] = 1 << 4 | 1 << 5;
    let taken = controller.acknowledge().unwrap();
    controller.disable(first);
    enable(&controller, &[1, 5]);
    assert!(!model.lock().unwrap().interrupts());
    controller.end(taken);
    assert_eq!(model.lock().unwrap().enabled[1], 1 << 5);
    assert_eq!(controller.acknowledge().unwrap().cause, Cause::Line(37));
}

#[test]
fn a_line_that_nobody_enabled_is_silenced_when_it_interrupts() {
    let (controller, model) = probe();
    model.lock().unwrap().enabled[2] = 1 << 7;
    model.lock().unwrap().levels[2] = 1 << 7;
    assert_eq!(controller.acknowledge(), None);
    assert!(!model.lock().unwrap().interrupts());
}

#[test]
fn refuses_lines_that_are_not_there() {
    let (controller, _) = probe();
    for specifier in [&[3, 0][..], &[0, 8], &[1, 32], &[1], &[1, 2, 3]] {
        assert!(matches!(controller.translate(specifier), Err(Error::Invalid(_))), "{specifier:?}");
    }
    controller.disable(96);
}
