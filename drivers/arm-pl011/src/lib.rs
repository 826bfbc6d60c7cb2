//! ARM PrimeCell UART (PL011).
//!
//! Registers: ARM DDI 0183G, chapter 3.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use abi::prelude::*;
use abi::uart::{Port, Received, Uart};

abi::driver!(Pl011: Console, compatible = ["arm,pl011"], summary = "ARM PrimeCell UART");

abi::registers! {
    Layout {
        (0x000 => data: ReadWrite<u32, Data::Register>),
        (0x004 => _receive_status),
        (0x018 => flags: ReadOnly<u32, Flags::Register>),
        (0x01c => _low_power),
        (0x024 => integer_divisor: ReadWrite<u32>),
        (0x028 => fractional_divisor: ReadWrite<u32>),
        (0x02c => line_control: ReadWrite<u32, LineControl::Register>),
        (0x030 => control: ReadWrite<u32, Control::Register>),
        (0x034 => _fifo_levels),
        (0x038 => interrupt_mask: ReadWrite<u32, Interrupts::Register>),
        (0x03c => _interrupt_status),
        (0x044 => interrupt_clear: WriteOnly<u32, Interrupts::Register>),
        (0x048 => @END),
    }
}

register_bitfields! {u32,
    Data [
        BYTE OFFSET(0) NUMBITS(8) [],
        /// Framing, parity or break error: the byte isn't one that was sent.
        DAMAGE OFFSET(8) NUMBITS(3) [],
        /// Bytes that followed this one were lost because the FIFO was full.
        OVERRUN OFFSET(11) NUMBITS(1) []
    ],
    Flags [
        RECEIVE_EMPTY OFFSET(4) NUMBITS(1) [],
        TRANSMIT_FULL OFFSET(5) NUMBITS(1) []
    ],
    LineControl [
        FIFO OFFSET(4) NUMBITS(1) [],
        WORD_LENGTH OFFSET(5) NUMBITS(2) [ EIGHT = 3 ]
    ],
    Control [
        ENABLE OFFSET(0) NUMBITS(1) [],
        TRANSMIT OFFSET(8) NUMBITS(1) [],
        RECEIVE OFFSET(9) NUMBITS(1) []
    ],
    /// The layout of `UARTIMSC` and `UARTICR`.
    Interrupts [
        RECEIVE OFFSET(4) NUMBITS(1) [],
        /// Bytes wait in the FIFO, and no more have come for the time of 32 bits.
        RECEIVE_TIMEOUT OFFSET(6) NUMBITS(1) [],
        ALL OFFSET(0) NUMBITS(11) []
    ]
}

/// The rate in bits per second of a line whose tree says nothing else.
const SPEED: u32 = 115_200;

struct Pl011 {
    registers: Registers<Layout>,
    port: Port,
    _interrupt: Interrupt,
}

impl Driver for Pl011 {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        if !registers.control.is_set(Control::ENABLE) {
            registers.set_up(node);
        }
        registers.control.modify(Control::ENABLE::SET + Control::TRANSMIT::SET + Control::RECEIVE::SET);
        registers.interrupt_clear.write(Interrupts::ALL.val(0x7ff));
        let uart = Self { registers, port: Port::default(), _interrupt: interrupt };
        uart.serve();
        Ok(uart)
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        self.serve()
    }
}

impl Drop for Pl011 {
    fn drop(&mut self) {
        // It stays enabled: what still has to be said before a restart gets out.
        self.registers.interrupt_mask.set(0);
    }
}

impl Uart for Pl011 {
    const BURST: usize = 32;

    fn port(&self) -> &Port {
        &self.port
    }

    fn transmit(&self, byte: u8) -> bool {
        let has_room = !self.registers.flags.is_set(Flags::TRANSMIT_FULL);
        if has_room {
            self.registers.data.set(byte.into());
        }
        has_room
    }

    fn receive(&self, received: &mut Received) {
        let registers = &self.registers;
        while received.has_room() && !registers.flags.is_set(Flags::RECEIVE_EMPTY) {
            let data = registers.data.extract();
            if data.is_set(Data::OVERRUN) {
                received.note_loss();
            }
            if !data.any_matching_bits_set(Data::DAMAGE.val(0b111)) {
                received.push(data.read(Data::BYTE) as u8);
            }
        }
        registers.interrupt_mask.write(if received.has_room() {
            Interrupts::RECEIVE::SET + Interrupts::RECEIVE_TIMEOUT::SET
        } else {
            Interrupts::ALL::CLEAR
        });
    }
}

impl Layout {
    /// Sets up a UART that firmware has left disabled: 8 data bits, no parity, 1 stop bit.
    fn set_up(&self, node: &Node) {
        // Without a known clock the divisors stay as they are: emulated UARTs need none.
        if let Some(clock) = node.u32("clock-frequency") {
            let (integer, fraction) = divisors(clock, node.u32("current-speed").unwrap_or(SPEED));
            self.integer_divisor.set(integer);
            self.fractional_divisor.set(fraction);
        }
        // Switching the FIFO drops what has been received: with somebody typing already, it stays as it is.
        let quiet = self.flags.is_set(Flags::RECEIVE_EMPTY);
        let fifo = if quiet {
            LineControl::FIFO::SET
        } else {
            LineControl::FIFO.val(self.line_control.read(LineControl::FIFO))
        };
        // This write also makes the divisors take effect (section 3.3.7).
        self.line_control.write(LineControl::WORD_LENGTH::EIGHT + fifo);
        if quiet {
            // QEMU forgets to ask for more when it drops a byte, until the data register is read.
            self.data.get();
        }
    }
}

