//! Cadence's UART, as in AMD's (Xilinx's) Zynq and Zynq UltraScale+.
//!
//! Registers: AMD UG1087, module UART; what they do: UG1085, chapter "UART Controllers".
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::prelude::*;
use alloc::collections::VecDeque;

abi::driver!(CadenceUart: Console, compatible = ["cdns,uart-r1p12", "xlnx,xuartps"], summary = "Cadence UART");

abi::registers! {
    Layout {
        (0x00 => control: ReadWrite<u32, Control::Register>),
        (0x04 => mode: ReadWrite<u32, Mode::Register>),
        (0x08 => interrupt_enable: WriteOnly<u32, Interrupts::Register>),
        (0x0c => interrupt_disable: WriteOnly<u32, Interrupts::Register>),
        (0x10 => _interrupt_mask),
        (0x14 => interrupt_status: ReadWrite<u32, Interrupts::Register>),
        (0x18 => _baud_rate),
        (0x20 => receive_trigger: ReadWrite<u32>),
        (0x24 => _modem),
        (0x2c => status: ReadOnly<u32, Status::Register>),
        (0x30 => data: ReadWrite<u32, Data::Register>),
        (0x34 => @END),
    }
}

register_bitfields! {u32,
    Control [
        /// These two reset a FIFO, and are 0 again when that is done.
        RECEIVE_RESET OFFSET(0) NUMBITS(1) [],
        TRANSMIT_RESET OFFSET(1) NUMBITS(1) [],
        /// One that is disabled is so whatever its bit to enable says.
        RECEIVE_ENABLE OFFSET(2) NUMBITS(1) [],
        RECEIVE_DISABLE OFFSET(3) NUMBITS(1) [],
        TRANSMIT_ENABLE OFFSET(4) NUMBITS(1) [],
        TRANSMIT_DISABLE OFFSET(5) NUMBITS(1) []
    ],
    /// Zeros are eight bits, one stop bit, the clock as it is, no loop.
    Mode [ PARITY OFFSET(3) NUMBITS(3) [ NONE = 4 ] ],
    /// What has happened is remembered until a 1 is written.
    Interrupts [
        /// There are as many received bytes as the trigger says.
        RECEIVE OFFSET(0) NUMBITS(1) [],
        OVERRUN OFFSET(5) NUMBITS(1) [],
        ALL OFFSET(0) NUMBITS(14) []
    ],
    Status [
        RECEIVE_EMPTY OFFSET(1) NUMBITS(1) [],
        TRANSMIT_FULL OFFSET(4) NUMBITS(1) []
    ],
    Data [ BYTE OFFSET(0) NUMBITS(8) [] ]
}

/// How many received bytes are kept. When they are that many the rest waits in the FIFO.
const CAPACITY: usize = 1024;

/// How many bytes are written while interrupts are masked, at most: as many as the FIFO takes.
const BURST: usize = 64;

struct CadenceUart {
    registers: Registers<Layout>,
    receiver: Lock<Receiver>,
    transmitter: Lock<()>,
    _interrupt: Interrupt,
}

struct Receiver {
    bytes: VecDeque<u8>,
    subscriber: Option<Signal>,
    has_lost: bool,
}

impl Driver for CadenceUart {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        registers.interrupt_disable.write(Interrupts::ALL.val(0x3fff));
        registers.enable();
        registers.receive_trigger.set(1);
        let bytes = VecDeque::with_capacity(CAPACITY);
        let mut receiver = Receiver { bytes, subscriber: None, has_lost: false };
        registers.receive(&mut receiver);
        Ok(Self { registers, receiver: Lock::new(receiver), transmitter: Lock::new(()), _interrupt: interrupt })
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        let mut receiver = self.receiver.lock();
        self.registers.receive(&mut receiver);
        let subscriber = receiver.subscriber;
        drop(receiver);
        if let Some(subscriber) = subscriber {
            subscriber.raise();
        }
        Served::Done
    }
}

impl Drop for CadenceUart {
    fn drop(&mut self) {
        // It stays enabled: what still has to be said before a restart gets out.
        self.registers.interrupt_disable.write(Interrupts::ALL.val(0x3fff));
    }
}

impl Console for CadenceUart {
    fn write(&self, bytes: &[u8]) {
        for burst in bytes.chunks(BURST) {
            let mut rest = burst;
            while !rest.is_empty() {
                let _turn = self.transmitter.lock();
                rest = self.registers.transmit(rest);
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut receiver = self.receiver.lock();
        // First: bytes that were moved after the reader has looked would come without an interrupt.
        self.registers.receive(&mut receiver);
        let count = buffer.len().min(receiver.bytes.len());
        for (slot, byte) in buffer.iter_mut().zip(receiver.bytes.drain(..count)) {
            *slot = byte;
        }
        // Now there is room for what waits.
        self.registers.receive(&mut receiver);
        count
    }

    fn subscribe(&self, signal: Signal) {
        let mut receiver = self.receiver.lock();
        receiver.subscriber = Some(signal);
        let waiting = !receiver.bytes.is_empty();
        drop(receiver);
        if waiting {
            signal.raise();
        }
    }
}

impl Layout {
    /// Switches receiver and transmitter on. The rate is the firmware's, for its clock is in the firmware's hands; so is the
    /// format, unless both were off.
    fn enable(&self) {
        let control = self.control.extract();
        let receives = control.is_set(Control::RECEIVE_ENABLE) && !control.is_set(Control::RECEIVE_DISABLE);
        let transmits = control.is_set(Control::TRANSMIT_ENABLE) && !control.is_set(Control::TRANSMIT_DISABLE);
        if !receives && !transmits {
            self.mode.write(Mode::PARITY::NONE);
            self.control.modify(Control::RECEIVE_RESET::SET + Control::TRANSMIT_RESET::SET);
        }
        self.control.modify(
            Control::RECEIVE_ENABLE::SET
                + Control::RECEIVE_DISABLE::CLEAR
                + Control::TRANSMIT_ENABLE::SET
                + Control::TRANSMIT_DISABLE::CLEAR,
        );
    }

    /// Writes as many of `bytes` as the FIFO takes, and returns the rest.
    fn transmit<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let [byte, others @ ..] = rest
            && !self.status.is_set(Status::TRANSMIT_FULL)
        {
            self.data.set(u32::from(*byte));
            rest = others;
        }
        rest
    }

    /// Moves received bytes to `receiver` as long as it has room, and asks for an interrupt when there are more if it has.
    fn receive(&self, receiver: &mut Receiver) {
        let status = self.interrupt_status.extract();
        // Before the FIFO is emptied: what comes while it is, is remembered as new.
        self.interrupt_status.set(status.get());
        if status.is_set(Interrupts::OVERRUN) && !receiver.has_lost {
            receiver.has_lost = true;
            warn!("bytes arrived faster than they were read: the UART has lost some");
        }
        while receiver.bytes.len() < CAPACITY && !self.status.is_set(Status::RECEIVE_EMPTY) {
            receiver.bytes.push_back(self.data.read(Data::BYTE) as u8);
        }
        if receiver.bytes.len() < CAPACITY {
            self.interrupt_enable.write(Interrupts::RECEIVE::SET);
        } else {
            self.interrupt_disable.write(Interrupts::RECEIVE::SET);
        }
    }
}

#[cfg(test)]
mod tests;
