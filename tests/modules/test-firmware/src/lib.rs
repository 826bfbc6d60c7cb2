//! Has the firmware switch USB on, which QEMU's doesn't know how to.
#![no_std]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::registry;

abi::service!(TestFirmware, summary = "Asks the firmware for what not every one does");

/// The power domain (Linux, `dt-bindings/power/raspberrypi-power.h`).
const USB: u32 = 6;

struct TestFirmware;

impl Service for TestFirmware {
    fn start(_resources: &mut Resources) -> Result<Self> {
        registry::required::<dyn Firmware>()?.call(|firmware| firmware.set_powered(USB, true))??;
        Ok(Self)
    }
}
