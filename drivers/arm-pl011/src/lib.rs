//! ARM PrimeCell UART (PL011).
//!
//! Registers: ARM DDI 0183G, chapter 3.
#![no_std]
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
        // What has been typed during the boot must outlive a switch of the FIFO.
        registers.receive(&mut receiver);
        if !registers.control.is_set(Control::ENABLE) {
            registers.set_up(node);
        }
        registers.control.modify(Control::ENABLE::SET + Control::TRANSMIT::SET + Control::RECEIVE::SET);
        registers.interrupt_clear.write(Interrupts::ALL.val(0x7ff));
        registers.receive(&mut receiver);
        Ok(Self { registers, receiver: Lock::new(receiver), transmitter: Lock::new(()), _interrupt: interrupt })
    }

    fn interrupt(&self, _index: usize) {
        let subscriber = {
            let mut receiver = self.receiver.lock();
            self.registers.receive(&mut receiver);
            receiver.subscriber
        };
        if let Some(subscriber) = subscriber {
            subscriber.raise();
        }
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
            let count = receiver.take(buffer);
            self.registers.receive(&mut receiver);
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
        // This write also makes the divisors take effect (section 3.3.7).
        self.line_control.write(LineControl::WORD_LENGTH::EIGHT + LineControl::FIFO::SET);
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

    /// Moves received bytes to `receiver` as long as it has room, and asks for an interrupt when more can be taken.
    fn receive(&self, receiver: &mut Receiver) {
        while receiver.bytes.len() < CAPACITY && !self.flags.is_set(Flags::RECEIVE_EMPTY) {
            let data = self.data.extract();
            receiver.overruns += u64::from(data.is_set(Data::OVERRUN));
            if !data.any_matching_bits_set(Data::DAMAGE.val(0b111)) {
                receiver.bytes.push_back(data.read(Data::BYTE) as u8);
            }
        }
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
