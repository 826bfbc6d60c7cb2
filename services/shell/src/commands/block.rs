//! Commands about block devices.

mod copy;
mod dump;
mod reader;

use super::Failure;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::block::{self, Geometry};
use abi::prelude::*;
use core::ops::Range;
use reader::Reader;
use sha2::{Digest, Sha256};

pub use copy::dd;

/// How much is read or written at a time, in bytes: enough to keep a device busy.
const PIECE: usize = 256 << 10;

/// How much is read at a time to be shown.
const SHOWN: usize = 4096;

/// A block device, and its name.
struct Disk {
    name: String,
    handle: Handle<dyn BlockDevice>,
    geometry: Geometry,
}

impl Disk {
    /// All that there are at this moment.
    fn all() -> impl Iterator<Item = Self> {
        block::named().into_iter().filter_map(|(name, handle)| {
            Some(Self { name, handle, geometry: handle.call(|device| device.checked_geometry()).ok()?.ok()? })
        })
    }

    fn find(name: &str) -> Result<Self, Failure> {
        let found = Self::all().find(|disk| disk.name == name);
        Ok(found.ok_or_else(|| Error::Invalid(format!("there is no block device `{name}`; lsblk lists them")))?)
    }
}

pub fn lsblk(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let (size, read_only, block) = (Column::Right("SIZE"), Column::Right("RO"), Column::Right("BLOCK"));
    let mut table = Table::new([Column::Left("NAME"), size, read_only, block, Column::Left("DEVICE")]);
    for Disk { name, handle, geometry } in Disk::all() {
        let read_only = u8::from(geometry.read_only).to_string();
        table.row([name, short(geometry.size()), read_only, geometry.block_size.to_string(), handle.provider().name()]);
    }
    write!(terminal, "{table}");
    Ok(())
}

/// A size the way Linux's `lsblk` shows it: in the largest unit of which it has one, with a decimal unless that is 0.
pub fn short(bytes: u64) -> String {
    let unit = bytes.checked_ilog2().unwrap_or(0) / 10;
    // One decimal, rounded: u128, because a tenfold size may not fit.
    let tenths = ((u128::from(bytes) * 10 + (1 << (10 * unit) >> 1)) >> (10 * unit)) as u64;
    let letter = ["B", "K", "M", "G", "T", "P", "E"].get(unit as usize).unwrap_or(&"");
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{letter}"),
        (whole, decimal) => format!("{whole}.{decimal}{letter}"),
    }
}

/// What `-s OFFSET`, `-n LENGTH` and a name say: a disk, and a range of its bytes.
struct Selection {
    disk: Disk,
    range: Range<u64>,
}

impl Selection {
    fn parse(arguments: &[&str]) -> Result<Self, Failure> {
        let (mut name, mut skip, mut length) = (None, 0, u64::MAX);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match *word {
                "-s" => skip = number(words.next().ok_or(Failure::Usage)?)?,
                "-n" => length = number(words.next().ok_or(Failure::Usage)?)?,
                word if word.starts_with('-') || name.is_some() => return Err(Failure::Usage),
                word => name = Some(word),
            }
        }
        let disk = Disk::find(name.ok_or(Failure::Usage)?)?;
        let size = disk.geometry.size();
        if skip > size {
            return Err(Error::Invalid(format!("{} ends at byte {size}", disk.name)).into());
        }
        Ok(Self { range: skip..skip.saturating_add(length).min(size), disk })
    }

    /// Calls `action` with all bytes, in pieces of up to `piece` bytes, until Ctrl-C.
    fn read(
        &self,
        terminal: &mut Terminal,
        piece: usize,
        mut action: impl FnMut(&mut Terminal, &[u8]),
    ) -> Result<(), Failure> {
        let mut reader = Reader::new(&self.disk);
        let mut offset = self.range.start;
        while offset < self.range.end {
            let length = (self.range.end - offset).min(piece as u64) as usize;
            action(terminal, reader.read(offset, length)?);
            offset += length as u64;
            if terminal.is_interrupted_before(Instant::now())? {
                return Err(Failure::Interrupted);
            }
        }
        Ok(())
    }
}

/// A number of bytes or blocks: decimal, or hexadecimal with `0x`; a suffix K, M or G multiplies it by a power of 1024.
fn number(text: &str) -> Result<u64, Failure> {
    let invalid = || Error::Invalid(format!("`{text}` is no number like 4096, 0x1000 or 4K"));
    let (digits, shift) = match text.as_bytes() {
        [.., b'K'] => (&text[..text.len() - 1], 10),
        [.., b'M'] => (&text[..text.len() - 1], 20),
        [.., b'G'] => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let (digits, radix) = digits.strip_prefix("0x").map_or((digits, 10), |digits| (digits, 16));
    let value = Some(digits).filter(|digits| !digits.starts_with('+'));
    let value = value.and_then(|digits| u64::from_str_radix(digits, radix).ok());
    Ok(value.and_then(|value| value.checked_mul(1 << shift)).ok_or_else(invalid)?)
}

pub fn hexdump(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let canonical = arguments.iter().position(|word| *word == "-C").ok_or(Failure::Usage)?;
    let selection = Selection::parse(&[&arguments[..canonical], &arguments[canonical + 1..]].concat())?;
    let mut dump = dump::Dump::new(selection.range.start);
    selection.read(terminal, SHOWN, |terminal, bytes| dump.add(bytes, |line| writeln!(terminal, "{line}")))?;
    dump.end(|line| writeln!(terminal, "{line}"));
    Ok(())
}

pub fn sha256sum(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    let selection = Selection::parse(arguments)?;
    let mut hasher = Sha256::new();
    selection.read(terminal, PIECE, |_, bytes| hasher.update(bytes))?;
    let digits: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(terminal, "{digits}  {}", selection.disk.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_the_way_lsblk_does() {
        // numfmt --to=iec --round=nearest agrees, apart from the B.
        for (bytes, expected) in [
            (0, "0B"),
            (512, "512B"),
            (1024, "1K"),
            (1_000_448, "977K"),
            (1 << 20, "1M"),
            (11 << 19, "5.5M"),
            ((1 << 20) + 51 * 1024, "1M"),
            ((1 << 20) + 52 * 1024, "1.1M"),
            (1 << 63, "8E"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(short(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn numbers_have_suffixes() {
        for (text, expected) in [("0", 0), ("010", 10), ("0x1F", 31), ("4K", 4096), ("0x2M", 2 << 20), ("3G", 3 << 30)]
        {
            assert_eq!(number(text).ok(), Some(expected), "{text}");
        }
        for text in ["", "K", "0x", "x", "-1", "+1", "1.5K", "4k", "4KB", "16777216000000G", "é"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
