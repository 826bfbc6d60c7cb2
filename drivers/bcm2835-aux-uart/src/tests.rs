//! The driver over a model of the UART.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{FakeNode, Model, raised};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex as StdMutex};

/// A UART with FIFOs, of which the one to transmit empties a little whenever somebody looks.
struct Uart {
    control: u32,
    line_control: u32,
    interrupts: u32,
    received: VecDeque<u8>,
    overrun: bool,
    transmitting: usize,
    sent: Vec<u8>,
}

impl Uart {
    fn new() -> Self {
        Self {
            control: 3,
            line_control: 0,
            interrupts: 0,
            received: VecDeque::new(),
            overrun: false,
            transmitting: 0,
            sent: Vec::new(),
        }
    }

    fn interrupts(&self) -> bool {
        self.interrupts & 0b1101 == 0b1101 && !self.received.is_empty()
    }
}

impl Model for Uart {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.received.pop_front().expect("nobody reads from an empty FIFO").into(),
            0x0c => self.line_control,
            0x14 => {
                let room = self.transmitting < 8;
                self.transmitting = self.transmitting.saturating_sub(1);
                let overrun = std::mem::take(&mut self.overrun);
                u32::from(!self.received.is_empty()) | u32::from(overrun) << 1 | u32::from(room) << 5
            }
            0x20 => self.control,
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => {
                assert!(self.transmitting < 8, "nobody writes to a full FIFO");
                self.transmitting += 1;
                self.sent.push(value as u8);
            }
            0x04 => self.interrupts = value,
            0x0c => self.line_control = value,
            _ => panic!("write at {offset:#x}"),
        }
    }
}

fn probe(uart: Uart) -> (Result<AuxUart>, Arc<StdMutex<Uart>>) {
    let model = Arc::new(StdMutex::new(uart));
    let node = FakeNode::with_model(0x40, model.clone());
    (AuxUart::probe(&Node::default(), &mut node.resources()), model)
}

#[test]
fn one_that_is_switched_off_is_left_alone() {
    let (uart, _) = probe(Uart { control: 0, ..Uart::new() });
    let sentence = uart.map(drop).unwrap_err().to_string();
    assert!(sentence.contains("enable_uart=1"), "{sentence}");
}

#[test]
fn writes_every_byte_and_waits_for_room() {
    let (uart, model) = probe(Uart::new());
    let text = b"as many bytes as the FIFO has not got room for at once";
    uart.unwrap().write(text);
    let model = model.lock().unwrap();
    assert_eq!((model.sent.as_slice(), model.line_control), (&text[..], 3));
}

#[test]
fn lines_of_several_writers_are_not_mixed() {
    let (uart, model) = probe(Uart::new());
    let uart = uart.unwrap();
    let line = |writer: u8, length| [vec![b'a' + writer; length], b"\r\n".to_vec()].concat();
    let text = |writer| (1..60).map(|length| line(writer, length)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let uart = &uart;
            scope.spawn(move || text(writer).iter().for_each(|line| uart.write(line)));
        }
    });
    let sent = model.lock().unwrap().sent.clone();
    let lines: Vec<_> = sent.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for writer in 0..4 {
        let theirs: Vec<_> = lines.iter().filter(|line| line[0] == b'a' + writer).cloned().collect();
        assert_eq!(theirs, text(writer));
    }
}

#[test]
fn an_interrupt_brings_what_has_been_typed() {
    let (uart, model) = probe(Uart::new());
    let uart = uart.unwrap();
    let event = Event::new().unwrap();
    uart.subscribe(event.signal());
    assert_eq!(raised(event.signal()), 0);
    model.lock().unwrap().received.extend(b"ls\r");
    assert!(model.lock().unwrap().interrupts());
    assert_eq!(uart.interrupt_now(0), Served::Done);
    assert!(!model.lock().unwrap().interrupts());
    assert_eq!(raised(event.signal()), 1);
    let mut buffer = [0; 8];
    assert_eq!(uart.read(&mut buffer), 3);
    assert_eq!(&buffer[..3], b"ls\r");
    drop(uart);
    assert_eq!(model.lock().unwrap().interrupts, 0);
}

#[test]
fn what_there_is_no_room_for_waits_without_interrupting() {
    let (uart, model) = probe(Uart::new());
    let uart = uart.unwrap();
    model.lock().unwrap().received.extend((0..Received::CAPACITY + 4).map(|byte| byte as u8));
    uart.interrupt_now(0);
    assert_eq!(model.lock().unwrap().received.len(), 4);
    assert!(!model.lock().unwrap().interrupts());
    let mut buffer = [0; Received::CAPACITY + 8];
    assert_eq!(uart.read(&mut buffer[..2]), 2);
    assert_eq!(model.lock().unwrap().received.len(), 2);
    assert_eq!(uart.read(&mut buffer), Received::CAPACITY);
    assert_eq!(uart.read(&mut buffer), 2);
    assert_eq!(model.lock().unwrap().interrupts, 0b1101);
}
