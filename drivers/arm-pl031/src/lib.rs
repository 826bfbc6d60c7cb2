//! ARM PrimeCell real-time clock (PL031).
//!
//! Registers: ARM DDI 0224C, chapter 3.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;

abi::driver!(Pl031: Clock, compatible = ["arm,pl031"], summary = "ARM PrimeCell real-time clock");

abi::registers! {
    Layout {
        (0x000 => data: ReadOnly<u32>),
        (0x004 => @END),
    }
}

struct Pl031 {
    registers: Registers<Layout>,
}

impl Driver for Pl031 {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        Ok(Self { registers: resources.registers(0)? })
    }
}

impl Clock for Pl031 {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.registers.data.get().into())
    }
}
