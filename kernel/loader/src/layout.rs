//! Where each section of an object goes: three segments, by permission.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use object::{
    LittleEndian as LE,
    elf::{self, Rela64},
};

use crate::{
    Error, LARGEST_LAYOUT, Object, Permission, Segments, Workarounds, erratum,
    object::Section,
    relocation::{Field, Formula, Relocation},
    symbols::Definition,
    veneer,
};

/// One segment: a range of memory with one permission.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Segment {
    /// How many bytes the segment needs at most; zero when the module has nothing with this permission.
    ///
    /// It includes room for each veneer that may be needed, wherever the segments and the symbols outside will be, and
    /// for the global offset table. What [`link`](crate::link()) used is in [`Linked::used`](crate::Linked::used).
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
    workarounds: Workarounds,
    /// Where the unwind tables start and end in [`Permission::Read`].
    pub(crate) unwind_tables: Range<usize>,
    /// Where the veneers start in [`Permission::Execute`].
    pub(crate) veneers: usize,
    /// Where the global offset table starts in [`Permission::Read`].
    pub(crate) offset_table: usize,
}

/// The place of a section, for debuggers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionPlace {
    /// Its number in the object.
    pub number: usize,
    /// Its segment.
    pub permission: Permission,
    /// In bytes from the start of the segment.
    pub offset: usize,
}

/// The place of a section.
#[derive(Clone, Copy)]
pub(crate) struct Placement {
    pub permission: Permission,
    /// In bytes from the start of the segment.
    pub offset: usize,
}

/// What relocations may need in memory beside the sections.
#[derive(Default)]
struct Needs {
    /// Bytes for veneers.
    veneers: usize,
    /// Entries of the global offset table.
    entries: usize,
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
    /// Unwind tables, one behind the other, for the unwinder reads them as one.
    UnwindTables,
}

impl Layout {
    /// Finds a place for each section that is to be loaded.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when the segments together are larger than [`LARGEST_LAYOUT`].
    pub fn new(object: &Object<'_>, workarounds: Workarounds) -> Result<Self, Error> {
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
            workarounds,
            unwind_tables: 0..0,
            veneers: 0,
            offset_table: 0,
        };
        if workarounds.erratum_843419 {
            layout.segments.execute.alignment = erratum::PAGE_SIZE;
        }
        for (rank, index) in order {
            let Some(section) = object.section_at(index) else { continue };
            let permission = permission(&section);
            // A gap between two unwind tables would end them, and their records count in words.
            let continued = rank == Rank::UnwindTables && !layout.unwind_tables.is_empty();
            let alignment = if continued { 4 } else { section.header.sh_addralign.get(LE) };
            let offset = layout.reserve(permission, section.size(), alignment)?;
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
        for (index, symbol) in object.symbols().iter() {
            if symbol.definition == Definition::Common {
                let offset = layout.reserve(Permission::Write, symbol.size(), symbol.value())?;
                layout.commons.push((index, offset));
            }
        }
        let needs = layout.needs(object);
        layout.veneers = layout.reserve(Permission::Execute, needs.veneers as u64, 4)?;
        layout.offset_table = layout.reserve(Permission::Read, 8 * needs.entries as u64, 8)?;
        Ok(layout)
    }

    /// The segments' sizes and alignments.
    pub fn segments(&self) -> Segments<Segment> {
        self.segments
    }

    /// The sections that are loaded, in the order of their places in each segment, for debuggers.
    pub fn sections(&self) -> impl Iterator<Item = SectionPlace> {
        self.order.iter().filter_map(|&number| {
            let Placement { permission, offset } = self.placement(number)?;
            Some(SectionPlace { number, permission, offset })
        })
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

    /// The tables of relocations of sections that are loaded: the section's number, its place, and the relocations.
    pub(crate) fn relocations<'a>(
        &self,
        object: &Object<'a>,
    ) -> impl Iterator<Item = (usize, Placement, &'a [Rela64<LE>])> {
        let tables = object.sections().filter(|(_, section)| section.kind() == elf::SHT_RELA);
        tables.filter_map(|(_, table)| {
            let target = table.header.sh_info.get(LE) as usize;
            Some((target, self.placement(target)?, object.relocations(&table)))
        })
    }

