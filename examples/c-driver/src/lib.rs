//! QEMU's firmware configuration device, driven by C: `driver.c` does the work, and this shim makes a module of it.
//!
//! It takes `build.rs` and this file, and a declaration of each function that is called across the languages. The module
//! links the object that the C compiler made like any other.
#![no_std]

use abi::prelude::*;
use core::ffi::c_int;

abi::driver!(FirmwareConfiguration, compatible = ["qemu,fw-cfg-mmio"], summary = "QEMU firmware configuration, in C");

abi::registers! {
    Layout {
        (0x00 => data: ReadOnly<u64>),
        (0x08 => selector: WriteOnly<u16>),
        (0x0a => _reserved),
        (0x10 => @END),
    }
}

unsafe extern "C" {
    fn fw_cfg_processors(registers: *const Layout) -> c_int;
}

struct FirmwareConfiguration {
    _registers: Registers<Layout>,
}

impl Driver for FirmwareConfiguration {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let registers: Registers<Layout> = resources.registers(0)?;
        // SAFETY: the C code keeps to the two registers of this layout, which stay mapped during the call, and keeps no
        // pointer to them.
        match unsafe { fw_cfg_processors(&raw const *registers) } {
            -1 => Err(Error::Device(format!("{}: its signature is not QEMU's", node.path()))),
            processors => {
                info!("the machine has {processors} processors");
                Ok(Self { _registers: registers })
            }
        }
    }
}
