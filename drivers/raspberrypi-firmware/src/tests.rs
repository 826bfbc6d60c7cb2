//! The driver against a firmware that follows the wiki's description of the property interface.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::{Class, Interface};
use fake_kernel::{FakeNode, device_read, device_write, dma_in_use, publish, refer};
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is done with a property: tag and question, answered with an answer or not at all.
type Answer = dyn Fn(u32, &[u32]) -> Option<Vec<u32>> + Send + Sync;

/// A VideoCore behind its mailbox.
struct VideoCore {
    answer: Box<Answer>,
    code: u32,
    is_silent: bool,
    asked: StdMutex<Vec<u32>>,
}

impl VideoCore {
    fn new(answer: impl Fn(u32, &[u32]) -> Option<Vec<u32>> + Send + Sync + 'static) -> Self {
        Self { answer: Box::new(answer), code: 0x8000_0000, is_silent: false, asked: StdMutex::default() }
    }
}

impl Mailbox for VideoCore {
    fn exchange(&self, message: u32, _patience: Duration) -> Result<()> {
        assert_eq!(message & 0xf, 8, "the channel");
        if self.is_silent {
            return Err(Error::TimedOut);
        }
        let start = u64::from(message & !0xf);
        let word = |index: u64| device_read::<u32>(start + 4 * index);
        let size = u64::from(word(0));
        assert_eq!(word(1), 0, "a request");
        let mut at = 2;
        while word(at) != 0 {
            let (tag, length) = (word(at), u64::from(word(at + 1)));
            assert_eq!(word(at + 2) >> 31, 0, "a question");
            let question: Vec<u32> = (0..length / 4).map(|index| word(at + 3 + index)).collect();
            self.asked.lock().unwrap().push(tag);
            if let Some(answer) = (self.answer)(tag, &question) {
                device_write(start + 4 * (at + 2), (1 << 31) + 4 * answer.len() as u32);
                for (index, value) in answer.iter().enumerate().take(question.len()) {
                    device_write(start + 4 * (at + 3 + index as u64), *value);
                }
            }
            at += 3 + length / 4;
        }
        assert_eq!(4 * (at + 1), size, "the size counts the end as well");
        device_write(start + 4, self.code);
        Ok(())
    }
}

/// A firmware with its driver; the memory that it uses is the node's.
fn probe(firmware: VideoCore) -> (Result<RaspberryPi>, FakeNode, &'static VideoCore) {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let firmware: &'static VideoCore = Box::leak(Box::new(firmware));
    publish(number, Class::Mailbox, move || Interface::Mailbox(firmware));
    let path = format!("/soc/firmware{number}");
    refer(&path, "mboxes", &[(number, &[])]);
    let node = FakeNode::new(&[]);
    let tree = Node::new(path, "raspberrypi,bcm2835-firmware".to_owned(), Vec::new());
    (RaspberryPi::probe(&tree, &mut node.resources()), node, firmware)
}

/// What a Raspberry Pi 4 answers; the second words of serial number and MAC address are short ones.
fn board(tag: u32, question: &[u32]) -> Option<Vec<u32>> {
    Some(match (tag, question) {
        (0x1, _) => vec![0x6543_2100],
        (0x1_0002, _) => vec![0xc0_3114],
        (0x1_0003, _) => vec![0x3412_5452, 0x7856],
        (0x1_0004, _) => vec![0x89ab_cdef, 0x1000_0000],
        (0x3_0006, [0, _]) => vec![0, 48_312],
        (0x3_0002, [clock, _]) => vec![*clock, 1_000_000 * clock],
        (0x3_8002, [clock, hertz, 0]) => vec![*clock, (*hertz).min(50_000_000)],
        // Domain USB is number 6 in trees and 7 here; beyond 23 there are none.
        (0x3_0030, [domain, _]) => vec![*domain, if *domain > 23 { u32::MAX } else { u32::from(*domain == 7) }],
        (0x3_8030, [7, on]) => vec![7, *on],
        (0x3_8030, [domain, _]) => vec![*domain, 0],
        (0x4_0003, _) => vec![1920, 1080],
        (0x4_8003 | 0x4_8004 | 0x4_8009, size) => size.to_vec(),
        (0x4_8005, [depth]) => vec![*depth],
        (0x4_8006, [1]) => vec![1],
        (0x4_0001, [alignment, _]) if alignment.is_power_of_two() => vec![0x1e51_3000, 0x7e_9000],
        (0x4_0008, _) => vec![1920 * 4],
        _ => return None,
    })
}

