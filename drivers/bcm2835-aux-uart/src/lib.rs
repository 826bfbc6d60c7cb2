//! The small UART among the auxiliary devices of Broadcom's BCM2835 and its successors ("mini UART").
//!
//! Registers: BCM2835 ARM Peripherals, section 2.2, and its errata (elinux.org): the interrupts to receive and to transmit
//! are the other way round. Its rate follows the core's clock, which the firmware keeps steady with `enable_uart=1`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::prelude::*;
use alloc::collections::VecDeque;

abi::driver!(AuxUart: Console, compatible = ["brcm,bcm2835-aux-uart"], summary = "Broadcom BCM2835 mini UART");

abi::registers! {
    Layout {
        (0x00 => data: ReadWrite<u32, Data::Register>),
        (0x04 => interrupt_enable: ReadWrite<u32, Interrupts::Register>),
        (0x08 => _interrupt_identify),
        (0x0c => line_control: ReadWrite<u32, LineControl::Register>),
        (0x10 => _modem_control),
        (0x14 => line_status: ReadOnly<u32, LineStatus::Register>),
        (0x18 => _modem_status),
        (0x20 => control: ReadOnly<u32, Control::Register>),
        (0x24 => @END),
    }
}

register_bitfields! {u32,
    Data [ BYTE OFFSET(0) NUMBITS(8) [] ],
    Interrupts [
        RECEIVE OFFSET(0) NUMBITS(1) [],
        /// Nothing comes without these, whatever the manual says (errata).
        REQUIRED OFFSET(2) NUMBITS(2) [ BOTH = 3 ]
    ],
    LineControl [ WORD_LENGTH OFFSET(0) NUMBITS(2) [ EIGHT = 3 ] ],
    /// The overrun is forgotten when it is read.
    LineStatus [
        RECEIVED OFFSET(0) NUMBITS(1) [],
        OVERRUN OFFSET(1) NUMBITS(1) [],
        TRANSMIT_ROOM OFFSET(5) NUMBITS(1) []
    ],
    Control [ ENABLE OFFSET(0) NUMBITS(2) [ BOTH = 3 ] ]
}

/// How many received bytes are kept. When they are that many the rest waits in the FIFO.
const CAPACITY: usize = 1024;

/// How many bytes are written while interrupts are masked, at most: as many as the FIFO takes.
const BURST: usize = 8;

struct AuxUart {
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

impl Driver for AuxUart {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        // Registers of an auxiliary device that is switched off read as zeros.
        if !registers.control.matches_all(Control::ENABLE::BOTH) {
            let sentence = "the firmware has left it switched off (config.txt needs enable_uart=1)";
            return Err(Error::Unsupported(sentence.to_owned()));
        }
        registers.line_control.modify(LineControl::WORD_LENGTH::EIGHT);
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

impl Drop for AuxUart {
    fn drop(&mut self) {
        // It stays enabled: what still has to be said before a restart gets out.
        self.registers.interrupt_enable.set(0);
    }
}

impl Console for AuxUart {
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
    /// Writes as many of `bytes` as the FIFO takes, and returns the rest.
    fn transmit<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let [byte, others @ ..] = rest
            && self.line_status.is_set(LineStatus::TRANSMIT_ROOM)
        {
            self.data.set(u32::from(*byte));
            rest = others;
        }
        rest
    }

    /// Moves received bytes to `receiver` as long as it has room, and asks for an interrupt when there are more if it has.
    fn receive(&self, receiver: &mut Receiver) {
        while receiver.bytes.len() < CAPACITY {
            let status = self.line_status.extract();
            if status.is_set(LineStatus::OVERRUN) && !receiver.has_lost {
                receiver.has_lost = true;
                warn!("bytes arrived faster than they were read: the UART has lost some");
            }
            if !status.is_set(LineStatus::RECEIVED) {
                break;
            }
            receiver.bytes.push_back(self.data.read(Data::BYTE) as u8);
        }
        self.interrupt_enable.write(if receiver.bytes.len() < CAPACITY {
            Interrupts::RECEIVE::SET + Interrupts::REQUIRED::BOTH
        } else {
            Interrupts::RECEIVE::CLEAR
        });
    }
}

#[cfg(test)]
mod tests;
