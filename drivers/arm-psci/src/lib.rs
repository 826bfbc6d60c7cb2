//! Arm Power State Coordination Interface: the firmware switches the machine off and on.
//!
//! Calls: ARM DEN 0022F.b, sections 5.9 and 5.10 (version 0.2 on). Node: the Linux binding `psci.yaml`.
#![cfg(target_arch = "aarch64")]
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use smccc::{Hvc, Smc, psci};

abi::driver!(
    Psci: Power,
    compatible = ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"],
    summary = "ARM power state coordination interface",
);

/// The instruction that calls the firmware.
enum Psci {
    Hypervisor,
    SecureMonitor,
}

impl Driver for Psci {
    fn probe(node: &Node, _resources: &mut Resources) -> Result<Self> {
        match node.string("method") {
            Some("hvc") => Ok(Self::Hypervisor),
            Some("smc") => Ok(Self::SecureMonitor),
            method => Err(Error::Unsupported(format!("the node's method is {method:?}, not \"hvc\" or \"smc\""))),
        }
    }
}

impl Power for Psci {
    fn reboot(&self) -> Result<()> {
        refused(match self {
            Self::Hypervisor => psci::system_reset::<Hvc>(),
            Self::SecureMonitor => psci::system_reset::<Smc>(),
        })
    }

    fn power_off(&self) -> Result<()> {
        refused(match self {
            Self::Hypervisor => psci::system_off::<Hvc>(),
            Self::SecureMonitor => psci::system_off::<Smc>(),
        })
    }
}

fn refused(answer: core::result::Result<(), psci::Error>) -> Result<()> {
    answer.map_err(|error| Error::Unsupported(format!("the firmware refused: {error}")))
}
