//! The driver over models of both chips' registers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::Property;
use abi::interrupt::{Cause, Trigger};
use fake_kernel::{FakeNode, Model};
use std::sync::{Arc, Mutex};

/// Pins, with what drives them from outside.
#[derive(Default)]
struct Chip {
    functions: [u32; 6],
    /// Levels that outputs are set to.
    latch: u64,
    /// Levels of inputs.
    outside: u64,
    events: u64,
    /// For what a pin causes an event: rising, falling, high, low.
    detect: [u64; 4],
    /// BCM2835: what the clock writes, and which pins were clocked with it.
    pull: u32,
    clocked: Vec<(u32, usize, u32)>,
    /// BCM2711.
    pulls: [u32; 4],
}

impl Chip {
    fn is_output(&self, pin: usize) -> bool {
        self.functions[pin / 10] >> (pin % 10 * 3) & 7 == 1
    }

    fn levels(&self) -> u64 {
        (0..58).map(|pin| if self.is_output(pin) { self.latch & 1 << pin } else { self.outside & 1 << pin }).sum()
    }

    /// Changes levels from outside.
    fn drive(&mut self, outside: u64) {
        let before = self.levels();
        self.outside = outside;
        let now = self.levels();
        self.events |= self.detect[0] & !before & now | self.detect[1] & before & !now;
        self.latch_levels();
    }

    /// As long as a level is there that is looked for, so is its event.
    fn latch_levels(&mut self) {
        self.events |= self.detect[2] & self.levels() | self.detect[3] & !self.levels();
    }
}

/// Replaces one word of a register of two.
fn put(register: &mut u64, word: usize, value: u32) {
    *register = *register & !(0xffff_ffff << (32 * word)) | u64::from(value) << (32 * word);
}