    /// Whether a relocated instruction is to be replaced because of erratum 843419 if it is an ADRP, by its place in
    /// bytes from the start of its segment.
    pub(crate) fn replaces(&self, relocation: &Relocation, permission: Permission, place: u64) -> bool {
        self.workarounds.erratum_843419
            && relocation.field == Field::PAGE
            && permission == Permission::Execute
            && erratum::is_at_risk(place)
    }

    /// What the relocations may need: a veneer for each symbol outside that is called or jumped to, one more for each
    /// such branch with an addend, and one for each ADRP to be replaced; and an entry in the global offset table for
    /// each symbol that is met through it.
    fn needs(&self, object: &Object<'_>) -> Needs {
        const VENEER: u8 = 1;
        const ENTRY: u8 = 2;
        let mut counted = vec![0; object.symbols().len()];
        let mut needs = Needs::default();
        for (_, placement, relocations) in self.relocations(object) {
            for rela in relocations {
                let Ok(Some(relocation)) = Relocation::find(rela.r_type(LE, false)) else { continue };
                if self.replaces(
                    relocation,
                    placement.permission,
                    rela.r_offset.get(LE).wrapping_add(placement.offset as u64),
                ) {
                    needs.veneers += veneer::ADDRESS;
                }
                let index = rela.r_sym(LE, false) as usize;
                let mut is_first = |what| match counted.get_mut(index) {
                    Some(counted) if *counted & what == 0 => {
                        *counted |= what;
                        true
                    }
                    _ => false,
                };
                match relocation.formula {
                    Formula::Branch | Formula::Function => {
                        let distinct = relocation.formula == Formula::Branch && rela.r_addend.get(LE) != 0;
                        if (distinct || is_first(VENEER)) && is_external(object, index) {
                            needs.veneers += veneer::ONWARD;
                        }
                    }
                    formula if formula.needs_entry() && is_first(ENTRY) => needs.entries += 1,
                    _ => {}
                }
            }
        }
        needs
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

/// Whether a symbol is not in the module, or may be far from it.
fn is_external(object: &Object<'_>, symbol: usize) -> bool {
    let definition = object.symbols().get(symbol).map(|symbol| symbol.definition);
    matches!(definition, Some(Definition::Undefined | Definition::Absolute))
}

/// The permission that a section asks for.
fn permission(section: &Section<'_>) -> Permission {
    let flags = section.flags();
    let constant_once_relocated = || {
        matches!(section.kind(), elf::SHT_INIT_ARRAY | elf::SHT_FINI_ARRAY | elf::SHT_PREINIT_ARRAY)
            || section.is_named(".data.rel.ro")
            || section.name().starts_with(b".data.rel.ro.")
    };
    if !flags.intersects(elf::SHF_WRITE | elf::SHF_EXECINSTR)
        || section.is_named(UNWIND_TABLES)
        || constant_once_relocated()
    {
        Permission::Read
    } else if flags.contains(elf::SHF_EXECINSTR) {
        Permission::Execute
    } else {
        Permission::Write
    }
}

/// The rank of a section within its segment.
fn rank(section: &Section<'_>) -> Rank {
    match section.kind() {
        elf::SHT_INIT_ARRAY => {
            let number = section.name().strip_prefix(b".init_array.").unwrap_or_default();
            let number = str::from_utf8(number).ok().and_then(|number| number.parse().ok());
            Rank::Initializers(number.unwrap_or(u32::MAX))
        }
        _ if section.is_named(UNWIND_TABLES) => Rank::UnwindTables,
        _ => Rank::Ordinary,
    }
}