/// The integer and the fractional part (in 64ths) of `clock / (16 * speed)`, rounded (section 3.3.6).
fn divisors(clock: u32, speed: u32) -> (u32, u32) {
    let speed = u64::from(speed.max(1));
    let divisor = (u64::from(clock) * 4 + speed / 2) / speed;
    let divisor = divisor.clamp(1 << 6, 0xffff << 6) as u32;
    (divisor >> 6, divisor & 0x3f)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use fake_kernel::{FakeNode, keep_log, raised};

    const DATA: usize = 0x000;
    const FLAGS: usize = 0x018;
    const EMPTY: u32 = 1 << 4;
    const CONTROL: usize = 0x030;
    const MASK: usize = 0x038;
    const RECEIVE_AND_TIMEOUT: u32 = 1 << 4 | 1 << 6;

    fn probe(node: &FakeNode, properties: &[(&str, u32)]) -> Pl011 {
        let properties = properties
            .iter()
            .map(|(name, value)| abi::Property { name: (*name).to_owned(), value: value.to_be_bytes().to_vec() });
        let tree = Node::new("/pl011@9000000".to_owned(), "arm,pl011".to_owned(), properties.collect());
        Pl011::probe(&tree, &mut node.resources()).unwrap()
    }

    /// A UART with nothing in its FIFO.
    fn idle() -> FakeNode {
        let node = FakeNode::new(&[0x1000]);
        node.set(0, FLAGS, EMPTY);
        node
    }

    #[test]
    fn leaves_the_rate_that_firmware_has_set() {
        let node = idle();
        node.set(0, CONTROL, 1);
        node.set(0, 0x024, 26);
        let uart = probe(&node, &[("clock-frequency", 48_000_000)]);
        assert_eq!(node.get(0, 0x024), 26);
        assert_eq!(node.get(0, 0x02c), 0);
        assert_eq!(node.get(0, CONTROL), 0x301);
        assert_eq!(node.get(0, MASK), RECEIVE_AND_TIMEOUT);
        drop(uart);
        assert_eq!(node.get(0, MASK), 0);
    }

    #[test]
    fn sets_up_a_disabled_uart() {
        let node = idle();
        let _uart = probe(&node, &[("clock-frequency", 24_000_000)]);
        // 24 MHz / (16 * 115200) = 13 + 1.3 / 64.
        assert_eq!((node.get(0, 0x024), node.get(0, 0x028)), (13, 1));
        assert_eq!(node.get(0, 0x02c), 0x70);
        assert_eq!(node.get(0, CONTROL), 0x301);
    }

    #[test]
    fn divides_as_the_manual_does() {
        // The example of section 3.3.6, and the extremes of the registers.
        assert_eq!(divisors(4_000_000, 230_400), (1, 5));
        assert_eq!(divisors(48_000_000, 115_200), (26, 3));
        assert_eq!(divisors(1, 115_200), (1, 0));
        assert_eq!(divisors(u32::MAX, 0), (0xffff, 0));
    }

    #[test]
    fn writes_every_byte_to_the_data_register() {
        let node = idle();
        let uart = probe(&node, &[]);
        uart.write(b"ready\n");
        assert_eq!(node.get(0, DATA), u32::from(b'\n'));
    }

    #[test]
    fn leaves_in_the_fifo_what_it_has_no_room_for() {
        let node = idle();
        let uart = probe(&node, &[]);
        let event = Event::new().unwrap();
        uart.subscribe(event.signal());
        assert_eq!(raised(event.signal()), 0);

        // A FIFO that always holds another byte.
        node.set(0, FLAGS, 0);
        node.set(0, DATA, u32::from(b'x'));
        uart.interrupt_now(0);
        assert_eq!(raised(event.signal()), 1);
        assert_eq!(node.get(0, MASK), 0, "no interrupt while there is no room");

        node.set(0, FLAGS, EMPTY);
        let mut buffer = [0; 2 * Received::CAPACITY];
        assert_eq!(uart.read(&mut buffer[..10]), 10);
        assert_eq!(node.get(0, MASK), RECEIVE_AND_TIMEOUT);
        assert_eq!(uart.read(&mut buffer), Received::CAPACITY - 10);
        assert_eq!(uart.read(&mut buffer), 0);
        assert!(buffer[..Received::CAPACITY - 10].iter().all(|byte| *byte == b'x'));
    }

    #[test]
    fn a_read_leaves_nothing_behind_that_no_interrupt_tells_of() {
        let node = idle();
        let uart = probe(&node, &[]);
        // Bytes arrive after the last interrupt was served and before the read.
        node.set(0, FLAGS, 0);
        node.set(0, DATA, u32::from(b'y'));
        assert_eq!(uart.read(&mut [0; 8]), 8);
    }

    #[test]
    fn keeps_what_was_typed_before_it_was_bound() {
        let node = idle();
        node.set(0, FLAGS, 0);
        node.set(0, DATA, u32::from(b'?'));
        let uart = probe(&node, &[]);
        let event = Event::new().unwrap();
        uart.subscribe(event.signal());
        assert_eq!(raised(event.signal()), 1);
        assert_eq!(uart.read(&mut [0; 8]), 8);
    }

    #[test]
    fn lost_bytes_are_told_once() {
        keep_log();
        let node = idle();
        let uart = probe(&node, &[]);
        node.set(0, FLAGS, 0);
        node.set(0, DATA, 1 << 11 | u32::from(b'a'));
        for _ in 0..3 {
            uart.read(&mut [0; 8]);
        }
        assert_eq!(fake_kernel::log(), ["bytes arrived faster than they were read: the UART has lost some"]);
    }
}
