//! Cadence's UART, as in AMD's (Xilinx's) Zynq and Zynq UltraScale+.
//!
//! Registers: AMD UG1087, module UART; what they do: UG1085, chapter "UART Controllers".
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::uart::{Port, Received, Uart};

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

struct CadenceUart {
    registers: Registers<Layout>,
    port: Port,
    _interrupt: Interrupt,
}

impl Driver for CadenceUart {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        registers.interrupt_disable.write(Interrupts::ALL.val(0x3fff));
        registers.enable();
        registers.receive_trigger.set(1);
        let uart = Self { registers, port: Port::default(), _interrupt: interrupt };
        uart.serve();
        Ok(uart)
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        self.serve()
    }
}

impl Drop for CadenceUart {
    fn drop(&mut self) {
        // It stays enabled: what still has to be said before a restart gets out.
        self.registers.interrupt_disable.write(Interrupts::ALL.val(0x3fff));
    }
}

impl Uart for CadenceUart {
    const BURST: usize = 64;

    fn port(&self) -> &Port {
        &self.port
    }

    fn transmit(&self, byte: u8) -> bool {
        let has_room = !self.registers.status.is_set(Status::TRANSMIT_FULL);
        if has_room {
            self.registers.data.set(byte.into());
        }
        has_room
    }

    fn receive(&self, received: &mut Received) {
        let registers = &self.registers;
        let status = registers.interrupt_status.extract();
        // Before the FIFO is emptied: what comes while it is, is remembered as new.
        registers.interrupt_status.set(status.get());
        if status.is_set(Interrupts::OVERRUN) {
            received.note_loss();
        }
        while received.has_room() && !registers.status.is_set(Status::RECEIVE_EMPTY) {
            received.push(registers.data.read(Data::BYTE) as u8);
        }
        if received.has_room() {
            registers.interrupt_enable.write(Interrupts::RECEIVE::SET);
        } else {
            registers.interrupt_disable.write(Interrupts::RECEIVE::SET);
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
}

#[cfg(test)]
mod tests;
