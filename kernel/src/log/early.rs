//! A few lines of console for the time before a driver is bound: a PL011 that firmware has set up, write only.

use crate::memory::space::DeviceMapping;
use abi::Result;
use core::ops::Range;

/// Data register (ARM DDI 0183G, section 3.3.1).
const DATA: usize = 0x000;
/// Flag register (section 3.3.3), and its bit for a full transmit FIFO.
const FLAGS: usize = 0x018;
const TRANSMIT_FULL: u32 = 1 << 5;

/// A PL011 that only writes.
pub struct EarlyConsole {
    registers: DeviceMapping,
}

impl EarlyConsole {
    /// What a node has to be compatible with.
    pub const COMPATIBLE: &str = "arm,pl011";

    /// Maps the registers at `physical`.
    ///
    /// # Errors
    /// When they can't be mapped or are too few.
    pub fn new(physical: Range<usize>) -> Result<Self> {
        if physical.len() < FLAGS + 4 {
            return Err(abi::Error::Invalid(alloc::format!(
                "a PL011 has more registers than {:#x} bytes",
                physical.len()
            )));
        }
        Ok(Self { registers: DeviceMapping::new(physical)? })
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        let registers = self.registers.start.as_ptr();
        for byte in bytes {
            // SAFETY: the mapping reaches beyond these registers, and lives as long as `self`; both are aligned.
            unsafe {
                while registers.byte_add(FLAGS).cast::<u32>().read_volatile() & TRANSMIT_FULL != 0 {}
                registers.byte_add(DATA).cast::<u32>().write_volatile(u32::from(*byte));
            }
        }
    }
}
