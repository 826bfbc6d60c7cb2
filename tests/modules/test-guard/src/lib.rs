//! Keeps a guard on the first clock for as long as it lives.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::registry;

abi::driver!(TestGuard, compatible = ["lockstep,test-guard"], summary = "Keeps a guard on a clock");

struct TestGuard {
    _clock: Guard<dyn Clock>,
}

impl Driver for TestGuard {
    fn probe(_node: &Node, _resources: &mut Resources) -> Result<Self> {
        let clock = registry::first::<dyn Clock>().ok_or_else(|| Error::Deferred("a clock".to_owned()))?;
        Ok(Self { _clock: clock.get()? })
    }
}
