//! The driver with pins that remember.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::gpio::{PinStatus, Pull};
use abi::{Class, Interface, Property};
use fake_kernel::{FakeNode, publish, refer};
use std::sync::Mutex as StdMutex;

/// What has been done to pins: number and level, in order.
#[derive(Default)]
struct Pins(StdMutex<Vec<(u32, bool)>>);

impl Gpio for Pins {
    fn pins(&self) -> u32 {
        8
    }
    fn status(&self, _pin: u32) -> Result<PinStatus> {
        unimplemented!()
    }
    fn is_high(&self, _pin: u32) -> Result<bool> {
        unimplemented!()
    }
    fn set_level(&self, pin: u32, is_high: bool) -> Result<()> {
        self.0.lock().unwrap().push((pin, is_high));
        Ok(())
    }
    fn set_function(&self, pin: u32, function: Function) -> Result<()> {
        assert_eq!(function, Function::Output);
        assert!(self.0.lock().unwrap().iter().any(|(other, _)| *other == pin), "the level comes first");
        Ok(())
    }
    fn set_pull(&self, _pin: u32, _pull: Pull) -> Result<()> {
        unimplemented!()
    }
}

/// An LED: the controller's number, the cells of `gpios`, and properties.
type Described<'a> = (u32, &'a [u32], &'a [(&'a str, &'a str)]);

/// A node with LEDs.
fn probe(name: &str, leds: &[Described<'_>]) -> Result<Leds> {
    let node = FakeNode::new(&[]);
    let path = |index: usize| format!("/{name}/led{index}");
    let property =
        |(name, value): &(&str, &str)| Property { name: (*name).to_owned(), value: [value.as_bytes(), b"\0"].concat() };
    let mut children = Vec::new();
    for (index, (controller, cells, properties)) in leds.iter().enumerate() {
        refer(&path(index), "gpios", &[(*controller, cells)]);
        children.push(Node::new(path(index), String::new(), properties.iter().map(property).collect()));
    }
    node.set_children(&children);
    Leds::probe(&Node::new(format!("/{name}"), "gpio-leds".to_owned(), Vec::new()), &mut node.resources())
}

fn pins(number: u32) -> &'static Pins {
    let pins: &'static Pins = Box::leak(Box::default());
    publish(number, Class::Gpio, move || Interface::Gpio(pins));
    pins
}

#[test]
fn leds_show_what_the_tree_says_first() {
    let pins = pins(1);
    let state = |state| [("default-state", state)];
    probe(
        "states",
        &[
            (1, &[0, 0], &state("on")),
            (1, &[1, 1], &state("on")),
            (1, &[2, 0], &state("keep")),
            (1, &[3, 1], &state("off")),
            (1, &[4, 0], &[]),
            (1, &[5, 1], &[("linux,default-trigger", "default-on"), ("default-state", "keep")]),
        ],
    )
    .unwrap();
    assert_eq!(*pins.0.lock().unwrap(), [(0, true), (1, false), (3, true), (4, false), (5, false)]);
}

#[test]
fn a_heartbeat_is_on_shortly_and_off_longer() {
    let pins = pins(2);
    probe("heart", &[(2, &[7, 1], &[("linux,default-trigger", "heartbeat")])]).unwrap();
    fake_kernel::wait_until("two beats", || pins.0.lock().unwrap().len() >= 4);
    assert_eq!(pins.0.lock().unwrap()[..4], [(7, false), (7, true), (7, false), (7, true)]);
}

#[test]
fn a_missing_controller_costs_its_own_leds_only() {
    let pins = pins(3);
    let on: &[_] = &[("default-state", "on")];
    probe("half", &[(99, &[0, 0], on), (3, &[1, 0], on)]).unwrap();
    assert_eq!(*pins.0.lock().unwrap(), [(1, true)]);
    assert!(matches!(probe("none", &[(99, &[0, 0], on)]).map(drop), Err(Error::Deferred(_))));
    assert!(matches!(probe("cells", &[(3, &[0], on)]).map(drop), Err(Error::Invalid(_))));
    assert!(probe("empty", &[]).is_ok());
}
