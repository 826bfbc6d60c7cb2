//! Arm Generic Interrupt Controller, versions 2 and 3.
//!
//! Lines are numbered by INTID: 16 to 31 are private to a processor, 32 to 1019 are shared, and each of those is sent to
//! the processor that enabled it. Processors signal each other with number 0. There are two priorities, for the two
//! urgencies.
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

use abi::interrupt::{Acknowledged, Line, ProcessorId, Urgency};
use abi::prelude::*;
use arm_sysregs::el1::accessors::read_mpidr_el1;

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
            "arm,gic-v3" => Self::V3(v3::Controller::new(node, resources)?),
            _ => Self::V2(v2::Controller::new(resources)?),
        })
    }
}

impl InterruptController for Gic {
    fn translate(&self, specifier: &[u32]) -> Result<Line> {
        specifier::translate(specifier)
    }

    fn start_processor(&self) -> Result<()> {
        match self {
            Self::V2(controller) => controller.start_processor(),
            Self::V3(controller) => controller.start_processor(),
        }
    }

    fn enable(&self, line: Line, urgency: Urgency) -> Result<()> {
        match self {
            Self::V2(controller) => controller.enable(line, urgency),
            Self::V3(controller) => controller.enable(line, urgency),
        }
    }

    fn disable(&self, number: u32) {
        match self {
            Self::V2(controller) => controller.disable(number),
            Self::V3(controller) => controller.disable(number),
        }
    }

    fn signal(&self, processor: ProcessorId) {
        match self {
            Self::V2(controller) => controller.signal(processor),
            Self::V3(controller) => controller.signal(processor),
        }
    }

    fn acknowledge(&self) -> Option<Acknowledged> {
        match self {
            Self::V2(controller) => controller.acknowledge(),
            Self::V3(controller) => controller.acknowledge(),
        }
    }

    fn end(&self, acknowledged: Acknowledged) {
        match self {
            Self::V2(controller) => controller.end(acknowledged.token),
            Self::V3(controller) => controller.end(acknowledged.token),
        }
    }
}

/// The processor that this runs on.
fn this_processor() -> ProcessorId {
    ProcessorId::from_mpidr(read_mpidr_el1().bits())
}

#[cfg(test)]
mod tests;
