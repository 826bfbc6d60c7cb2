//! Text on frame buffers: pixels that QEMU hands out are read back to text, and compared with what a terminal shows for what came
//! over the serial line.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use embedded_graphics::Drawable;
use embedded_graphics::geometry::Point;
use embedded_graphics::mock_display::MockDisplay;
use embedded_graphics::mono_font::iso_8859_1::{FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Baseline, Text};
use tests::{DeviceTree, Initramfs, Machine, Setup, test_module};

use crate::raspberry_pi::{EDITED, PI_4, pi_3, pi_4};
use crate::sd_card::monitor;

/// How long to wait for what is drawn after it was written.
const LOOKS: usize = 100;

/// Pixels, light or dark.
struct Picture {
    width: usize,
    height: usize,
    is_light: Vec<bool>,
}

impl Picture {
    /// What is on the screen: QEMU writes it as a PPM, with three bytes a pixel behind three lines.
    fn of_screen(machine: &Machine, folder: &Path) -> Self {
        let path = folder.join("screen.ppm");
        monitor(machine, &format!("screendump {}", path.display()));
        let bytes = std::fs::read(path).expect("QEMU has written the file");
        let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
        let mut next = || parts.next().expect("a PPM has three lines and pixels");
        assert_eq!(next(), b"P6");
        let size = String::from_utf8_lossy(next()).into_owned();
        let (width, height) = size.split_once(' ').expect("the second line has width and height");
        assert_eq!(next(), b"255");
        let is_light = next().chunks_exact(3).map(is_light).collect();
        Self { width: width.parse().expect("a number"), height: height.parse().expect("a number"), is_light }
    }

    /// What is in the machine's memory, with four bytes a pixel.
    fn of_memory(machine: &Machine, folder: &Path, address: u64, width: usize, height: usize) -> Self {
        let path = folder.join("memory.bin");
        // Without quotes, the path's slash would divide the number before it.
        monitor(machine, &format!("pmemsave {address:#x} {} \"{}\"", width * height * 4, path.display()));
        let bytes = std::fs::read(path).expect("QEMU has written the file");
        Self { width, height, is_light: bytes.chunks_exact(4).map(|pixel| is_light(&pixel[..3])).collect() }
    }

    /// The text that is to be seen.
    fn text(&self, font: &MonoFont<'static>) -> Vec<String> {
        let (width, height) = (font.character_size.width as usize, font.character_size.height as usize);
        let known = glyphs(font);
        let character = |column: usize, row: usize| {
            let line = |y| {
                let start = (row * height + y) * self.width + column * width;
                &self.is_light[start..start + width]
            };
            let glyph: Vec<bool> = (0..height).flat_map(line).copied().collect();
            *known.get(&glyph).unwrap_or(&'\u{fffd}')
        };
        let row = |row| (0..self.width / width).map(|column| character(column, row)).collect();
        (0..self.height / height).map(row).collect()
    }
}

fn is_light(colours: &[u8]) -> bool {
    match colours {
        [0, 0, 0] => false,
        [0xc0, 0xc0, 0xc0] => true,
        other => panic!("nobody draws in the colour {other:x?}"),
    }
}

/// The characters of a font by their pixels, as embedded-graphics draws them.
fn glyphs(font: &MonoFont<'static>) -> HashMap<Vec<bool>, char> {
    let (width, height) = (font.character_size.width as i32, font.character_size.height as i32);
    let draw = |character: char| {
        let mut display = MockDisplay::new();
        let style = MonoTextStyle::new(font, BinaryColor::On);
        let drawn = Text::with_baseline(&character.to_string(), Point::zero(), style, Baseline::Top).draw(&mut display);
        drawn.expect("there is room for a character");
        let pixel = |index| display.get_pixel(Point::new(index % width, index / width)) == Some(BinaryColor::On);
        ((0..width * height).map(pixel).collect(), character)
    };
    (' '..='~').map(draw).collect()
}

/// What a terminal of that size shows for all that came over the serial line, from the log's first line on.
fn terminal(machine: &Machine, columns: u16, rows: u16) -> Vec<String> {
    let shown = machine.shown();
    // QEMU's own words come before.
    let start = shown.find("[ ").unwrap_or_else(|| machine.fail("there is no log"));
    let size = |number| NonZero::new(number).expect("a screen has characters");
    let mut parser = vt100::Parser::new(size(rows), size(columns), 0);
    parser.process(shown[start..].replace('\n', "\r\n").as_bytes());
    parser.screen().rows(0, columns).map(|line| format!("{line:<0$}", usize::from(columns))).collect()
}

