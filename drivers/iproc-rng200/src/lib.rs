//! Random number generator of Broadcom's iProc family: RNG200, as in the BCM2711.
//!
//! Registers: there is no public manual; Linux, `iproc-rng200.c`, and NetBSD, `rng200reg.h`, have them.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::time;

abi::driver!(
    Rng200: Random,
    compatible = ["brcm,bcm2711-rng200", "brcm,bcm7211-rng200", "brcm,bcm7278-rng200", "brcm,iproc-rng200"],
    summary = "Broadcom iProc random number generator (RNG200)",
);

abi::registers! {
    Layout {
        (0x00 => control: ReadWrite<u32, Control::Register>),
        (0x04 => generator_reset: ReadWrite<u32, Reset::Register>),
        (0x08 => source_reset: ReadWrite<u32, Reset::Register>),
        (0x0c => _reserved0),
        (0x18 => status: ReadWrite<u32, Status::Register>),
        (0x1c => _reserved1),
        (0x20 => data: ReadOnly<u32>),
        (0x24 => count: ReadOnly<u32, Count::Register>),
        (0x28 => @END),
    }
}

register_bitfields! {u32,
    Control [ GENERATOR OFFSET(0) NUMBITS(13) [ OFF = 0, ON = 1 ] ],
    Reset [ RESET OFFSET(0) NUMBITS(1) [] ],
    /// What has happened since it was last cleared, by writing ones.
    Status [
        /// What has come isn't random, by the tests of NIST SP 800-90B.
        TESTS_FAILED OFFSET(5) NUMBITS(1) [],
        /// Because of that, nothing comes any more.
        LOCKED_OUT OFFSET(31) NUMBITS(1) []
    ],
    /// Words in the FIFO.
    Count [ WORDS OFFSET(0) NUMBITS(8) [] ]
}

/// How long a word may take. They take some 30 microseconds, and longer after a reset.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before looking again whether a word has come.
const PAUSE: Duration = Duration::from_micros(100);

struct Rng200 {
    registers: Registers<Layout>,
    /// Held by who takes words.
    turn: Mutex<()>,
}

impl Driver for Rng200 {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let registers: Registers<Layout> = resources.registers(0)?;
        registers.control.modify(Control::GENERATOR::ON);
        Ok(Self { registers, turn: Mutex::new(()) })
    }
}

impl Drop for Rng200 {
    fn drop(&mut self) {
        self.registers.control.modify(Control::GENERATOR::OFF);
    }
}

impl Random for Rng200 {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        let _turn = self.turn.lock()?;
        // Once it may be bad luck.
        if self.registers.has_failed() {
            self.registers.restart();
        }
        for piece in bytes.chunks_mut(4) {
            let word = self.registers.next()?.to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
        Ok(())
    }
}

impl Layout {
    fn has_failed(&self) -> bool {
        let failures = Status::TESTS_FAILED::SET + Status::LOCKED_OUT::SET;
        self.status.any_matching_bits_set(failures)
    }

    fn restart(&self) {
        self.control.modify(Control::GENERATOR::OFF);
        self.status.set(u32::MAX);
        self.source_reset.write(Reset::RESET::SET);
        self.generator_reset.write(Reset::RESET::SET);
        self.generator_reset.write(Reset::RESET::CLEAR);
        self.source_reset.write(Reset::RESET::CLEAR);
        self.control.modify(Control::GENERATOR::ON);
    }

    /// Waits for a word.
    fn next(&self) -> Result<u32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.has_failed() {
                return Err(Error::Device("the random number generator's self-test fails".to_owned()));
            }
            if self.count.read(Count::WORDS) > 0 {
                return Ok(self.data.get());
            }
            if Instant::now() > deadline {
                return Err(Error::Device("the random number generator delivers nothing".to_owned()));
            }
            time::sleep(PAUSE)?;
        }
    }
}

#[cfg(test)]
mod tests;
