//! Where each section of an object goes: three segments, by permission.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use xmas_elf::{
    sections::{SHF_EXECINSTR, SHF_WRITE, ShType},
    symbol_table::Entry,
};

use crate::{
    Error, LARGEST_LAYOUT, Object, Permission, Segments,
    object::{Definition, Section},
    veneer,
};

/// One segment: a range of memory with one permission.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Segment {
    /// How many bytes the segment needs at most; zero when the module has nothing with this permission.
    ///
    /// It includes room for a veneer for each external symbol and for an entry in the global offset table for each
    /// symbol that could have one. What [`link`](crate::link()) used is in [`Linked::used`](crate::Linked::used).
    pub size: usize,
    /// What the segment's address has to be a multiple of, in bytes: a power of two, or zero when it does not matter.
    pub alignment: u64,
}

/// Where each section of an object goes.
pub struct Layout {
    segments: Segments<Segment>,
    /// The place of each section that is loaded, by section number.
    placements: Vec<Option<Placement>>,
    /// The numbers of the sections that are loaded, in the order of their places in each segment.
    order: Vec<usize>,
    /// The number and the offset in [`Permission::Write`] of each common symbol, by rising number.
    commons: Vec<(usize, usize)>,
    /// Where the unwind tables start and end in [`Permission::Read`].
    pub(crate) unwind_tables: Range<usize>,
    /// Where the veneers start in [`Permission::Execute`].
    pub(crate) veneers: usize,
    /// Where the global offset table starts in [`Permission::Read`].
    pub(crate) offset_table: usize,
}

/// The place of a section.
#[derive(Clone, Copy)]
pub(crate) struct Placement {
    pub permission: Permission,
    /// In bytes from the start of the segment.
    pub offset: usize,
}

/// The size of the word of zeros that ends the unwind tables (Linux Standard Base Core, "Exception Frames"), in bytes.
const TERMINATOR: usize = 4;

/// The sections with the tables for unwinding the stack.
const UNWIND_TABLES: &str = ".eh_frame";

/// The order of sections within a segment. Sections of one rank stay in the object's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Whatever needs no particular place.
    Ordinary,
    /// Functions to call before the module is used, by rising number at the end of the name; those without come last.
    Initializers(u32),
    /// Zeros that are not in the file.
    Zeros,
    /// Unwind tables, one behind the other, for the unwinder reads them as one.
    UnwindTables,
}

impl Layout {
    /// Finds a place for each section that is to be loaded.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when the segments together are larger than [`LARGEST_LAYOUT`].
    pub fn new(object: &Object<'_>) -> Result<Self, Error> {
        let mut order: Vec<_> = object
            .sections()
            .filter(|(_, section)| section.is_loaded())
            .map(|(index, section)| (rank(&section), index))
            .collect();
        order.sort_unstable();

        let mut layout = Self {
            segments: Segments::default(),
            placements: vec![None; object.section_count()],
            order: order.iter().map(|&(_, index)| index).collect(),
            commons: Vec::new(),
            unwind_tables: 0..0,
            veneers: 0,
            offset_table: 0,
        };
        for (rank, index) in order {
            let Some(section) = object.section_at(index) else { continue };
            let permission = permission(&section);
            // A gap between two unwind tables would end them, and their records count in words.
            let continued = rank == Rank::UnwindTables && !layout.unwind_tables.is_empty();
            let alignment = if continued { 4 } else { section.header.align() };
            let offset = layout.reserve(permission, section.header.size(), alignment)?;
            if let Some(placement) = layout.placements.get_mut(index) {
                *placement = Some(Placement { permission, offset });
            }
            if rank == Rank::UnwindTables {
                let start = if layout.unwind_tables.is_empty() { offset } else { layout.unwind_tables.start };
                layout.unwind_tables = start..layout.segments.read.size;
            }
        }
        if !layout.unwind_tables.is_empty() {
            layout.unwind_tables.end = layout.reserve(Permission::Read, TERMINATOR as u64, 1)? + TERMINATOR;
        }

        let counts = object.symbol_counts();
        if counts.common != 0 {
            for (index, symbol) in object.symbols().iter().enumerate() {
                if object.definition(index, symbol) == Some(Definition::Common) {
                    let offset = layout.reserve(Permission::Write, symbol.size(), symbol.value())?;
                    layout.commons.push((index, offset));
                }
            }
        }
        if layout.segments.execute.size != 0 {
            layout.veneers = layout.reserve(Permission::Execute, (counts.external * veneer::SIZE) as u64, 4)?;
        }
        layout.offset_table = layout.reserve(Permission::Read, 8 * counts.addressable as u64, 8)?;
        Ok(layout)
    }

    /// The segments' sizes and alignments.
    pub fn segments(&self) -> Segments<Segment> {
        self.segments
    }

    /// The place of the section with this number, if it is loaded.
    pub(crate) fn placement(&self, section: usize) -> Option<Placement> {
        self.placements.get(section).copied().flatten()
    }

    /// The numbers of the sections that are loaded, in the order of their places in each segment.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    /// Where a common symbol is in [`Permission::Write`], in bytes from its start.
    pub(crate) fn common(&self, symbol: usize) -> Option<usize> {
        let found = self.commons.binary_search_by_key(&symbol, |&(symbol, _)| symbol).ok()?;
        self.commons.get(found).map(|&(_, offset)| offset)
    }

    /// Reserves `size` bytes at the end of a segment, and gives their offset.
    fn reserve(&mut self, permission: Permission, size: u64, alignment: u64) -> Result<usize, Error> {
        let all = self.segments.execute.size + self.segments.read.size + self.segments.write.size;
        let segment = &mut self.segments[permission];
        let offset = (segment.size as u64).next_multiple_of(alignment.max(1));
        let total = size.saturating_add(offset + (all - segment.size) as u64);
        if total > LARGEST_LAYOUT as u64 {
            let limit = LARGEST_LAYOUT as u64;
            return Err(Error::TooLarge { what: "the module in memory", size: total, limit });
        }
        segment.size = (offset + size) as usize;
        segment.alignment = segment.alignment.max(alignment);
        Ok(offset as usize)
    }
}

/// The permission that a section asks for.
fn permission(section: &Section<'_>) -> Permission {
    let flags = section.header.flags();
    let constant_once_relocated = || {
        let array = [ShType::InitArray, ShType::FiniArray, ShType::PreInitArray];
        section.header.get_type().is_ok_and(|kind| array.contains(&kind))
            || section.is_named(".data.rel.ro")
            || section.name().starts_with(b".data.rel.ro.")
    };
    if flags & SHF_WRITE == 0 && flags & SHF_EXECINSTR == 0
        || section.is_named(UNWIND_TABLES)
        || constant_once_relocated()
    {
        Permission::Read
    } else if flags & SHF_EXECINSTR != 0 {
        Permission::Execute
    } else {
        Permission::Write
    }
}

/// The rank of a section within its segment.
fn rank(section: &Section<'_>) -> Rank {
    match section.header.get_type() {
        Ok(ShType::NoBits) => Rank::Zeros,
        Ok(ShType::InitArray) => {
            let number = section.name().strip_prefix(b".init_array.").unwrap_or_default();
            let number = str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            Rank::Initializers(number.unwrap_or(u32::MAX))
        }
        _ if section.is_named(UNWIND_TABLES) => Rank::UnwindTables,
        _ => Rank::Ordinary,
    }
}
