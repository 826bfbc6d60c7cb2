//! The validating reader of an ELF64 relocatable object.
//!
//! The records themselves are `xmas-elf`'s, read in place. That crate asserts that what it reads lies inside the input
//! and is aligned, and it serves at most 65,279 sections; so the ranges are checked here first, once, and its records
//! are reached only through the tables that passed. Nothing is allocated but for errors.

use alloc::{borrow::Cow, format, string::String};
use core::{ffi::CStr, ops::Range};

use xmas_elf::{
    P64,
    sections::{self, Rela, SectionHeader, ShType},
    symbol_table::{Entry, Entry64},
};
use zero::Pod;

use crate::{
    Error, Image, LARGEST_ALIGNMENT, LARGEST_NAME,
    header::{SectionTable, records},
};

/// `SHF_EXCLUDE`: the section is for linkers and not for the loaded image. Not among `xmas-elf`'s flags.
const SHF_EXCLUDE: u64 = 0x8000_0000;

/// The type of a symbol that stands for a section; the low half of its field `info`.
const STT_SECTION: u8 = 3;

/// The type of a symbol that names a source file.
const STT_FILE: u8 = 4;

/// The section that holds what a module says of itself; see [`crate::modinfo`].
pub(crate) const MODINFO: &str = ".modinfo";

/// An object file whose headers, section ranges, string tables and symbols have been found to be in order.
///
/// What stands in the relocations themselves is checked as they are applied, by [`link`](crate::link()).
#[derive(Clone, Copy)]
pub struct Object<'a> {
    bytes: &'a [u8],
    sections: SectionTable<'a>,
    section_names: &'a [u8],
    symbols: &'a [Entry64],
    symbol_names: &'a [u8],
    /// The section number of each symbol whose own field for it is too small, or empty.
    extended_sections: &'a [u32],
    first_global: usize,
    symbol_counts: SymbolCounts,
}

/// How many symbols there are of those that need room in memory, or may.
#[derive(Clone, Copy, Default)]
pub(crate) struct SymbolCounts {
    /// Those outside the object, to which a branch may need a veneer.
    pub external: usize,
    /// Common symbols.
    pub common: usize,
    /// Those that may have an entry in the global offset table, since code can mean them by name.
    pub addressable: usize,
}

/// One section of an object.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    pub header: SectionHeader<'a>,
    /// The table of section names from this section's name onwards.
    names: &'a [u8],
}

/// What a symbol's value is relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Definition {
    /// Not in this object.
    Undefined,
    /// The value is the address.
    Absolute,
    /// To be allocated: the value is the alignment.
    Common,
    /// The value is an offset in the section with this number.
    Section(usize),
}

impl<'a> Object<'a> {
    /// Reads and checks an object's headers, sections and symbols.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] for whatever reaches beyond the file, and [`Error::Unacceptable`] for whatever is not a
    /// little-endian AArch64 ELF64 relocatable object that can be loaded with permissions and without thread-local
    /// storage.
    pub fn parse(image: &'a Image<'_>) -> Result<Self, Error> {
        let bytes = image.bytes();
        let mut object = Self {
            bytes,
            sections: SectionTable::read(bytes)?,
            section_names: &[],
            symbols: &[],
            symbol_names: &[],
            extended_sections: &[],
            first_global: 0,
            symbol_counts: SymbolCounts::default(),
        };
        object.section_names = object.strings(object.sections.names, "the ELF header")?;
        let mut symbol_table = None;
        let mut extended_sections = None;
        let mut contents = 0;
        for index in 1..object.sections.len() {
            // Sections that share bytes could make the object as good as boundless.
            contents += object.section_at(index).map_or(0, |section| object.contents(&section).len());
            if contents > bytes.len() {
                return Err(object.unacceptable(index, "to share no bytes with other sections", contents as u64));
            }
            match object.check_section(index)? {
                Some(ShType::SymTab) if symbol_table.replace(index).is_some() => {
                    return Err(object.unacceptable(index, "to be the only symbol table", index as u64));
                }
                Some(ShType::SymTabShIndex) => extended_sections = Some(index),
                _ => {}
            }
        }
        if let Some(index) = symbol_table {
            object.read_symbols(index, extended_sections)?;
        }
        object.check_relocation_sections(symbol_table)?;
        Ok(object)
    }