impl Model for Chip {
    fn read(&mut self, offset: usize) -> u32 {
        let word = |register: u64, first: usize| (register >> (8 * (offset - first))) as u32;
        match offset {
            0x00..0x18 => self.functions[offset / 4],
            0x34..0x3c => word(self.levels(), 0x34),
            0x40..0x48 => word(self.events, 0x40),
            0x4c..0x54 => word(self.detect[0], 0x4c),
            0x58..0x60 => word(self.detect[1], 0x58),
            0x64..0x6c => word(self.detect[2], 0x64),
            0x70..0x78 => word(self.detect[3], 0x70),
            0xe4..0xf4 => self.pulls[(offset - 0xe4) / 4],
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let bits = |first: usize| u64::from(value) << (8 * (offset - first));
        match offset {
            0x00..0x18 => self.functions[offset / 4] = value,
            0x1c..0x24 => self.latch |= bits(0x1c),
            0x28..0x30 => self.latch &= !bits(0x28),
            0x40..0x48 => {
                self.events &= !bits(0x40);
                self.latch_levels();
            }
            0x4c..0x54 => put(&mut self.detect[0], (offset - 0x4c) / 4, value),
            0x58..0x60 => put(&mut self.detect[1], (offset - 0x58) / 4, value),
            0x64..0x6c => put(&mut self.detect[2], (offset - 0x64) / 4, value),
            0x70..0x78 => put(&mut self.detect[3], (offset - 0x70) / 4, value),
            0x94 => self.pull = value,
            0x98..0xa0 if value != 0 => self.clocked.push((self.pull, (offset - 0x98) / 4, value)),
            0x98..0xa0 => assert_eq!(self.pull, 0, "both are taken away together"),
            0xe4..0xf4 => self.pulls[(offset - 0xe4) / 4] = value,
            _ => panic!("write at {offset:#x}"),
        }
        self.latch_levels();
    }
}

fn probe(compatible: &str) -> (Controller, Arc<Mutex<Chip>>) {
    let model = Arc::new(Mutex::new(Chip::default()));
    let node = FakeNode::with_model(0xf4, model.clone());
    let names = Property { name: "gpio-line-names".to_owned(), value: b"ID_SDA\0ID_SCL\0\0".to_vec() };
    let tree = Node::new("/soc/gpio@7e200000".to_owned(), compatible.to_owned(), vec![names]);
    (Controller::probe(&tree, &mut node.resources()).unwrap(), model)
}

fn bcm2711() -> (Controller, Arc<Mutex<Chip>>) {
    probe("brcm,bcm2711-gpio")
}

#[test]
fn functions_are_those_of_the_manual() {
    let (controller, model) = bcm2711();
    let codes = [
        (Function::Input, 0),
        (Function::Output, 1),
        (Function::Alternate(0), 4),
        (Function::Alternate(1), 5),
        (Function::Alternate(2), 6),
        (Function::Alternate(3), 7),
        (Function::Alternate(4), 3),
        (Function::Alternate(5), 2),
    ];
    for (function, code) in codes {
        model.lock().unwrap().functions[2] = u32::MAX;
        controller.set_function(23, function).unwrap();
        assert_eq!(model.lock().unwrap().functions[2], !(7 << 9) | code << 9);
        assert_eq!(controller.status(23).unwrap().function, function);
    }
    assert!(matches!(controller.set_function(23, Function::Alternate(6)), Err(Error::Invalid(_))));
    assert_eq!(controller.status(0).unwrap().name, "ID_SDA");
    assert_eq!(controller.status(57).unwrap().name, "");
}

#[test]
fn outputs_are_set_and_inputs_read() {
    let (controller, model) = bcm2711();
    for pin in [0, 31, 32, 57] {
        controller.set_level(pin, true).unwrap();
        assert_eq!(controller.is_high(pin), Ok(false), "an input");
        controller.set_function(pin, Function::Output).unwrap();
        assert_eq!(controller.is_high(pin), Ok(true));
        controller.set_level(pin, false).unwrap();
        assert_eq!(controller.is_high(pin), Ok(false));
    }
    model.lock().unwrap().drive(1 << 40);
    assert!(controller.status(40).unwrap().is_high);
}

#[test]
fn a_bcm2711_keeps_pulls_and_tells_them() {
    let (controller, model) = bcm2711();
    for (pull, code) in [(Pull::Up, 1), (Pull::Down, 2), (Pull::None, 0)] {
        controller.set_pull(17, pull).unwrap();
        assert_eq!(model.lock().unwrap().pulls, [0, code << 2, 0, 0]);
        assert_eq!(controller.status(17).unwrap().pull, Some(pull));
    }
    assert!(controller.set_pull(57, Pull::Up).is_ok());
    assert_eq!(model.lock().unwrap().pulls[3], 1 << 18);
}

#[test]
fn a_bcm2835_is_told_pulls_by_a_clock() {
    let (controller, model) = probe("brcm,bcm2835-gpio");
    controller.set_pull(4, Pull::Up).unwrap();
    controller.set_pull(33, Pull::Down).unwrap();
    controller.set_pull(53, Pull::None).unwrap();
    assert_eq!(model.lock().unwrap().clocked, [(2, 0, 1 << 4), (1, 1, 1 << 1), (0, 1, 1 << 21)]);
    assert_eq!(controller.status(4).unwrap().pull, None);
    assert_eq!((controller.pins(), controller.set_pull(54, Pull::Up).is_err()), (54, true));
}

#[test]
fn pins_that_are_not_there_are_refused() {
    let (controller, _) = bcm2711();
    for pin in [58, 63, 64, u32::MAX] {
        assert!(matches!(controller.status(pin), Err(Error::Invalid(_))));
        assert!(matches!(controller.set_level(pin, true), Err(Error::Invalid(_))));
        assert!(matches!(controller.set_function(pin, Function::Input), Err(Error::Invalid(_))));
        controller.disable(pin);
    }
}

fn node(properties: &[(&str, &[u8])]) -> Node {
    let property = |(name, value): &(&str, &[u8])| Property { name: (*name).to_owned(), value: value.to_vec() };
    Node::new("/soc/gpio/state".to_owned(), String::new(), properties.iter().map(property).collect())
}

fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

#[test]
fn states_of_the_raspberry_pis_tree_are_applied() {
    let (controller, _) = bcm2711();
    // emmc_gpio34: a pull for each pin.
    let pins = cells(&[34, 35, 36]);
    let state = node(&[("brcm,pins", &pins), ("brcm,function", &cells(&[7])), ("brcm,pull", &cells(&[0, 2, 1]))]);
    controller.apply(&[state]).unwrap();
    let found = [34, 35, 36].map(|pin| controller.status(pin).unwrap());
    assert_eq!(found.clone().map(|status| status.function), [Function::Alternate(3); 3]);
    assert_eq!(found.map(|status| status.pull), [Some(Pull::None), Some(Pull::Up), Some(Pull::Down)]);

    // i2c3_gpio2: children with the common properties; and one pull for all.
    let data = node(&[("function", b"alt5\0"), ("pins", b"gpio2\0gpio4\0"), ("bias-pull-up", b"")]);
    let clock = node(&[("function", b"alt5\0"), ("pins", b"gpio3\0"), ("bias-disable", b"")]);
    let all = node(&[("brcm,pins", &cells(&[8, 9])), ("brcm,pull", &cells(&[2]))]);
    controller.apply(&[node(&[]), data, clock, all]).unwrap();
    let found = [2, 3, 4].map(|pin| controller.status(pin).unwrap());
    assert_eq!(found.clone().map(|status| status.function), [Function::Alternate(5); 3]);
    assert_eq!(found.map(|status| status.pull), [Some(Pull::Up), Some(Pull::None), Some(Pull::Up)]);
    assert_eq!([8, 9].map(|pin| controller.status(pin).unwrap().pull), [Some(Pull::Up); 2]);

    let output = node(&[("pins", b"gpio5\0"), ("function", b"gpio_out\0"), ("output-high", b"")]);
    controller.apply(&[output]).unwrap();
    let status = controller.status(5).unwrap();
    assert_eq!((status.function, status.is_high), (Function::Output, true));
}

#[test]
fn states_that_make_no_sense_are_refused() {
    let (controller, _) = bcm2711();
    let pins = cells(&[4]);
    for state in [
        node(&[("brcm,pins", &cells(&[58]))]),
        node(&[("brcm,pins", &pins), ("brcm,function", &cells(&[8]))]),
        node(&[("brcm,pins", &pins), ("brcm,pull", &cells(&[3]))]),
        node(&[("pins", b"gpio58\0")]),
        node(&[("pins", b"pin4\0")]),
        node(&[("pins", b"gpio4\0"), ("function", b"spi\0")]),
        node(&[("pins", b"gpio4\0"), ("function", b"alt6\0")]),
    ] {
        assert!(matches!(controller.apply(core::slice::from_ref(&state)), Err(Error::Invalid(_))), "{state:?}");
    }
}

/// The pin whose event is taken.
fn take(controller: &Controller) -> Option<(u32, Acknowledged)> {
    let acknowledged = controller.acknowledge()?;
    match acknowledged.cause {
        Cause::Line(pin) => Some((pin, acknowledged)),
        Cause::Signal => panic!("pins signal nobody"),
    }
}

#[test]
fn edges_interrupt_once_and_again_while_they_are_served() {
    let (controller, model) = bcm2711();
    for (pin, flags) in [(5, 1), (40, 2), (6, 3)] {
        let line = controller.translate(&[pin, flags]).unwrap();
        assert_eq!((line.number, line.trigger), (pin, Trigger::Edge));
        controller.enable(line, Urgency::Normal).unwrap();
    }
    let drive = |levels| model.lock().unwrap().drive(levels);
    assert_eq!(take(&controller), None);
    drive(1 << 5 | 1 << 40);
    let (pin, first) = take(&controller).unwrap();
    assert_eq!((pin, take(&controller)), (5, None), "a rise of 40 doesn't matter");
    drive(0);
    drive(1 << 5);
    controller.end(first);
    assert_eq!(take(&controller).map(|(pin, _)| pin), Some(5), "it came while the first was served");
    assert_eq!(take(&controller).map(|(pin, _)| pin), Some(40));
    drive(1 << 6);
    assert_eq!(take(&controller).map(|(pin, _)| pin), Some(6));
    drive(0);
    assert_eq!(take(&controller).map(|(pin, _)| pin), Some(6));
    controller.disable(6);
    drive(1 << 6);
    assert_eq!(take(&controller), None);
}

#[test]
fn a_level_interrupts_until_it_is_gone() {
    let (controller, model) = bcm2711();
    for (pin, flags) in [(7, 8), (33, 4)] {
        let line = controller.translate(&[pin, flags]).unwrap();
        assert_eq!(line.trigger, Trigger::Level);
        model.lock().unwrap().drive(1 << 7);
        controller.enable(line, Urgency::Normal).unwrap();
    }
    model.lock().unwrap().drive(1 << 7 | 1 << 33);
    let (pin, taken) = take(&controller).unwrap();
    assert_eq!(pin, 33);
    controller.end(taken);
    let (_, taken) = take(&controller).expect("it is still high");
    model.lock().unwrap().drive(1 << 7);
    controller.end(taken);
    assert_eq!(take(&controller), None);
    model.lock().unwrap().drive(0);
    assert_eq!(take(&controller).map(|(pin, _)| pin), Some(7));
}

#[test]
fn specifiers_that_name_no_pin_are_refused() {
    let (controller, _) = bcm2711();
    for specifier in [&[58, 1][..], &[4, 0], &[4, 5], &[4, 257], &[4], &[4, 1, 0]] {
        assert!(matches!(controller.translate(specifier), Err(Error::Invalid(_))), "{specifier:?}");
    }
}

#[test]
fn firmwares_leftovers_do_not_interrupt() {
    let model = Arc::new(Mutex::new(Chip { detect: [u64::MAX; 4], events: u64::MAX, ..Chip::default() }));
    let node = FakeNode::with_model(0xf4, model.clone());
    let controller = Controller::probe(&Node::default(), &mut node.resources()).unwrap();
    assert_eq!(take(&controller), None);
    assert_eq!(model.lock().unwrap().detect, [0; 4]);
}
