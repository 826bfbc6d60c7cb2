//! Arm Generic Interrupt Controller, versions 2 and 3.
//!
//! Lines are numbered by INTID: 16 to 31 are private to a processor, 32 to 1019 are shared. All have the same priority,
//! so none interrupts another, and all are sent to the processor that the system booted on.
//!
//! The registers are described here and not taken from the crate `arm-gic`: that one needs `unsafe`, can't route a
//! shared line to a processor in version 2, overwrites the priorities of the three neighbours of a line there, and
//! enables a group that the non-secure state hasn't got.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod lines;
mod specifier;
mod v2;
mod v3;

use abi::interrupt::Line;
use abi::prelude::*;

abi::driver!(
    Gic: InterruptController,
    compatible = [
        "arm,gic-400",
        "arm,gic-v3",
        "arm,cortex-a15-gic",
        "arm,cortex-a9-gic",
        "arm,cortex-a7-gic",
        "arm,cortex-a5-gic",
    ],
    summary = "ARM generic interrupt controller, versions 2 and 3",
);

enum Gic {
    V2(v2::Controller),
    V3(v3::Controller),
}

impl Driver for Gic {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        Ok(match node.compatible() {
            "arm,gic-v3" => Self::V3(v3::Controller::new(resources)?),
            _ => Self::V2(v2::Controller::new(resources)?),
        })
    }
}

impl InterruptController for Gic {
    fn translate(&self, specifier: &[u32]) -> Result<Line> {
        specifier::translate(specifier)
    }

    fn enable(&self, line: Line, _urgency: abi::interrupt::Urgency) -> Result<()> {
        match self {
            Self::V2(controller) => controller.enable(line),
            Self::V3(controller) => controller.enable(line),
        }
    }

    fn disable(&self, number: u32) {
        match self {
            Self::V2(controller) => controller.disable(number),
            Self::V3(controller) => controller.disable(number),
        }
    }

    fn acknowledge(&self) -> Option<abi::interrupt::Acknowledged> {
        let number = match self {
            Self::V2(controller) => controller.acknowledge(),
            Self::V3(controller) => controller.acknowledge(),
        };
        (number < lines::END).then_some(abi::interrupt::Acknowledged { cause: abi::interrupt::Cause::Line(number) })
    }

    fn end(&self, acknowledged: abi::interrupt::Acknowledged) {
        let abi::interrupt::Cause::Line(number) = acknowledged.cause else { return };
        match self {
            Self::V2(controller) => controller.end(number),
            Self::V3(controller) => controller.end(number),
        }
    }
}

#[cfg(test)]
mod tests;
