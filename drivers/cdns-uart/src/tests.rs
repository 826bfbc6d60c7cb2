//! The driver over a model of the UART.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{FakeNode, Model, keep_log, raised};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex as StdMutex};

const FIFO: usize = 64;

/// The interrupts by their bits.
const RECEIVE: u32 = 1 << 0;
const OVERRUN: u32 = 1 << 5;

/// The two ways to be switched on and off, by their bits.
const RESET: u32 = 0x128;
const RUNNING: u32 = 1 << 8 | 1 << 4 | 1 << 2;

/// A UART with FIFOs, of which the one to transmit empties a little whenever somebody looks. Its values after a reset are
/// those of UG1087.
struct Uart {
    control: u32,
    mode: u32,
    mask: u32,
    interrupts: u32,
    trigger: u32,
    received: VecDeque<u8>,
    transmitting: usize,
    sent: Vec<u8>,
    resets: u32,
}

impl Uart {
    /// As after a reset.
    fn new() -> Self {
        Self {
            control: RESET,
            mode: 0,
            mask: 0,
            interrupts: 0,
            trigger: 32,
            received: VecDeque::new(),
            transmitting: 0,
            sent: Vec::new(),
            resets: 0,
        }
    }

    /// As firmware leaves one that it has written with: seven bits here, which nobody would choose by accident.
    fn running() -> Self {
        Self { control: RUNNING, mode: 0x24, ..Self::new() }
    }

    fn is_on(&self, enable: u32, disable: u32) -> bool {
        self.control & (enable | disable) == enable
    }

    fn arrive(&mut self, bytes: &[u8]) {
        assert!(self.is_on(1 << 2, 1 << 3), "the receiver is off");
        for byte in bytes {
            if self.received.len() == FIFO {
                self.interrupts |= OVERRUN;
                continue;
            }
            self.received.push_back(*byte);
            if self.received.len() >= self.trigger as usize {
                self.interrupts |= RECEIVE;
            }
        }
    }

    fn interrupts(&self) -> bool {
        self.interrupts & self.mask != 0
    }
}

impl Model for Uart {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.control,
            0x04 => self.mode,
            0x14 => self.interrupts,
            0x20 => self.trigger,
            0x2c => {
                let full = self.transmitting == FIFO;
                self.transmitting = self.transmitting.saturating_sub(1);
                u32::from(self.received.is_empty()) << 1 | u32::from(full) << 4
            }
            0x30 => self.received.pop_front().expect("nobody reads from an empty FIFO").into(),
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => {
                if value & 1 << 0 != 0 {
                    self.received.clear();
                }
                if value & 1 << 1 != 0 {
                    self.transmitting = 0;
                }
                self.resets += u32::from(value & 3 != 0);
                self.control = value & !3;
            }
            0x04 => self.mode = value,
            0x08 => self.mask |= value,
            0x0c => self.mask &= !value,
            0x14 => self.interrupts &= !value,
            0x20 => self.trigger = value,
            0x30 => {
                assert!(self.is_on(1 << 4, 1 << 5), "the transmitter is off");
                assert!(self.transmitting < FIFO, "nobody writes to a full FIFO");
                self.transmitting += 1;
                self.sent.push(value as u8);
            }
            _ => panic!("write at {offset:#x}"),
        }
    }
}

fn probe(uart: Uart) -> (CadenceUart, Arc<StdMutex<Uart>>) {
    let model = Arc::new(StdMutex::new(uart));
    let node = FakeNode::with_model(0x1000, model.clone());
    (CadenceUart::probe(&Node::default(), &mut node.resources()).unwrap(), model)
}

#[test]
fn one_that_is_off_is_switched_on_with_eight_bits_and_no_parity() {
    let (_uart, model) = probe(Uart::new());
    let model = model.lock().unwrap();
    assert_eq!((model.control, model.mode, model.resets), (RUNNING, 0x20, 1));
}

#[test]
fn one_that_firmware_uses_keeps_its_format_and_what_was_typed() {
    let (uart, model) = probe(Uart { received: b"?".to_vec().into(), ..Uart::running() });
    let event = Event::new().unwrap();
    uart.subscribe(event.signal());
    assert_eq!(raised(event.signal()), 1);
    assert_eq!(uart.read(&mut [0; 8]), 1);
    let model = model.lock().unwrap();
    assert_eq!((model.control, model.mode, model.resets), (RUNNING, 0x24, 0));
}

#[test]
fn writes_every_byte_and_waits_for_room() {
    let (uart, model) = probe(Uart::new());
    let text: Vec<u8> = (0..=255).collect();
    uart.write(&text);
    assert_eq!(model.lock().unwrap().sent, text);
}

#[test]
fn an_interrupt_brings_what_has_been_typed() {
    let (uart, model) = probe(Uart::new());
    let event = Event::new().unwrap();
    uart.subscribe(event.signal());
    assert_eq!(raised(event.signal()), 0);
    model.lock().unwrap().arrive(b"l");
    assert!(model.lock().unwrap().interrupts(), "a single byte interrupts");
    assert_eq!(uart.interrupt_now(0), Served::Done);
    assert!(!model.lock().unwrap().interrupts());
    assert_eq!(raised(event.signal()), 1);
    model.lock().unwrap().arrive(b"s\r");
    assert!(model.lock().unwrap().interrupts(), "so does the next");
    uart.interrupt_now(0);
    let mut buffer = [0; 8];
    assert_eq!(uart.read(&mut buffer), 3);
    assert_eq!(&buffer[..3], b"ls\r");
    drop(uart);
    model.lock().unwrap().arrive(b"x");
    assert!(!model.lock().unwrap().interrupts(), "nobody is there to serve it");
}

#[test]
fn what_there_is_no_room_for_waits_without_interrupting() {
    let (uart, model) = probe(Uart::new());
    for piece in 0..Received::CAPACITY / FIFO {
        model.lock().unwrap().arrive(&[piece as u8; FIFO]);
        uart.interrupt_now(0);
    }
    model.lock().unwrap().arrive(b"more");
    assert!(!model.lock().unwrap().interrupts());
    let mut buffer = [0; Received::CAPACITY + 8];
    assert_eq!(uart.read(&mut buffer[..2]), 2);
    assert_eq!(model.lock().unwrap().received.len(), 2);
    assert_eq!(uart.read(&mut buffer), Received::CAPACITY);
    assert_eq!(uart.read(&mut buffer), 2);
    assert_eq!(&buffer[..2], b"re");
    model.lock().unwrap().arrive(b"!");
    assert!(model.lock().unwrap().interrupts());
}

#[test]
fn lost_bytes_are_noticed() {
    keep_log();
    let (uart, model) = probe(Uart::new());
    model.lock().unwrap().arrive(&[b'x'; FIFO]);
    assert_eq!(uart.read(&mut [0; 2 * FIFO]), FIFO);
    assert_eq!(fake_kernel::log(), [""; 0]);
    model.lock().unwrap().arrive(&[b'x'; FIFO + 1]);
    assert_eq!(uart.read(&mut [0; 2 * FIFO]), FIFO);
    assert_eq!(fake_kernel::log(), ["bytes arrived faster than they were read: the UART has lost some"]);
    assert_eq!(model.lock().unwrap().interrupts, 0, "it is forgotten once it is known");
}
