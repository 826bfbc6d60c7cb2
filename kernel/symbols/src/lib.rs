//! The names of the kernel's functions, for backtraces: a table that the build appends to the kernel's image.
//!
//! The table stands right behind the image's last loaded byte, `.bss` included, where the linker script puts
//! `__image_end`. All its numbers are little-endian and 32 bits wide:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | [`MAGIC`] |
//! | 4 | how many functions there are |
//! | 4 | how many bytes the names take together |
//! | 4 each | where each function begins, in bytes from the start of the image, ascending |
//! | 4 each | where the function's name begins among the names, ascending; it ends where the next begins |
//! | the rest | the names in UTF-8, demangled, nothing between them |
#![no_std]

extern crate alloc;

use alloc::vec::Vec;

/// The table's first eight bytes.
pub const MAGIC: [u8; 8] = *b"LKSYMS01";

const HEADER: usize = 16;

/// A table of functions, as [`write`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct Symbols<'a> {
    functions: &'a [[u8; 4]],
    name_starts: &'a [[u8; 4]],
    names: &'a [u8],
}

/// A place in the kernel's code, told by the function it lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The function's name, demangled.
    pub function: &'a str,
    /// How far into the function the place is, in bytes.
    pub offset: u32,
}

impl<'a> Symbols<'a> {
    /// Finds the table at the start of `bytes`, which may be longer than the table. `None` when there is none, as in a
    /// kernel that was not packed by the build, or when it is cut short.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let (count, names) = (number(8)?, number(12)?);
        let (tables, rest) = bytes.get(HEADER..)?.split_at_checked(count.checked_mul(8)?)?;
        let (functions, name_starts) = tables.as_chunks().0.split_at_checked(count)?;
        Some(Self { functions, name_starts, names: rest.get(..names)? })
    }

    /// The function that holds the byte at `offset` from the start of the image: the last that begins at or before it.
    pub fn find(&self, offset: u32) -> Option<Place<'a>> {
        let after = self.functions.partition_point(|start| u32::from_le_bytes(*start) <= offset);
        let index = after.checked_sub(1)?;
        let start = u32::from_le_bytes(*self.functions.get(index)?);
        let name_start = u32::from_le_bytes(*self.name_starts.get(index)?) as usize;
        let name_end =
            self.name_starts.get(after).map_or(self.names.len(), |start| u32::from_le_bytes(*start) as usize);
        let function = core::str::from_utf8(self.names.get(name_start..name_end)?).ok()?;
        Some(Place { function, offset: offset - start })
    }
}

/// Writes the table of `functions`, given as pairs of offset from the start of the image and name, in any order. Of
/// several names for one offset, the first is kept.
pub fn write<N: AsRef<str>>(mut functions: Vec<(u32, N)>) -> Vec<u8> {
    functions.sort_by_key(|(offset, _)| *offset);
    functions.dedup_by_key(|(offset, _)| *offset);
    let names: usize = functions.iter().map(|(_, name)| name.as_ref().len()).sum();
    let mut table = Vec::with_capacity(HEADER + functions.len() * 8 + names);
    table.extend(MAGIC);
    table.extend((functions.len() as u32).to_le_bytes());
    table.extend((names as u32).to_le_bytes());
    table.extend(functions.iter().flat_map(|(offset, _)| offset.to_le_bytes()));
    let mut name_start = 0u32;
    for (_, name) in &functions {
        table.extend(name_start.to_le_bytes());
        name_start += name.as_ref().len() as u32;
    }
    table.extend(functions.iter().flat_map(|(_, name)| name.as_ref().bytes()));
    table
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn an_address_is_told_by_the_function_that_holds_it() {
        let table = write(vec![(0x40, "kernel::main"), (0x10, "start"), (0x10, "alias"), (0x100, "panic")]);
        let symbols = Symbols::parse(&table).unwrap();
        assert_eq!(symbols.find(0xf), None);
        assert_eq!(symbols.find(0x10), Some(Place { function: "start", offset: 0 }));
        assert_eq!(symbols.find(0x3f), Some(Place { function: "start", offset: 0x2f }));
        assert_eq!(symbols.find(0x40), Some(Place { function: "kernel::main", offset: 0 }));
        assert_eq!(symbols.find(u32::MAX), Some(Place { function: "panic", offset: u32::MAX - 0x100 }));
    }

    #[test]
    fn what_is_cut_short_is_no_table() {
        let table = write(vec![(0x40, "kernel::main"), (0x10, "start")]);
        for size in 0..table.len() {
            assert!(Symbols::parse(&table[..size]).is_none(), "{size} bytes");
        }
        let longer = [&table[..], &[0; 64]].concat();
        assert_eq!(Symbols::parse(&longer).unwrap().find(0x41).unwrap().function, "kernel::main");
        assert!(Symbols::parse(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").is_none());
    }

    #[test]
    fn changed_bytes_are_read_without_harm() {
        let table = write(vec![(0x40, "kernel::main"), (0x10, "start"), (0x80, "end")]);
        for index in 0..table.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = table.clone();
                changed[index] = value;
                if let Some(symbols) = Symbols::parse(&changed) {
                    for offset in [0, 0x10, 0x41, 0x81, u32::MAX] {
                        symbols.find(offset);
                    }
                }
            }
        }
    }
}
