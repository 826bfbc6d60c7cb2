//! Mailbox between the Arm cores and the VideoCore of Broadcom's BCM2835 and its successors.
//!
//! Registers: Raspberry Pi firmware wiki, "Accessing mailboxes"; binding: Linux, `mailbox/brcm,bcm2835-mbox.txt`. A word's
//! lower four bits are its channel.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::time;

abi::driver!(Mbox: Mailbox, compatible = ["brcm,bcm2835-mbox"], summary = "Mailbox to the VideoCore");

abi::registers! {
    Layout {
        (0x00 => incoming: ReadOnly<u32>),
        (0x04 => _reserved0),
        (0x18 => incoming_status: ReadOnly<u32, Status::Register>),
        (0x1c => configuration: ReadWrite<u32, Configuration::Register>),
        (0x20 => outgoing: WriteOnly<u32>),
        (0x24 => _reserved1),
        (0x38 => outgoing_status: ReadOnly<u32, Status::Register>),
        (0x3c => @END),
    }
}

register_bitfields! {u32,
    Status [
        EMPTY OFFSET(30) NUMBITS(1) [],
        FULL OFFSET(31) NUMBITS(1) []
    ],
    Configuration [
        /// Interrupt while there is a word to read.
        INTERRUPT OFFSET(0) NUMBITS(1) []
    ]
}

/// How long to wait before looking again whether the mailbox is still full. That is rare: it takes eight words.
const PAUSE: Duration = Duration::from_micros(100);

struct Mbox {
    registers: Registers<Layout>,
    /// Held by who has sent a message.
    turn: Mutex<()>,
    /// Who waits for a message to come back.
    waiting: Lock<Option<Signal>>,
    _interrupt: Interrupt,
}

impl Driver for Mbox {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        registers.configuration.set(0);
        Ok(Self { registers, turn: Mutex::new(()), waiting: Lock::new(None), _interrupt: interrupt })
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        // The word is left to who waits for it, who says when to interrupt again.
        self.registers.configuration.write(Configuration::INTERRUPT::CLEAR);
        if let Some(signal) = *self.waiting.lock() {
            signal.raise();
        }
        Served::Done
    }
}

impl Drop for Mbox {
    fn drop(&mut self) {
        self.registers.configuration.set(0);
    }
}

impl Mailbox for Mbox {
    fn exchange(&self, message: u32, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let _turn = self.turn.lock()?;
        let event = Event::new()?;
        *self.waiting.lock() = Some(event.signal());
        while self.registers.outgoing_status.is_set(Status::FULL) {
            if Instant::now() > deadline {
                return Err(Error::TimedOut);
            }
            time::sleep(PAUSE)?;
        }
        self.registers.outgoing.set(message);
        loop {
            // Others are messages that nobody waits for any more.
            if self.registers.receive().any(|word| word == message) {
                return Ok(());
            }
            self.registers.configuration.write(Configuration::INTERRUPT::SET);
            if event.wait(Some(deadline))? == Wake::TimedOut {
                return Err(Error::TimedOut);
            }
        }
    }
}

impl Layout {
    /// The words that have come.
    fn receive(&self) -> impl Iterator<Item = u32> {
        core::iter::from_fn(|| (!self.incoming_status.is_set(Status::EMPTY)).then(|| self.incoming.get()))
    }
}

#[cfg(test)]
mod tests;
