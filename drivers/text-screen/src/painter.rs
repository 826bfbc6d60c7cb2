//! Characters as pixels.

use abi::prelude::*;
use embedded_graphics::geometry::{Dimensions, Point};
use embedded_graphics::image::GetPixel;
use embedded_graphics::mono_font::MonoFont;
use embedded_graphics::mono_font::iso_8859_1::{FONT_8X13, FONT_10X20};
use embedded_graphics::pixelcolor::BinaryColor;

/// The fonts, the largest first, as long as it leaves that many columns.
const FONTS: [&MonoFont<'static>; 2] = [&FONT_10X20, &FONT_8X13];
const COLUMNS: u32 = 80;

/// Light grey on black: the same in whatever order the colours are. An alpha channel says opaque.
const LIGHT: u32 = 0xffc0_c0c0;
const DARK: u32 = 0xff00_0000;

/// How the pixels lie in a frame buffer: of 32 bits each, red, green and blue in any order in the lower 24.
#[derive(Clone, Copy)]
pub struct Format {
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from one line to the next.
    pub pitch: u32,
}

impl Format {
    /// The one that a node says (Linux binding `simple-framebuffer.yaml`).
    pub fn of_node(node: &Node) -> Result<Self> {
        let number = |name: &str| {
            node.u32(name).ok_or_else(|| Error::Invalid(format!("{} doesn't say its {name}", node.path())))
        };
        match node.string("format") {
            Some("a8r8g8b8" | "x8r8g8b8" | "a8b8g8r8" | "x8b8g8r8") => {}
            other => {
                let format = other.unwrap_or("none");
                return Err(Error::Unsupported(format!(
                    "a frame buffer of the format {format}, not of 32 bits a pixel"
                )));
            }
        }
        Ok(Self { width: number("width")?, height: number("height")?, pitch: number("stride")? })
    }
}

/// Draws characters.
pub struct Painter {
    pixels: Pixels,
    font: &'static MonoFont<'static>,
    /// Characters of a line, and lines.
    columns: usize,
    rows: usize,
    /// Pixels from one line of them to the next.
    pitch: usize,
}

impl Painter {
    /// A dark screen.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the pixels aren't as many as the format says, or too few for any text.
    pub fn new(format: Format, mut pixels: Pixels) -> Result<Self> {
        let Format { width, height, pitch } = format;
        let needed = u64::from(pitch) * u64::from(height) / 4;
        if pitch % 4 != 0 || u64::from(pitch) < 4 * u64::from(width) || needed > pixels.count() as u64 {
            return Err(Error::Invalid(format!(
                "a frame buffer of {} pixels can't hold {height} lines of {width}, {pitch} bytes from one to the next",
                pixels.count()
            )));
        }
        let fits = |font: &&&MonoFont<'_>| width / font.character_size.width >= COLUMNS;
        let [.., smallest] = FONTS;
        let font = FONTS.iter().find(fits).copied().unwrap_or(smallest);
        let (columns, rows) = (width / font.character_size.width, height / font.character_size.height);
        if columns == 0 || rows == 0 {
            return Err(Error::Invalid(format!("there is no room for text on {width} x {height} pixels")));
        }
        let (pitch, dark) = (pitch as usize / 4, vec![DARK; width as usize]);
        for line in 0..height as usize {
            pixels.set(line * pitch, &dark);
        }
        Ok(Self { pixels, font, columns: columns as usize, rows: rows as usize, pitch })
    }

    /// The characters of a line, and the lines.
    pub fn characters(&self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// Draws a character of ISO 8859-1 at a place, counted by lines.
    pub fn draw(&mut self, place: usize, character: u8) {
        const WIDEST: usize = FONTS[0].character_size.width as usize;
        let (width, height) = (self.font.character_size.width, self.font.character_size.height);
        let first = place / self.columns * height as usize * self.pitch + place % self.columns * width as usize;
        // The font is an image of all its characters, in rows.
        let index = self.font.glyph_mapping.index(char::from(character)) as u32;
        let in_row = self.font.image.bounding_box().size.width / width;
        let corner = Point::new((index % in_row * width) as i32, (index / in_row * height) as i32);
        for line in 0..height {
            let mut pixels = [DARK; WIDEST];
            for (x, pixel) in pixels.iter_mut().take(width as usize).enumerate() {
                if self.font.image.pixel(corner + Point::new(x as i32, line as i32)) == Some(BinaryColor::On) {
                    *pixel = LIGHT;
                }
            }
            if let Some(pixels) = pixels.get(..width as usize) {
                self.pixels.set(first + line as usize * self.pitch, pixels);
            }
        }
    }
}