#[test]
fn tells_what_a_board_is() {
    let (firmware, node, _) = probe(VideoCore::new(board));
    let firmware = firmware.unwrap();
    let identity = firmware.identity().unwrap();
    assert_eq!((identity.firmware, identity.revision), (0x6543_2100, 0xc0_3114));
    assert_eq!(identity.serial, 0x1000_0000_89ab_cdef);
    assert_eq!(identity.mac_address.to_string(), "52:54:12:34:56:78");
    assert_eq!(firmware.temperature(), Ok(48_312));
    assert_eq!(dma_in_use(&node), 0, "messages are freed");
}

#[test]
fn clocks_have_names_and_rates() {
    let (firmware, ..) = probe(VideoCore::new(board));
    let firmware = firmware.unwrap();
    let clocks = firmware.clocks().unwrap();
    let arm = clocks.iter().find(|clock| clock.name == "arm").unwrap();
    assert_eq!((clocks.len(), arm.number, arm.hertz), (15, 3, 3_000_000));
    assert_eq!(firmware.set_clock_rate(12, 100_000_000), Ok(50_000_000));
    for clock in [0, 16, u32::MAX] {
        assert!(matches!(firmware.clock_rate(clock), Err(Error::Invalid(_))));
        assert!(matches!(firmware.set_clock_rate(clock, 1), Err(Error::Invalid(_))));
    }
}

#[test]
fn power_domains_count_from_zero_as_in_trees() {
    let (firmware, ..) = probe(VideoCore::new(board));
    let firmware = firmware.unwrap();
    assert_eq!((firmware.is_powered(6), firmware.is_powered(5)), (Ok(true), Ok(false)));
    assert_eq!(firmware.set_powered(6, true), Ok(()));
    assert_eq!(firmware.set_powered(6, false), Ok(()));
    assert!(matches!(firmware.set_powered(5, true), Err(Error::Io(_))));
    assert!(matches!(firmware.is_powered(23), Err(Error::Invalid(_))));
    assert!(matches!(firmware.is_powered(u32::MAX), Err(Error::Invalid(_))));
}

#[test]
fn a_frame_buffer_is_asked_for_in_one_message() {
    let (firmware, _, videocore) = probe(VideoCore::new(board));
    let firmware = firmware.unwrap();
    videocore.asked.lock().unwrap().clear();
    let buffer = firmware.frame_buffer(0, 0).unwrap();
    assert_eq!((buffer.width, buffer.height, buffer.pitch, buffer.size), (1920, 1080, 7680, 0x7e_9000));
    assert_eq!(buffer.address, 0x1e51_3000, "as the tree translates the uncached alias");
    let asked = videocore.asked.lock().unwrap().clone();
    assert_eq!(asked, [0x4_0003, 0x4_8003, 0x4_8004, 0x4_8009, 0x4_8005, 0x4_8006, 0x4_0001, 0x4_0008]);
}

#[test]
fn a_frame_buffer_that_makes_no_sense_is_refused() {
    let broken = [(0x4_0008, vec![7679]), (0x4_8005, vec![16]), (0x4_0001, vec![0x1e51_3000, 0x1000])];
    for (broken_tag, answer) in broken {
        let (firmware, ..) = probe(VideoCore::new(move |tag, question| match tag {
            _ if tag == broken_tag => Some(answer.clone()),
            _ => board(tag, question),
        }));
        let refused = firmware.unwrap().frame_buffer(1920, 1080);
        assert!(matches!(refused, Err(Error::Device(_))), "{broken_tag:#x}: {refused:?}");
    }
}

#[test]
fn what_the_firmware_does_not_know_is_unsupported() {
    let (firmware, ..) = probe(VideoCore::new(|tag, question| (tag != 0x3_0006).then(|| board(tag, question))?));
    let error = firmware.unwrap().temperature().unwrap_err();
    assert_eq!(error.to_string(), "not supported: the firmware doesn't know property 0x00030006");
    // As QEMU does: answered, with nothing.
    let empty = |tag, question: &[u32]| if tag == 0x3_0006 { Some(Vec::new()) } else { board(tag, question) };
    let (firmware, ..) = probe(VideoCore::new(empty));
    assert!(matches!(firmware.unwrap().temperature(), Err(Error::Unsupported(_))));
}

#[test]
fn a_refused_message_and_silence_are_errors() {
    let (refused, ..) = probe(VideoCore { code: 0x8000_0001, ..VideoCore::new(board) });
    assert!(matches!(refused.map(drop), Err(Error::Device(_))));
    let (unchanged, ..) = probe(VideoCore { code: 0, ..VideoCore::new(board) });
    assert!(matches!(unchanged.map(drop), Err(Error::Device(_))));
    let (silent, node, _) = probe(VideoCore { is_silent: true, ..VideoCore::new(board) });
    assert_eq!(silent.map(drop), Err(Error::TimedOut));
    assert_ne!(dma_in_use(&node), 0, "the firmware may still write there");
}
