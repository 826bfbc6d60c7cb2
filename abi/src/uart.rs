//! UARTs as consoles: what their drivers have in common.

use crate::console::Console;
use crate::event::Signal;
use crate::interrupt::Served;
use crate::sync::Lock;
use alloc::collections::VecDeque;

/// The driver of a UART: registers through which bytes come and go one by one. By this it is a [`Console`] as well.
pub trait Uart: Send + Sync {
    /// How many bytes are sent while interrupts are masked, at most: as many as the FIFO takes.
    const BURST: usize;

    /// What the driver keeps for this.
    fn port(&self) -> &Port;

    /// Sends a byte if the FIFO has room for it; returns whether it had.
    fn transmit(&self, byte: u8) -> bool;

    /// Moves bytes from the FIFO to `received`, as long as that has room. If it still has, the UART interrupts as soon as more
    /// bytes come, and if not, it doesn't.
    fn receive(&self, received: &mut Received);

    /// Does what an interrupt asks for, and what `probe` does last: from then on it interrupts.
    fn serve(&self) -> Served {
        let mut received = self.port().received.lock();
        self.receive(&mut received);
        let subscriber = received.subscriber;
        drop(received);
        if let Some(subscriber) = subscriber {
            subscriber.raise();
        }
        Served::Done
    }
}

/// What a UART's driver keeps.
#[derive(Default)]
pub struct Port {
    received: Lock<Received>,
    unsent: Lock<Unsent>,
}

/// Bytes that were written and that the FIFO has had no room for yet. All who are writing send them, in that order, whosever
/// they are: so lines aren't mixed, and nobody waits for another to get a processor.
struct Unsent {
    bytes: VecDeque<u8>,
    /// How many there have been before them.
    sent: u64,
}

impl Unsent {
    /// How many there may be.
    const CAPACITY: usize = 256;

    /// Adds all of these, if there is room; returns how many bytes will have been sent when they are.
    fn add(&mut self, bytes: &[u8]) -> Option<u64> {
        let length = self.bytes.len() + bytes.len();
        (length <= Self::CAPACITY).then(|| {
            self.bytes.extend(bytes);
            self.sent + length as u64
        })
    }
}

impl Default for Unsent {
    fn default() -> Self {
        Self { bytes: VecDeque::with_capacity(Self::CAPACITY), sent: 0 }
    }
}

/// Bytes that have come and that nobody has read yet.
pub struct Received {
    bytes: VecDeque<u8>,
    subscriber: Option<Signal>,
    has_lost: bool,
    is_told: bool,
}

impl Received {
    /// How many bytes there is room for. The rest waits in the FIFO, where the other end's flow control can see it.
    pub const CAPACITY: usize = 1024;

    /// Whether there is room for another byte.
    pub fn has_room(&self) -> bool {
        self.bytes.len() < Self::CAPACITY
    }

    /// Adds a byte.
    pub fn push(&mut self, byte: u8) {
        self.bytes.push_back(byte);
    }

    /// Notes that the UART has lost bytes because nobody took them out of the FIFO. The log says so once.
    pub fn note_loss(&mut self) {
        self.has_lost = true;
    }
}

impl Default for Received {
    fn default() -> Self {
        let bytes = VecDeque::with_capacity(Self::CAPACITY);
        Self { bytes, subscriber: None, has_lost: false, is_told: false }
    }
}

impl<T: Uart> Console for T {
    fn write(&self, bytes: &[u8]) {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        for piece in lines.flat_map(|line| line.chunks(Unsent::CAPACITY)) {
            let end = loop {
                let added = self.port().unsent.lock().add(piece);
                match added {
                    Some(end) => break end,
                    None => send_some(self),
                };
            };
            while send_some(self) < end {}
        }
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut received = self.port().received.lock();
        // First: bytes that were moved after the reader has looked would come without an interrupt.
        self.receive(&mut received);
        let count = buffer.len().min(received.bytes.len());
        for (slot, byte) in buffer.iter_mut().zip(received.bytes.drain(..count)) {
            *slot = byte;
        }
        // Now there is room for what waits.
        self.receive(&mut received);
        let is_news = received.has_lost && !received.is_told;
        received.is_told |= is_news;
        drop(received);
        if is_news {
            // In the driver's name.
            let driver = core::any::type_name::<Self>();
            log::warn!(target: driver, "bytes arrived faster than they were read: the UART has lost some");
        }
        count
    }

    fn subscribe(&self, signal: Signal) {
        let mut received = self.port().received.lock();
        received.subscriber = Some(signal);
        let is_waiting = !received.bytes.is_empty();
        drop(received);
        if is_waiting {
            signal.raise();
        }
    }
}

/// Sends some of what was written; returns how many bytes have been sent.
fn send_some<T: Uart>(uart: &T) -> u64 {
    let mut unsent = uart.port().unsent.lock();
    for _ in 0..T::BURST {
        match unsent.bytes.front() {
            Some(byte) if uart.transmit(*byte) => {
                unsent.bytes.pop_front();
                unsent.sent += 1;
            }
            _ => break,
        }
    }
    unsent.sent
}
