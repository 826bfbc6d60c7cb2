//! What is on the screen, read from its pixels, beside what another terminal shows.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use abi::firmware::{ClockRate, FrameBuffer, Identity};
use abi::{Class, Interface, Property};
use embedded_graphics::Drawable;
use embedded_graphics::geometry::Point;
use embedded_graphics::mock_display::MockDisplay;
use embedded_graphics::mono_font::iso_8859_1::{FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Baseline, Text};
use fake_kernel::{FakeNode, publish, wait_until, withdraw};
use std::collections::HashMap;
use std::num::NonZero;

/// A screen of the firmware's binding.
fn node(width: u32, height: u32, stride: u32, format: &str) -> Node {
    let number = |name: &str, value: u32| Property { name: name.to_owned(), value: value.to_be_bytes().to_vec() };
    let format = Property { name: "format".to_owned(), value: format!("{format}\0").into_bytes() };
    let properties = vec![number("width", width), number("height", height), number("stride", stride), format];
    Node::new("/chosen/framebuffer@3e513000".to_owned(), "simple-framebuffer".to_owned(), properties)
}

/// A screen whose pixels can be looked at.
struct Shown {
    screen: TextScreen,
    memory: FakeNode,
    font: &'static MonoFont<'static>,
    columns: u32,
    rows: u32,
    pitch: u32,
}

impl Shown {
    fn new(width: u32, height: u32, pitch: u32) -> Self {
        let memory = FakeNode::new(&[(pitch * height) as usize]);
        let node = node(width, height, pitch, "a8r8g8b8");
        let screen = TextScreen::probe(&node, &mut memory.resources()).unwrap();
        let font = if width < 800 { &FONT_8X13 } else { &FONT_10X20 };
        let (columns, rows) = (width / font.character_size.width, height / font.character_size.height);
        Self { screen, memory, font, columns, rows, pitch }
    }

    /// Writes, and waits until all is drawn, by whomever.
    fn write(&self, bytes: &[u8]) {
        self.screen.write(bytes);
        while self.screen.state.lock().draw_some() {}
    }

    /// The pixels of a character at a place, a bit for each that is light.
    fn glyph(&self, column: u32, row: u32) -> Vec<bool> {
        let (width, height) = (self.font.character_size.width, self.font.character_size.height);
        let pixel = |index| {
            let (x, y) = (column * width + index % width, row * height + index / width);
            match self.memory.get(0, (y * self.pitch + 4 * x) as usize) {
                0xffc0_c0c0 => true,
                0xff00_0000 => false,
                other => panic!("a pixel of {other:#x}"),
            }
        };
        (0..width * height).map(pixel).collect()
    }

    /// The text that the pixels show: each character is looked up among those that embedded-graphics itself draws.
    fn text(&self) -> Vec<String> {
        let known = glyphs(self.font);
        let character = |column, row| known.get(&self.glyph(column, row)).copied().unwrap();
        (0..self.rows).map(|row| (0..self.columns).map(|column| character(column, row)).collect()).collect()
    }
}

/// The characters of a font by their pixels.
fn glyphs(font: &MonoFont<'static>) -> HashMap<Vec<bool>, char> {
    let (width, height) = (font.character_size.width as i32, font.character_size.height as i32);
    let draw = |character: char| {
        let mut display = MockDisplay::new();
        let style = MonoTextStyle::new(font, BinaryColor::On);
        Text::with_baseline(&character.to_string(), Point::zero(), style, Baseline::Top).draw(&mut display).unwrap();
        let pixel = |index| display.get_pixel(Point::new(index % width, index / width)) == Some(BinaryColor::On);
        ((0..width * height).map(pixel).collect(), character)
    };
    // The space last: a soft hyphen or a no-break space may look like it.
    ('\u{a1}'..='\u{ff}').chain('!'..='~').chain([' ']).map(draw).collect()
}

/// The text that another terminal of the same size shows for the same bytes.
fn model(columns: u32, rows: u32, bytes: &[u8]) -> Vec<String> {
    let size = |number| NonZero::new(number as u16).unwrap();
    let mut parser = vt100::Parser::new(size(rows), size(columns), 0);
    parser.process(bytes);
    let line = |row| {
        let cell = |column| match parser.screen().cell(row, column).map(|cell| cell.contents().to_owned()) {
            Some(text) if !text.is_empty() => text,
            _ => " ".to_owned(),
        };
        (0..columns as u16).map(cell).collect()
    };
    (0..rows as u16).map(line).collect()
}

/// Something that the log or the shell might write.
fn piece(random: &mut fastrand::Rng) -> String {
    let number = random.u32(0..30);
    match random.u32(0..24) {
        0 => "\x1b[K".to_owned(),
        1 => "\x1b[H\x1b[2J".to_owned(),
        2 => format!("\x1b[{number}D"),
        3 => format!("\x1b[{number}C"),
        4 => format!("\x1b[{number}A"),
        5 => format!("\x1b[{number}B"),
        6 => format!("\x1b[{};{number}H", random.u32(0..200)),
        7 => "\x08".repeat(random.usize(1..4)),
        8 => "\t".to_owned(),
        9 => "\x1b[J".to_owned(),
        10 => "\n".to_owned(),
        11 => "ü£Ñ¿".to_owned(),
        12 => "\x1b[1;31m".to_owned(),
        13 => "\x07".to_owned(),
        14..20 => (0..number * 4).map(|_| random.char('!'..='~')).collect(),
        _ => "\r\n".to_owned(),
    }
}

