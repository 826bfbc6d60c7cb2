//! Text on a frame buffer: one that firmware has left (Linux binding `simple-framebuffer.yaml`), or one that it is asked for.
//!
//! What is written goes to a grid of characters in memory at once, and to the screen from there, on a thread of its own: a flood
//! of lines is drawn as far as it is still there when its turn comes, and only characters that change are drawn. Nothing is read
//! from the frame buffer.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod grid;
mod painter;
#[cfg(test)]
mod tests;

use abi::prelude::*;
use abi::{registry, thread};
use alloc::sync::Arc;
use grid::Grid;
use painter::{Format, Painter};
use vte::Parser;

abi::driver!(
    TextScreen: Screen,
    compatible = ["simple-framebuffer", "raspberrypi,bcm2835-firmware-screen"],
    summary = "Text on a frame buffer",
);

/// How many bytes are taken, and how many characters drawn, while interrupts are masked, at most.
const BYTES: usize = 256;
const CHARACTERS: usize = 16;

struct TextScreen {
    state: Arc<Lock<State>>,
    /// Wakes the thread that draws.
    signal: Signal,
}

struct State {
    parser: Parser,
    grid: Grid,
    painter: Painter,
}

impl Driver for TextScreen {
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self> {
        let (format, pixels) = match node.compatible() {
            "simple-framebuffer" => (Format::of_node(node)?, resources.pixels(None)?),
            _ => requested(resources)?,
        };
        let painter = Painter::new(format, pixels)?;
        let (columns, rows) = painter.characters();
        info!("{columns} columns and {rows} lines of text on {} x {} pixels", format.width, format.height);
        let state = State { parser: Parser::new(), grid: Grid::new(columns, rows), painter };
        let state = Arc::new(Lock::new(state));
        let event = Event::new()?;
        let (drawn, signal) = (state.clone(), event.signal());
        thread::spawn("screen", move || {
            // It ends when the module is removed.
            while event.wait(None).is_ok() {
                while drawn.lock().draw_some() {}
            }
        })?;
        Ok(Self { state, signal })
    }
}

/// A frame buffer of the firmware's, as large as the screen.
fn requested(resources: &mut Resources) -> Result<(Format, Pixels)> {
    // To ask would take away the one that is used.
    if registry::first::<dyn Screen>().is_some() {
        info!("the firmware isn't asked for a frame buffer: there is a screen already");
        return Err(Error::Absent);
    }
    let firmware = registry::required::<dyn Firmware>()?;
    let buffer = firmware.call(|firmware| firmware.frame_buffer(0, 0))??;
    let format = Format { width: buffer.width, height: buffer.height, pitch: buffer.pitch };
    let end = buffer.address.saturating_add(buffer.size.into());
    Ok((format, resources.pixels(Some(buffer.address..end))?))
}

impl Screen for TextScreen {
    fn write(&self, bytes: &[u8]) {
        for piece in bytes.chunks(BYTES) {
            let State { parser, grid, .. } = &mut *self.state.lock();
            parser.advance(grid, piece);
        }
        self.signal.raise();
    }

    fn draw(&self) {
        while self.state.try_lock().is_some_and(|mut state| state.draw_some()) {}
    }
}

impl State {
    /// Draws some of the characters that have changed; returns whether there may be more.
    fn draw_some(&mut self) -> bool {
        let Self { grid, painter, .. } = self;
        for _ in 0..CHARACTERS {
            let Some((place, character)) = grid.next_change() else { return false };
            painter.draw(place, character);
        }
        true
    }
}
