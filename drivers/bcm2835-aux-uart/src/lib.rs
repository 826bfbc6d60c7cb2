//! The small UART among the auxiliary devices of Broadcom's BCM2835 and its successors ("mini UART").
//!
//! Registers: BCM2835 ARM Peripherals, section 2.2, and its errata (elinux.org): the interrupts to receive and to transmit
//! are the other way round. Its rate follows the core's clock, which the firmware keeps steady with `enable_uart=1`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::uart::{Port, Received, Uart};

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

struct AuxUart {
    registers: Registers<Layout>,
    port: Port,
    _interrupt: Interrupt,
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
        let uart = Self { registers, port: Port::default(), _interrupt: interrupt };
        uart.serve();
        Ok(uart)
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        self.serve()
    }
}

impl Drop for AuxUart {
    fn drop(&mut self) {
        // It stays enabled: what still has to be said before a restart gets out.
        self.registers.interrupt_enable.set(0);
    }
}

impl Uart for AuxUart {
    const BURST: usize = 8;

    fn port(&self) -> &Port {
        &self.port
    }

    fn transmit(&self, byte: u8) -> bool {
        let has_room = self.registers.line_status.is_set(LineStatus::TRANSMIT_ROOM);
        if has_room {
            self.registers.data.set(byte.into());
        }
        has_room
    }

    fn receive(&self, received: &mut Received) {
        let registers = &self.registers;
        while received.has_room() {
            let status = registers.line_status.extract();
            if status.is_set(LineStatus::OVERRUN) {
                received.note_loss();
            }
            if !status.is_set(LineStatus::RECEIVED) {
                break;
            }
            received.push(registers.data.read(Data::BYTE) as u8);
        }
        registers.interrupt_enable.write(if received.has_room() {
            Interrupts::RECEIVE::SET + Interrupts::REQUIRED::BOTH
        } else {
            Interrupts::RECEIVE::CLEAR
        });
    }
}

#[cfg(test)]
mod tests;