/// Waits until pictures show what a terminal would.
#[track_caller]
fn shows_all(machine: &Machine, font: &MonoFont<'static>, picture: impl Fn(&Machine) -> Picture) -> Vec<String> {
    let mut text = Vec::new();
    for _ in 0..LOOKS {
        let picture = picture(machine);
        text = picture.text(font);
        let columns = picture.width as u32 / font.character_size.width;
        let rows = picture.height as u32 / font.character_size.height;
        if text == terminal(machine, columns as u16, rows as u16) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    machine.fail(&format!("the screen shows something else:\n{}", text.join("\n")));
}

#[test]
fn pis_show_on_their_screens_what_the_console_shows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = |machine: &Machine| Picture::of_screen(machine, folder.path());
    for setup in [pi_4(), pi_3()] {
        let mut machine = setup.monitored().boot();
        assert_eq!(machine.row("lsdev", "/soc/firmware/screen")[2..], ["text-screen", "bound"]);
        // A new page, fewer lines than it has, more than it has, lines that are longer than the screen's.
        machine.type_in("\x0c");
        shows_all(&machine, &FONT_8X13, picture);
        machine.command("uptime");
        let text = shows_all(&machine, &FONT_8X13, picture);
        assert_eq!(text[0].trim_end(), "lockstep> uptime");
        machine.command("help");
        machine.command("lsdev");
        let text = shows_all(&machine, &FONT_8X13, picture);
        assert_eq!(text.last().map(|line| line.trim_end()), Some("lockstep>"));
        // Editing in the middle of a line.
        machine.type_in("ecoh\x08\x08\x1b[3~\x1b[D");
        shows_all(&machine, &FONT_8X13, picture);
    }
}

#[test]
fn a_screen_that_comes_later_shows_the_log_from_its_beginning() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut machine = pi_4().monitored().boot();
    let text = |machine: &Machine| Picture::of_screen(machine, folder.path()).text(&FONT_8X13).concat();
    let first = "kernel: Raspberry Pi 4 Model B";
    machine.command("lsdev");
    shows_all(&machine, &FONT_8X13, |machine| Picture::of_screen(machine, folder.path()));
    assert_eq!(machine.command("rmmod text-screen"), "");
    let before = text(&machine);
    assert!(!before.contains(first), "it is scrolled out: {before}");
    machine.command("uptime");
    assert_eq!(text(&machine), before, "nobody draws any more");
    machine.command("dmesg -n info");
    machine.type_in("insmod text-screen\r");
    for _ in 0..LOOKS {
        if text(&machine).contains(first) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    machine.fail(&format!("the screen shows {}", text(&machine)));
}

#[test]
fn a_frame_buffer_that_firmware_has_left_is_used_first() {
    const ADDRESS: u64 = 0x3e51_3000;
    const MIB: u64 = 1 << 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tree = DeviceTree::of_firmware(PI_4).with(EDITED);
    let setup = Setup::raspberry_pi("raspi4b").monitored();
    let mut machine = setup.placed(2 * MIB, (736 * MIB, &tree), 512 * MIB).boot();
    assert_eq!(machine.row("lsdev", &format!("/chosen/framebuffer@{ADDRESS:x}"))[2..], ["text-screen", "bound"]);
    let other = machine.row("lsdev", "/soc/firmware/screen");
    assert_eq!(other.last().map(String::as_str), Some("empty: its driver found nothing there"));
    // QEMU's display doesn't know of that one.
    let picture = |machine: &Machine| Picture::of_memory(machine, folder.path(), ADDRESS, 1920, 1080);
    shows_all(&machine, &FONT_10X20, picture);
    machine.command("help");
    shows_all(&machine, &FONT_10X20, picture);
}

#[test]
fn why_everything_ends_is_on_the_screen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let initramfs = Initramfs::shipped().with_module("test-fatal", test_module("test-fatal"));
    let mut machine = pi_4().initramfs(&initramfs).monitored().boot_arguments("panic=halt").boot();
    machine.type_in("insmod test-fatal\r");
    machine.wait_for("lockstep: halted\n");
    let text = shows_all(&machine, &FONT_8X13, |machine| Picture::of_screen(machine, folder.path()));
    assert!(text.iter().any(|line| line.starts_with("lockstep: halted")), "{}", text.join("\n"));
}

/// Boots with a frame buffer at a place where none can be, and expects why it isn't used.
fn is_refused(reg: &str, sentence: &str) {
    const MIB: u64 = 1 << 20;
    let moved = format!("/ {{ chosen {{ framebuffer@3e513000 {{ reg = <{reg}>; }}; }}; }};");
    let tree = DeviceTree::of_firmware(PI_4).with(EDITED).with(&moved);
    let mut machine = Setup::raspberry_pi("raspi4b").placed(2 * MIB, (736 * MIB, &tree), 512 * MIB).boot();
    let row = machine.row("lsdev", "/chosen/framebuffer@3e513000");
    machine.expect(row.last().map_or("", String::as_str), sentence);
}

#[test]
fn frame_buffers_in_memory_or_over_registers_are_refused() {
    is_refused("0 0x10000000 0x7e9000", "0x10000000..0x107e9000 belongs to /memory@0, and is no frame buffer");
    is_refused("0 0xfe000000 0x7e9000", "belongs to /soc/");
}
