//! The firmware of the Raspberry Pi: its property interface.
//!
//! Protocol: Raspberry Pi firmware wiki, "Mailbox property interface"; numbers of clocks and power domains: Linux,
//! `soc/bcm2835/raspberrypi-firmware.h` and `dt-bindings/power/raspberrypi-power.h`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod property;
#[cfg(test)]
mod tests;

use abi::firmware::{ClockRate, FrameBuffer, Identity};
use abi::network::MacAddress;
use abi::prelude::*;
use property::{Channel, Property};

abi::driver!(
    RaspberryPi: Bus + Firmware,
    compatible = ["raspberrypi,bcm2835-firmware"],
    summary = "Firmware of the Raspberry Pi",
);

/// The clocks that the firmware numbers from 1 on.
const CLOCKS: [&str; 15] = [
    "emmc",
    "uart",
    "arm",
    "core",
    "v3d",
    "h264",
    "isp",
    "sdram",
    "pixel",
    "pwm",
    "hevc",
    "emmc2",
    "m2mc",
    "pixel_bvb",
    "vec",
];

struct RaspberryPi {
    channel: Channel,
}

impl Driver for RaspberryPi {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let firmware = Self { channel: Channel::open(node, resources)? };
        let Identity { firmware: version, revision, serial, .. } = firmware.identity()?;
        info!("board revision {revision:#x}, serial number {serial:016x}, firmware version {version}");
        Ok(firmware)
    }
}

impl Bus for RaspberryPi {
    /// The screen: what the firmware does for the others, it does for nodes of the tree.
    fn children(&self) -> Vec<Child> {
        vec![Child { name: "screen".to_owned(), compatible: vec!["raspberrypi,bcm2835-firmware-screen".to_owned()] }]
    }
}

impl Firmware for RaspberryPi {
    fn identity(&self) -> Result<Identity> {
        let one = |tag| self.channel.get(Property::new(tag, [0])).map(|[value]| value);
        let two = |tag, answer| self.channel.get(Property::new(tag, [0, 0]).answering(answer));
        let [low, high] = two(property::BOARD_SERIAL, 8)?;
        let [first, last] = two(property::MAC_ADDRESS, 6)?.map(u32::to_le_bytes);
        let ([a, b, c, d], [e, f, ..]) = (first, last);
        Ok(Identity {
            firmware: one(property::FIRMWARE_REVISION)?,
            revision: one(property::BOARD_REVISION)?,
            serial: u64::from(high) << 32 | u64::from(low),
            mac_address: MacAddress([a, b, c, d, e, f]),
        })
    }

    fn temperature(&self) -> Result<u32> {
        // There is one thermometer, number 0.
        self.channel.get(Property::new(property::TEMPERATURE, [0, 0])).map(|[_, temperature]| temperature)
    }

    fn clocks(&self) -> Result<Vec<ClockRate>> {
        let clock = |(number, name): (u32, &str)| {
            Ok(ClockRate { number, name: name.to_owned(), hertz: self.clock_rate(number)? })
        };
        (1..).zip(CLOCKS).map(clock).collect()
    }

    fn clock_rate(&self, number: u32) -> Result<u32> {
        check_clock(number)?;
        self.channel.get(Property::new(property::CLOCK_RATE, [number, 0])).map(|[_, hertz]| hertz)
    }

    fn set_clock_rate(&self, number: u32, hertz: u32) -> Result<u32> {
        check_clock(number)?;
        // The third word: other clocks may change with it, as the firmware sees fit.
        let property = Property::new(property::SET_CLOCK_RATE, [number, hertz, 0]).answering(8);
        self.channel.get(property).map(|[_, hertz, _]| hertz)
    }

    fn is_powered(&self, domain: u32) -> Result<bool> {
        // The firmware counts from 1, the binding from 0.
        let property = Property::new(property::POWER_DOMAIN, [domain.saturating_add(1), 0]);
        power_state(domain, self.channel.get(property)?)
    }

    fn set_powered(&self, domain: u32, powered: bool) -> Result<()> {
        let words = [domain.saturating_add(1), u32::from(powered)];
        let answer = self.channel.get(Property::new(property::SET_POWER_DOMAIN, words))?;
        if power_state(domain, answer)? == powered {
            return Ok(());
        }
        let wanted = if powered { "on" } else { "off" };
        Err(Error::Io(format!("the firmware doesn't switch power domain {domain} {wanted}")))
    }

    fn frame_buffer(&self, width: u32, height: u32) -> Result<FrameBuffer> {
        let (width, height) = match (width, height) {
            (0, 0) => self.channel.get(Property::new(property::SCREEN_SIZE, [0, 0])).map(|[x, y]| (x, y))?,
            size => size,
        };
        let mut properties = [
            Property::new(property::SET_SCREEN_SIZE, [width, height]),
            Property::new(property::SET_BUFFER_SIZE, [width, height]),
            Property::new(property::SET_BUFFER_OFFSET, [0, 0]),
            Property::new(property::SET_DEPTH, [32]),
            // Red first.
            Property::new(property::SET_PIXEL_ORDER, [1]),
            // Aligned to a page.
            Property::new(property::ALLOCATE_BUFFER, [4096, 0]),
            Property::new(property::PITCH, [0]),
        ];
        self.channel.call(&mut properties)?;
        let [_, size, _, depth, _, memory, pitch] = properties.map(|property| property.values);
        let ([width, height, ..], [address, bytes, ..], [pitch, ..]) = (size, memory, pitch);
        let needed = u64::from(pitch) * u64::from(height);
        if depth[0] != 32 || u64::from(pitch) < 4 * u64::from(width) || u64::from(bytes) < needed || needed == 0 {
            return Err(Error::Device(format!(
                "the firmware gives {bytes} bytes for {height} lines of {width} pixels, {pitch} bytes and {} bits each",
                depth[0]
            )));
        }
        let address = self.channel.processor_address(address, bytes)?;
        Ok(FrameBuffer { address, size: bytes, width, height, pitch })
    }
}

fn check_clock(number: u32) -> Result<()> {
    match number {
        1.. if number as usize <= CLOCKS.len() => Ok(()),
        _ => Err(Error::Invalid(format!("the firmware has no clock {number}"))),
    }
}

/// Reads the answer to a question about a power domain.
fn power_state(domain: u32, answer: [u32; 2]) -> Result<bool> {
    match answer[1] {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::Invalid(format!("the firmware has no power domain {domain}"))),
    }
}