    /// The contents of the first section with this name, as they stand in the file: not relocated.
    ///
    /// `None` when there is none, or it has no contents in the file.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.sections().find(|(_, section)| section.is_named(name)).map(|(_, section)| self.contents(&section))
    }

    /// All sections with their numbers.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (usize, Section<'a>)> + use<'a> {
        let object = *self;
        (1..object.sections.len()).filter_map(move |index| Some((index, object.section_at(index)?)))
    }

    /// How many sections there are, the null section included.
    pub(crate) fn section_count(&self) -> usize {
        self.sections.len()
    }

    /// The section with this number.
    pub(crate) fn section_at(&self, index: usize) -> Option<Section<'a>> {
        let header = self.sections.get(index)?;
        Some(Section { header, names: self.section_names.get(header.name() as usize..).unwrap_or_default() })
    }

    /// A section's name for an error.
    pub(crate) fn section_name(&self, index: usize) -> String {
        match self.section_at(index) {
            Some(section) if !section.name().is_empty() => printable(section.name()).into(),
            _ => format!("section {index}"),
        }
    }

    /// The bytes that a section has in the file.
    pub(crate) fn contents(&self, section: &Section<'a>) -> &'a [u8] {
        if section.header.get_type() == Ok(ShType::NoBits) {
            return &[];
        }
        file_range(section.header).and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }

    /// The relocations of a section of type `SHT_RELA` that applies to a loaded section.
    pub(crate) fn relocations(&self, section: &Section<'a>) -> &'a [Rela<P64>] {
        records(self.contents(section)).unwrap_or_default()
    }

    /// The symbols, the null symbol included.
    pub(crate) fn symbols(&self) -> &'a [Entry64] {
        self.symbols
    }

    /// How many symbols need room in memory, or may.
    pub(crate) fn symbol_counts(&self) -> SymbolCounts {
        self.symbol_counts
    }

    /// The number of the first symbol that is not local.
    pub(crate) fn first_global(&self) -> usize {
        self.first_global
    }

    /// A symbol's own name. A section's symbol has none.
    pub(crate) fn symbol_name(&self, symbol: &Entry64) -> &'a [u8] {
        string(self.symbol_names.get(symbol.name() as usize..).unwrap_or_default())
    }

    /// A symbol's name for an error; for a section's symbol that of the section.
    pub(crate) fn symbol_label(&self, index: usize) -> String {
        let Some(symbol) = self.symbols.get(index) else {
            return format!("symbol {index}");
        };
        match (self.symbol_name(symbol), self.definition(index, symbol)) {
            ([], Some(Definition::Section(section))) => self.section_name(section),
            ([], _) => format!("symbol {index}"),
            (name, _) => printable(name).into(),
        }
    }

    /// What a symbol's value is relative to. `None` for a section number with a meaning that is not known here.
    pub(crate) fn definition(&self, index: usize, symbol: &Entry64) -> Option<Definition> {
        match symbol.shndx() {
            sections::SHN_UNDEF => Some(Definition::Undefined),
            sections::SHN_ABS => Some(Definition::Absolute),
            sections::SHN_COMMON => Some(Definition::Common),
            sections::SHN_XINDEX => Some(Definition::Section(*self.extended_sections.get(index)? as usize)),
            sections::SHN_LORESERVE.. => None,
            section => Some(Definition::Section(section.into())),
        }
    }

    /// Checks one section's header, and gives its type unless it is a null section.
    fn check_section(&self, index: usize) -> Result<Option<ShType>, Error> {
        let Some(Section { header, .. }) = self.section_at(index) else {
            return Ok(None);
        };
        let kind = match header.get_type() {
            Ok(ShType::Null) => return Ok(None),
            Ok(kind) => kind,
            Err(_) => {
                return Err(self.unacceptable(
                    index,
                    "a section type of the System V ABI",
                    self.sections.type_number(index),
                ));
            }
        };
        let refuse = |expected, found| Err(self.unacceptable(index, expected, found));
        if header.name() as usize >= self.section_names.len() {
            return refuse("a name inside the table of section names", header.name().into());
        }
        if kind != ShType::NoBits {
            self.check_range(index, header)?;
        }
        if header.align() > 1 && !header.align().is_power_of_two() {
            return refuse("an alignment that is a power of two", header.align());
        }
        if !is_loaded(header) {
            return Ok(Some(kind));
        }
        let flags = header.flags();
        let writable_code = sections::SHF_WRITE | sections::SHF_EXECINSTR;
        if header.align() > LARGEST_ALIGNMENT {
            return refuse("an alignment of at most 2 MiB", header.align());
        }
        if flags & sections::SHF_TLS != 0 {
            return refuse("no thread-local storage (flag SHF_TLS)", flags);
        }
        if flags & sections::SHF_COMPRESSED != 0 {
            return refuse("no compression of a loaded section (flag SHF_COMPRESSED)", flags);
        }
        if flags & writable_code == writable_code {
            return refuse("not to be writable and executable at once", flags);
        }
        match kind {
            ShType::ProgBits
            | ShType::NoBits
            | ShType::Note
            | ShType::InitArray
            | ShType::FiniArray
            | ShType::PreInitArray => Ok(Some(kind)),
            _ => refuse("a loaded section to hold program data", self.sections.type_number(index)),
        }
    }

    /// Checks that a section's contents lie inside the file.
    fn check_range(&self, index: usize, header: SectionHeader<'_>) -> Result<(), Error> {
        match file_range(header) {
            Some(range) if range.end <= self.bytes.len() => Ok(()),
            _ => Err(Error::OutOfBounds {
                what: format!("section `{}`", self.section_name(index)),
                end: header.offset().saturating_add(header.size()),
                size: self.bytes.len() as u64,
            }),
        }
    }

    /// Reads and checks the symbol table in section `index`, the numbers of symbols' sections in section `extended`.
    fn read_symbols(&mut self, index: usize, extended: Option<usize>) -> Result<(), Error> {
        self.symbols = self.table(index, "a table of 24-byte symbols at a multiple of eight")?;
        let Some(Section { header, .. }) = self.section_at(index) else {
            return Ok(());
        };
        self.symbol_names = self.strings(header.link() as usize, &format!("section `{}`", self.section_name(index)))?;
        self.first_global = header.info() as usize;
        if self.first_global > self.symbols.len() {
            return Err(self.unacceptable(index, "no more local symbols than symbols", header.info().into()));
        }
        if let Some(extended) = extended {
            self.extended_sections = self.table(extended, "a table of 4-byte section numbers")?;
        }
        let mut counts = SymbolCounts::default();
        for (index, symbol) in self.symbols.iter().enumerate() {
            let refuse = |expected, found| {
                let what = format!("symbol `{}`", self.symbol_label(index));
                Err(Error::Unacceptable { what, expected, found })
            };
            if symbol.name() as usize >= self.symbol_names.len() {
                return refuse("a name inside the table of symbol names", symbol.name().into());
            }
            match self.definition(index, symbol) {
                None => return refuse("a section number of the System V ABI", symbol.shndx().into()),
                Some(Definition::Section(section)) => match self.section_at(section) {
                    None => return refuse("a section number below the number of sections", section as u64),
                    Some(section) if symbol.value() > section.header.size() => {
                        return refuse("a value inside its section", symbol.value());
                    }
                    Some(_) => {}
                },
                Some(Definition::Common) => {
                    counts.common += 1;
                    if !symbol.value().is_power_of_two() || symbol.value() > LARGEST_ALIGNMENT {
                        return refuse("an alignment that is a power of two of at most 2 MiB", symbol.value());
                    }
                }
                Some(Definition::Undefined | Definition::Absolute) => counts.external += 1,
            }
            // Sections, files and the marks between code and data (`$x`, `$d`) are not meant by name.
            let mark = || self.symbol_names.get(symbol.name() as usize) == Some(&b'$');
            let unnamed = matches!(symbol.info() & 0xf, STT_SECTION | STT_FILE);
            counts.addressable += usize::from(!unnamed && !mark());
        }
        self.symbol_counts = counts;
        Ok(())
    }

    /// Checks the headers of all sections of relocations that apply to loaded sections.
    fn check_relocation_sections(&self, symbol_table: Option<usize>) -> Result<(), Error> {
        for (index, Section { header, .. }) in self.sections() {
            let kind = header.get_type();
            if !matches!(kind, Ok(ShType::Rela | ShType::Rel)) {
                continue;
            }
            let target = header.info() as usize;
            let Some(target) = self.section_at(target) else {
                return Err(self.unacceptable(index, "to apply to a section of this object", target as u64));
            };
            if !is_loaded(target.header) {
                continue;
            }
            if kind == Ok(ShType::Rel) {
                return Err(self.unacceptable(
                    index,
                    "relocations with addends (SHT_RELA)",
                    self.sections.type_number(index),
                ));
            }
            if symbol_table != Some(header.link() as usize) {
                return Err(self.unacceptable(index, "to refer to this object's symbol table", header.link().into()));
            }
            self.table::<Rela<P64>>(index, "a table of 24-byte relocations at a multiple of eight")?;
        }
        Ok(())
    }

    /// A section's contents as records of one type.
    fn table<T: Pod>(&self, index: usize, expected: &'static str) -> Result<&'a [T], Error> {
        let Some(section) = self.section_at(index) else {
            return Ok(&[]);
        };
        if section.header.entry_size() as usize != size_of::<T>() {
            return Err(self.unacceptable(index, expected, section.header.entry_size().into()));
        }
        records(self.contents(&section)).ok_or_else(|| self.unacceptable(index, expected, section.header.size()))
    }

    /// The string table in section `index`, which `user` refers to: non-empty and ended by a zero byte.
    fn strings(&self, index: usize, user: &str) -> Result<&'a [u8], Error> {
        let header = self.sections.get(index).filter(|header| header.get_type() == Ok(ShType::StrTab));
        let header = header.ok_or_else(|| {
            let what = user.into();
            Error::Unacceptable { what, expected: "the number of its string table", found: index as u64 }
        })?;
        self.check_range(index, header)?;
        let strings = self.contents(&Section { header, names: &[] });
        match strings.last() {
            Some(0) => Ok(strings),
            last => {
                let found = last.copied().unwrap_or_default().into();
                Err(self.unacceptable(index, "a string table that ends with a zero byte", found))
            }
        }
    }

    fn unacceptable(&self, index: usize, expected: &'static str, found: u64) -> Error {
        Error::Unacceptable { what: format!("section `{}`", self.section_name(index)), expected, found }
    }
}

impl<'a> Section<'a> {
    /// The section's name.
    pub(crate) fn name(&self) -> &'a [u8] {
        string(self.names)
    }

    /// Whether the section has this name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.names.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Whether the section belongs into memory.
    pub(crate) fn is_loaded(&self) -> bool {
        is_loaded(self.header) && !self.is_named(MODINFO)
    }
}

/// Whether a section belongs into memory, by its flags.
fn is_loaded(header: SectionHeader<'_>) -> bool {
    header.flags() & (sections::SHF_ALLOC | SHF_EXCLUDE) == sections::SHF_ALLOC
}

/// Where a section's contents are in the file.
fn file_range(header: SectionHeader<'_>) -> Option<Range<usize>> {
    let end = header.offset().checked_add(header.size())?;
    Some(usize::try_from(header.offset()).ok()?..usize::try_from(end).ok()?)
}

/// The string with which the rest of a string table begins, up to [`LARGEST_NAME`] bytes of it.
fn string(table: &[u8]) -> &[u8] {
    let table = table.get(..LARGEST_NAME).unwrap_or(table);
    CStr::from_bytes_until_nul(table).map_or(table, CStr::to_bytes)
}

/// A name as text, whatever its bytes.
pub(crate) fn printable(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}