#[test]
fn shows_what_another_terminal_shows() {
    for (width, height, pitch) in [(640, 100, 640 * 4), (643, 79, 660 * 4), (810, 125, 810 * 4)] {
        let mut random = fastrand::Rng::with_seed(u64::from(width));
        for _ in 0..20 {
            let shown = Shown::new(width, height, pitch);
            let mut bytes = Vec::new();
            for _ in 0..random.usize(1..60) {
                let piece = piece(&mut random);
                bytes.extend_from_slice(piece.as_bytes());
                // In pieces that end anywhere, and drawn now and then.
                let (one, other) = piece.as_bytes().split_at(random.usize(0..=piece.len()));
                shown.screen.write(one);
                shown.write(other);
            }
            let expected = model(shown.columns, shown.rows, &bytes);
            assert_eq!(shown.text(), expected, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_thread_draws_what_is_written() {
    let shown = Shown::new(640, 52, 640 * 4);
    shown.screen.write(b"lockstep> ");
    wait_until("text", || shown.text()[0].starts_with("lockstep> "));
}

#[test]
fn what_the_font_lacks_is_replaced() {
    let shown = Shown::new(640, 52, 640 * 4);
    shown.write("5 € for ♞\u{7f}.".as_bytes());
    // The first byte of two, and one that begins nothing.
    shown.write(b" [\xc3] [\xff]");
    assert_eq!(shown.text()[0].trim_end(), "5 ? for ?. [?] [?]");
}

/// Why a frame buffer of so many bytes is refused.
fn refusal(node: &Node, bytes: usize) -> String {
    let memory = FakeNode::new(&[bytes]);
    TextScreen::probe(node, &mut memory.resources()).map(drop).unwrap_err().to_string()
}

#[test]
fn frame_buffers_that_cannot_be_are_refused() {
    for (node, sentence) in [
        (node(640, 480, 1280, "r5g6b5"), "a frame buffer of the format r5g6b5, not of 32 bits a pixel"),
        (node(640, 480, 2556, "x8r8g8b8"), "can't hold 480 lines of 640, 2556 bytes"),
        (node(640, 480, 2562, "x8r8g8b8"), "can't hold 480 lines of 640, 2562 bytes"),
        (node(640, 481, 2560, "x8r8g8b8"), "a frame buffer of 307200 pixels can't hold 481 lines"),
        (node(u32::MAX, u32::MAX, u32::MAX - 3, "x8r8g8b8"), "can't hold"),
        (node(7, 480, 2560, "x8r8g8b8"), "there is no room for text on 7 x 480 pixels"),
        (node(640, 0, 2560, "x8r8g8b8"), "there is no room for text on 640 x 0 pixels"),
    ] {
        let refusal = refusal(&node, 640 * 480 * 4);
        assert!(refusal.contains(sentence), "{refusal}");
    }
    let unknown = Node::new("/chosen/framebuffer".to_owned(), "simple-framebuffer".to_owned(), Vec::new());
    assert!(refusal(&unknown, 4096).contains("a frame buffer of the format none"));
}

/// Firmware with a screen of 640 x 480 pixels.
struct FakeFirmware;

impl Firmware for FakeFirmware {
    fn identity(&self) -> Result<Identity> {
        unimplemented!()
    }
    fn temperature(&self) -> Result<u32> {
        unimplemented!()
    }
    fn clocks(&self) -> Result<Vec<ClockRate>> {
        unimplemented!()
    }
    fn clock_rate(&self, _: u32) -> Result<u32> {
        unimplemented!()
    }
    fn set_clock_rate(&self, _: u32, _: u32) -> Result<u32> {
        unimplemented!()
    }
    fn is_powered(&self, _: u32) -> Result<bool> {
        unimplemented!()
    }
    fn set_powered(&self, _: u32, _: bool) -> Result<()> {
        unimplemented!()
    }
    fn frame_buffer(&self, width: u32, height: u32) -> Result<FrameBuffer> {
        assert_eq!((width, height), (0, 0), "as many pixels as the screen has");
        Ok(FrameBuffer { address: 0x3c10_0000, size: 640 * 480 * 4, width: 640, height: 480, pitch: 2560 })
    }
}

#[test]
fn firmware_is_asked_for_a_frame_buffer_unless_there_is_a_screen() {
    let memory = FakeNode::new(&[640 * 480 * 4]);
    let compatible = "raspberrypi,bcm2835-firmware-screen".to_owned();
    let node = Node::new("/soc/firmware/screen".to_owned(), compatible, Vec::new());
    let probe = || TextScreen::probe(&node, &mut memory.resources());
    assert!(matches!(probe(), Err(Error::Deferred(_))));

    publish(1, Class::Firmware, || Interface::Firmware(&FakeFirmware));
    let screen: &'static TextScreen = Box::leak(Box::new(probe().unwrap()));
    screen.write(b"#");
    wait_until("text", || (0..13 * 8).any(|index| memory.get(0, index / 8 * 2560 + index % 8 * 4) == 0xffc0_c0c0));

    publish(2, Class::Screen, move || Interface::Screen(screen));
    assert_eq!(probe().map(drop), Err(Error::Absent));
    withdraw(2);
    assert!(probe().is_ok());
}
