//! Says what can't be, or asks for too much, as its parameter says. Drives anything: it touches no registers.
#![no_std]
#![forbid(unsafe_code)]

use abi::block::Geometry;
use abi::gpio::{Function, PinStatus, Pull};
use abi::network::{Frame, MacAddress, Statistics};
use abi::prelude::*;
use abi::{Class, registry, thread};
use core::mem::forget;

abi::driver!(
    TestLiar: Bus + BlockDevice + NetworkDevice + Gpio + Screen,
    compatible = ["arm,pl031", "lockstep,test-liar"],
    summary = "Says what can't be, or asks for too much",
    parameters = {
        /// `block`, `network`, `gpio`, `names`, `depth` or `number` of what is behind it, `thread` with a bad name, all `events`,
        /// many a `watch`, a record for each that a screen shows (`chatter`), or `probe`, which fails
        lie: String = "none",
    },
);

struct TestLiar;

fn lies(about: &str) -> bool {
    parameters::lie() == about
}

impl Driver for TestLiar {
    fn probe(_node: &Node, _resources: &mut Resources) -> Result<Self> {
        match parameters::lie().as_str() {
            "thread" => {
                let names = ["", "\x1b[2J", &"n".repeat(1 << 20)];
                names.iter().filter_map(|name| thread::spawn(name, || {}).err()).for_each(|error| warn!("{error}"));
            }
            "events" => {
                let mut events = Vec::new();
                let error = loop {
                    match Event::new() {
                        Ok(event) => events.push(event),
                        Err(error) => break error,
                    }
                };
                warn!("{} events, then {error}", events.len());
                // They count as long as they are there.
                events.pop();
                Event::new()?;
                forget(events);
            }
            "watch" => {
                let event = Event::new()?;
                (0..1_000_000).for_each(|_| registry::watch(Class::Random, event.signal()));
                forget(event);
            }
            "probe" => return Err(Error::Device("it is \x1b[31mred".to_owned())),
            _ => {}
        }
        Ok(Self)
    }
}

impl Bus for TestLiar {
    fn children(&self) -> Vec<Child> {
        let child =
            |name: &str, compatible: &str| Child { name: name.to_owned(), compatible: vec![compatible.to_owned()] };
        match parameters::lie().as_str() {
            "names" => vec![
                child("good", "lockstep,nobody"),
                child(&"a".repeat(1 << 17), "lockstep,nobody"),
                child("\x1b[2J\r\n", "lockstep,nobody"),
                child("..", &"b".repeat(1 << 17)),
                child("../../pl011@9000000", "lockstep,nobody"),
            ],
            "depth" => vec![child("again", "lockstep,test-liar")],
            "number" => (0..20_000).map(|index| child(&format!("child{index}"), "lockstep,nobody")).collect(),
            _ => Vec::new(),
        }
    }
}

impl Screen for TestLiar {
    fn write(&self, _bytes: &[u8]) {
        if lies("chatter") {
            warn!("it shows something");
        }
    }

    fn draw(&self) {}
}

impl BlockDevice for TestLiar {
    fn geometry(&self) -> Geometry {
        let block_size = if lies("block") { 1 << 30 } else { 512 };
        Geometry { block_size, blocks: 100, read_only: true }
    }

    fn read(&self, _first: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        Ok(())
    }

    fn write(&self, _first: u64, _buffer: &[u8]) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl NetworkDevice for TestLiar {
    fn mac_address(&self) -> MacAddress {
        MacAddress([2, 0, 0, 0, 0, 1])
    }

    fn mtu(&self) -> usize {
        if lies("network") { usize::MAX } else { 1500 }
    }

    fn link_is_up(&self) -> bool {
        false
    }

    fn receive(&self) -> Result<Option<Frame>> {
        Ok(None)
    }

    fn recycle(&self, _frame: Frame) {}

    fn transmit_frame(&self) -> Option<Frame> {
        None
    }

    fn transmit(&self, _frame: Frame) -> Result<()> {
        Ok(())
    }

    fn subscribe(&self, _signal: Signal) {}

    fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}

impl Gpio for TestLiar {
    fn pins(&self) -> u32 {
        if lies("gpio") { u32::MAX } else { 1 }
    }

    fn status(&self, _pin: u32) -> Result<PinStatus> {
        Ok(PinStatus { name: "a\r\nb".to_owned(), function: Function::Input, pull: Some(Pull::None), is_high: true })
    }

    fn is_high(&self, _pin: u32) -> Result<bool> {
        Ok(true)
    }

    fn set_level(&self, _pin: u32, _is_high: bool) -> Result<()> {
        Ok(())
    }

    fn set_function(&self, _pin: u32, _function: Function) -> Result<()> {
        Ok(())
    }

    fn set_pull(&self, _pin: u32, _pull: Pull) -> Result<()> {
        Ok(())
    }
}
