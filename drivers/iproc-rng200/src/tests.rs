//! The driver over a model of the registers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use fake_kernel::{FakeNode, Model};
use std::sync::{Arc, Mutex as StdMutex};

const TESTS_FAILED: u32 = 1 << 5;
const LOCKED_OUT: u32 = 1 << 31;

/// A generator whose words count up, a FIFO of which only some reads of the count find something.
#[derive(Default)]
struct Generator {
    control: u32,
    /// Those that are held in reset: the generator, the source of its bits.
    resets: [u32; 2],
    /// How often both have been reset while it was off.
    restarts: u32,
    status: u32,
    /// What becomes of the status after a reset.
    status_after_reset: u32,
    next: u32,
    /// Reads of the count, of which every third finds words.
    looks: u32,
    is_empty: bool,
    /// After how many words its tests fail.
    good_words: Option<u32>,
}

impl Model for Generator {
    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.control,
            0x18 => self.status,
            0x20 => {
                assert!(!self.is_empty && self.looks % 3 == 2, "nobody reads from an empty FIFO");
                self.looks += 1;
                self.next += 1;
                if self.good_words == Some(self.next) {
                    self.status |= TESTS_FAILED;
                }
                0x0101_0101 * self.next
            }
            0x24 => {
                self.looks += 1;
                // The upper bits hold the FIFO's threshold.
                let is_on = self.control & 0x1fff == 1 && self.status & LOCKED_OUT == 0;
                0x300 | u32::from(is_on && !self.is_empty && self.looks % 3 == 2)
            }
            _ => panic!("read at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => self.control = value,
            0x04 | 0x08 => {
                assert_eq!(self.control & 0x1fff, 0, "it is reset while it is off");
                self.resets[(offset == 0x08) as usize] = value;
                if self.resets == [1, 1] {
                    self.restarts += 1;
                    self.status |= self.status_after_reset;
                }
            }
            0x18 => self.status &= !value,
            _ => panic!("write at {offset:#x}"),
        }
    }
}

fn probe(generator: Generator) -> (Rng200, Arc<StdMutex<Generator>>) {
    let model = Arc::new(StdMutex::new(generator));
    let node = FakeNode::with_model(0x28, model.clone());
    (Rng200::probe(&Node::default(), &mut node.resources()).unwrap(), model)
}

#[test]
fn every_word_is_used_once() {
    let (generator, model) = probe(Generator { control: 0x4000_1ffe, ..Generator::default() });
    assert_eq!(model.lock().unwrap().control, 0x4000_0001, "what isn't the generator's switch stays");
    let mut bytes = [0; 10];
    generator.fill(&mut bytes).unwrap();
    assert_eq!(bytes, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
    generator.fill(&mut bytes[..1]).unwrap();
    assert_eq!(bytes[0], 4);
    drop(generator);
    assert_eq!(model.lock().unwrap().control, 0x4000_0000);
}

#[test]
fn a_failed_self_test_resets_it_once() {
    for failure in [TESTS_FAILED, LOCKED_OUT] {
        let (generator, model) = probe(Generator { status: failure, ..Generator::default() });
        assert_eq!(generator.fill(&mut [0; 8]), Ok(()));
        let model = model.lock().unwrap();
        assert_eq!((model.restarts, model.resets, model.control), (1, [0, 0], 1));
    }
    let broken = Generator { status: LOCKED_OUT, status_after_reset: LOCKED_OUT, ..Generator::default() };
    let (generator, model) = probe(broken);
    assert!(matches!(generator.fill(&mut [0; 8]), Err(Error::Device(_))));
    assert_eq!(model.lock().unwrap().restarts, 1);
}

#[test]
fn nothing_is_used_from_a_test_on_that_fails_meanwhile() {
    let (generator, _) = probe(Generator { good_words: Some(2), ..Generator::default() });
    assert!(matches!(generator.fill(&mut [0; 16]), Err(Error::Device(_))));
    assert_eq!(generator.fill(&mut [0; 16]), Ok(()), "next time it is restarted");
}

#[test]
fn an_empty_fifo_is_not_waited_for_for_ever() {
    let (generator, _) = probe(Generator { is_empty: true, ..Generator::default() });
    let error = generator.fill(&mut [0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "the device misbehaved: the random number generator delivers nothing");
}
