//! ARM PrimeCell UART (PL011).
//!
//! Registers: ARM DDI 0183G, chapter 3.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::prelude::*;
use alloc::collections::VecDeque;

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

/// How many received bytes are kept. When they are that many the rest waits in the FIFO, where the other end's flow
/// control can see it.
const CAPACITY: usize = 1024;

/// How many bytes are written while interrupts are masked, at most: as many as the FIFO takes.
const BURST: usize = 32;

/// The rate in bits per second of a line whose tree says nothing else.
const SPEED: u32 = 115_200;

struct Pl011 {
    registers: Registers<Layout>,
    receiver: Lock<Receiver>,
    transmitter: Lock<()>,
    _interrupt: Interrupt,
}

struct Receiver {
    bytes: VecDeque<u8>,
    subscriber: Option<Signal>,
    overruns: u64,
    overruns_reported: bool,
}

impl Driver for Pl011 {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let interrupt = resources.interrupt(0)?;
        let registers: Registers<Layout> = resources.registers(0)?;
        let mut receiver = Receiver {
            bytes: VecDeque::with_capacity(CAPACITY),
            subscriber: None,
            overruns: 0,
            overruns_reported: false,
        };
        if !registers.control.is_set(Control::ENABLE) {
            registers.set_up(node);
        }
        registers.control.modify(Control::ENABLE::SET + Control::TRANSMIT::SET + Control::RECEIVE::SET);
        registers.interrupt_clear.write(Interrupts::ALL.val(0x7ff));
        registers.receive(&mut receiver);
        registers.listen(&receiver);
        Ok(Self { registers, receiver: Lock::new(receiver), transmitter: Lock::new(()), _interrupt: interrupt })
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        let subscriber = {
            let mut receiver = self.receiver.lock();
            self.registers.receive(&mut receiver);
            self.registers.listen(&receiver);
            receiver.subscriber
        };
        if let Some(subscriber) = subscriber {
            subscriber.raise();
        }
        Served::Done
    }
}

impl Drop for Pl011 {
    fn drop(&mut self) {
        // It stays enabled: what still has to be said before a restart gets out.
        self.registers.interrupt_mask.set(0);
    }
}

impl Console for Pl011 {
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
        let (count, report) = {
            let mut receiver = self.receiver.lock();
            // First: bytes that were moved after the reader has looked would come without an interrupt.
            self.registers.receive(&mut receiver);
            let count = receiver.take(buffer);
            self.registers.listen(&receiver);
            (count, receiver.report())
        };
        if let Some(overruns) = report {
            warn!("bytes arrived faster than they were read: the UART lost some {overruns} times");
        }
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

    /// Writes as many of `bytes` as the FIFO takes, and returns the rest.
    fn transmit<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let [byte, others @ ..] = rest
            && !self.flags.is_set(Flags::TRANSMIT_FULL)
        {
            self.data.set(u32::from(*byte));
            rest = others;
        }
        rest
    }

    /// Moves received bytes to `receiver` as long as it has room.
    fn receive(&self, receiver: &mut Receiver) {
        while receiver.bytes.len() < CAPACITY && !self.flags.is_set(Flags::RECEIVE_EMPTY) {
            let data = self.data.extract();
            receiver.overruns += u64::from(data.is_set(Data::OVERRUN));
            if !data.any_matching_bits_set(Data::DAMAGE.val(0b111)) {
                receiver.bytes.push_back(data.read(Data::BYTE) as u8);
            }
        }
    }

    /// Asks for an interrupt as soon as bytes arrive, if `receiver` has room for them.
    fn listen(&self, receiver: &Receiver) {
        self.interrupt_mask.write(if receiver.bytes.len() < CAPACITY {
            Interrupts::RECEIVE::SET + Interrupts::RECEIVE_TIMEOUT::SET
        } else {
            Interrupts::ALL::CLEAR
        });
    }
}

impl Receiver {
    /// Moves the oldest bytes to `buffer`; returns how many.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.bytes.len());
        for (slot, byte) in buffer.iter_mut().zip(self.bytes.drain(..count)) {
            *slot = byte;
        }
        count
    }

    /// The number of overruns, the first time that there are any.
    fn report(&mut self) -> Option<u64> {
        let report = self.overruns > 0 && !self.overruns_reported;
        self.overruns_reported |= report;
        report.then_some(self.overruns)
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
    use fake_kernel::{FakeNode, raised};

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
        let mut buffer = [0; 2 * CAPACITY];
        assert_eq!(uart.read(&mut buffer[..10]), 10);
        assert_eq!(node.get(0, MASK), RECEIVE_AND_TIMEOUT);
        assert_eq!(uart.read(&mut buffer), CAPACITY - 10);
        assert_eq!(uart.read(&mut buffer), 0);
        assert!(buffer[..CAPACITY - 10].iter().all(|byte| *byte == b'x'));
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
    fn counts_overruns_and_reports_them_once() {
        let node = idle();
        node.set(0, FLAGS, 0);
        node.set(0, DATA, 1 << 11 | u32::from(b'a'));
        let uart = probe(&node, &[]);
        let mut receiver = uart.receiver.lock();
        assert_eq!(receiver.report(), Some(CAPACITY as u64));
        assert_eq!(receiver.report(), None);
    }
}
