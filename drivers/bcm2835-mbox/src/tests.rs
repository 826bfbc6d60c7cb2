//! The driver over a model of the mailbox.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{FakeNode, Model};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex as StdMutex};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

/// Two FIFOs, and a VideoCore that sends back what it gets.
#[derive(Default)]
struct VideoCore {
    answers: VecDeque<u32>,
    received: Vec<u32>,
    configuration: u32,
    /// How often the way there is still full when somebody looks.
    full: u32,
    /// Sends nothing.
    is_silent: bool,
}

impl Model for VideoCore {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.answers.pop_front().expect("nobody reads from an empty mailbox"),
            0x18 => u32::from(self.answers.is_empty()) << 30,
            0x1c => self.configuration,
            0x38 if self.full > 0 => {
                self.full -= 1;
                1 << 31
            }
            0x38 => 1 << 30,
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x1c => self.configuration = value,
            0x20 => {
                assert_eq!(self.full, 0, "nobody writes to a full mailbox");
                self.received.push(value);
                if !self.is_silent {
                    self.answers.push_back(value);
                }
            }
            _ => panic!("write at {offset:#x}"),
        }
    }
}

fn probe(model: VideoCore) -> (Mbox, Arc<StdMutex<VideoCore>>) {
    let model = Arc::new(StdMutex::new(model));
    let node = FakeNode::with_model(0x40, model.clone());
    (Mbox::probe(&Node::default(), &mut node.resources()).unwrap(), model)
}

#[test]
fn a_message_goes_there_and_back() {
    let (mailbox, model) = probe(VideoCore { full: 3, ..VideoCore::default() });
    assert_eq!(mailbox.exchange(0xc000_1008, PATIENCE), Ok(()));
    assert_eq!(mailbox.exchange(0xc000_2008, PATIENCE), Ok(()));
    assert_eq!(model.lock().unwrap().received, [0xc000_1008, 0xc000_2008]);
}

#[test]
fn an_interrupt_ends_the_wait_and_is_silent_then() {
    let (mailbox, model) = probe(VideoCore { is_silent: true, ..VideoCore::default() });
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| mailbox.exchange(0x18, PATIENCE));
        // Only one thread at a time may use the registers: this one when the other asks for an interrupt and sleeps.
        while model.lock().unwrap().configuration != 1 {
            std::thread::yield_now();
        }
        std::thread::sleep(SHORT);
        model.lock().unwrap().answers.push_back(0x18);
        assert_eq!(mailbox.interrupt_now(0), Served::Done);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
    assert_eq!(model.lock().unwrap().configuration, 0);
}

#[test]
fn answers_that_nobody_waits_for_are_dropped() {
    let (mailbox, model) = probe(VideoCore { is_silent: true, ..VideoCore::default() });
    assert_eq!(mailbox.exchange(0x18, SHORT), Err(Error::TimedOut));
    let mut videocore = model.lock().unwrap();
    videocore.answers.extend([0x18, 0x29]);
    videocore.is_silent = false;
    drop(videocore);
    assert_eq!(mailbox.exchange(0x38, PATIENCE), Ok(()));
    assert!(model.lock().unwrap().answers.is_empty());
}

#[test]
fn a_mailbox_that_stays_full_is_given_up() {
    let (mailbox, model) = probe(VideoCore { full: u32::MAX, ..VideoCore::default() });
    assert_eq!(mailbox.exchange(0x18, SHORT), Err(Error::TimedOut));
    assert_eq!(model.lock().unwrap().received, []);
}
