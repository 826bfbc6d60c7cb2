//! The validating reader of an ELF64 relocatable object.
//!
//! The records are those of the crate `object`, read in place at any address. All ranges are checked here first, once.
//! Nothing is allocated but for errors.

use alloc::{borrow::Cow, format, string::String};
use core::{ffi::CStr, ops::Range};

use object::{
    LittleEndian as LE,
    elf::{self, Rela64, SectionHeader64, SectionType},
    pod::Pod,
};

use crate::{
    Error, LARGEST_ALIGNMENT, LARGEST_NAME,
    header::{SectionTable, records},
    symbols::SymbolTable,
};

/// The section that holds what a module says of itself; see [`crate::modinfo`].
pub(crate) const MODINFO: &str = ".modinfo";

/// An object file whose headers, section ranges, string tables and symbols have been found to be in order.
///
/// What stands in the relocations themselves is checked as they are applied, by [`link`](crate::link()).
#[derive(Clone, Copy)]
pub struct Object<'a> {
    bytes: &'a [u8],
    headers: &'a [SectionHeader64<LE>],
    section_names: &'a [u8],
    symbols: SymbolTable<'a>,
}

/// One section of an object.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    pub header: &'a SectionHeader64<LE>,
    /// The table of section names from this section's name onwards.
    names: &'a [u8],
}

impl<'a> Object<'a> {
    /// Reads and checks an object's headers, sections and symbols.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] for more than [`LARGEST_OBJECT`](crate::LARGEST_OBJECT) bytes, [`Error::OutOfBounds`] for
    /// whatever reaches beyond the file, and [`Error::Unacceptable`] for whatever is not a little-endian AArch64 ELF64
    /// relocatable object that can be loaded with permissions and without thread-local storage.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let SectionTable { headers, names } = SectionTable::read(bytes)?;
        let mut object = Self { bytes, headers, section_names: &[], symbols: SymbolTable::default() };
        object.section_names = object.strings(names, "the ELF header")?;
        let mut symbol_table = None;
        let mut extended_sections = None;
        let mut contents = 0;
        for (index, section) in object.sections() {
            match section.kind() {
                elf::SHT_SYMTAB if symbol_table.replace(index).is_some() => {
                    return Err(object.unacceptable(index, "to be the only symbol table", index as u64));
                }
                elf::SHT_SYMTAB_SHNDX => extended_sections = Some(index),
                _ => {}
            }
            object.check_section(index, &section)?;
            // Sections that share bytes could make the object as good as boundless.
            contents += object.contents(&section).len();
            if contents > bytes.len() {
                return Err(object.unacceptable(index, "to share no bytes with other sections", contents as u64));
            }
        }
        if let Some(index) = symbol_table {
            object.symbols = SymbolTable::read(&object, index, extended_sections)?;
        }
        object.check_relocation_sections(symbol_table)?;
        Ok(object)
    }

    /// The contents of the first section with this name, as they stand in the file: not relocated.
    ///
    /// `None` when there is none; empty when it has no contents in the file.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.sections().find(|(_, section)| section.is_named(name)).map(|(_, section)| self.contents(&section))
    }

    /// All sections with their numbers, but for null sections: in those no field has a meaning.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (usize, Section<'a>)> + use<'a> {
        let object = *self;
        let sections = (1..object.headers.len()).filter_map(move |index| Some((index, object.section_at(index)?)));
        sections.filter(|(_, section)| section.kind() != elf::SHT_NULL)
    }

    /// How many sections there are, the null section included.
    pub(crate) fn section_count(&self) -> usize {
        self.headers.len()
    }

    /// The section with this number.
    pub(crate) fn section_at(&self, index: usize) -> Option<Section<'a>> {
        let header = self.headers.get(index)?;
        Some(Section { header, names: self.section_names.get(header.sh_name.get(LE) as usize..).unwrap_or_default() })
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
        if section.kind() == elf::SHT_NOBITS {
            return &[];
        }
        section.file_range().and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }

    /// The relocations of a section of type `SHT_RELA` that applies to a loaded section.
    pub(crate) fn relocations(&self, section: &Section<'a>) -> &'a [Rela64<LE>] {
        records(self.contents(section)).unwrap_or_default()
    }

    /// The symbols.
    pub(crate) fn symbols(&self) -> &SymbolTable<'a> {
        &self.symbols
    }

    /// A symbol's name for an error; for a section's symbol that of the section.
    pub(crate) fn symbol_label(&self, index: usize) -> String {
        self.symbols.label(self, index)
    }

    /// Checks one section's header.
    fn check_section(&self, index: usize, section: &Section<'a>) -> Result<(), Error> {
        let header = section.header;
        let refuse = |expected, found| Err(self.unacceptable(index, expected, found));
        if header.sh_name.get(LE) as usize >= self.section_names.len() {
            return refuse("a name inside the table of section names", header.sh_name.get(LE).into());
        }
        if section.kind() != elf::SHT_NOBITS {
            self.check_range(index, section)?;
        }
        let alignment = header.sh_addralign.get(LE);
        if alignment > 1 && !alignment.is_power_of_two() {
            return refuse("an alignment that is a power of two", alignment);
        }
        if !section.has_memory() {
            return Ok(());
        }
        let flags = section.flags();
        if alignment > LARGEST_ALIGNMENT {
            return refuse("an alignment of at most 2 MiB", alignment);
        }
        if flags.contains(elf::SHF_TLS) {
            return refuse("no thread-local storage (flag SHF_TLS)", flags.0);
        }
        if flags.contains(elf::SHF_COMPRESSED) {
            return refuse("no compression of a loaded section (flag SHF_COMPRESSED)", flags.0);
        }
        if flags.contains(elf::SHF_WRITE | elf::SHF_EXECINSTR) {
            return refuse("not to be writable and executable at once", flags.0);
        }
        match section.kind() {
            elf::SHT_PROGBITS
            | elf::SHT_NOBITS
            | elf::SHT_NOTE
            | elf::SHT_INIT_ARRAY
            | elf::SHT_FINI_ARRAY
            | elf::SHT_PREINIT_ARRAY => Ok(()),
            kind => refuse("a loaded section to hold program data", kind.0.into()),
        }
    }

    /// Checks that a section's contents lie inside the file.
    fn check_range(&self, index: usize, section: &Section<'a>) -> Result<(), Error> {
        match section.file_range() {
            Some(range) if range.end <= self.bytes.len() => Ok(()),
            _ => Err(Error::OutOfBounds {
                what: format!("section `{}`", self.section_name(index)),
                end: section.header.sh_offset.get(LE).saturating_add(section.size()),
                size: self.bytes.len() as u64,
            }),
        }
    }

    /// Checks the headers of all sections of relocations that apply to loaded sections.
    fn check_relocation_sections(&self, symbol_table: Option<usize>) -> Result<(), Error> {
        for (index, section) in self.sections() {
            let kind = section.kind();
            if !matches!(kind, elf::SHT_RELA | elf::SHT_REL) {
                continue;
            }
            let target = section.header.sh_info.get(LE);
            let Some(target) = self.section_at(target as usize) else {
                return Err(self.unacceptable(index, "to apply to a section of this object", target.into()));
            };
            if !target.has_memory() {
                continue;
            }
            if kind == elf::SHT_REL {
                return Err(self.unacceptable(index, "relocations with addends (SHT_RELA)", kind.0.into()));
            }
            let symbols = section.header.sh_link.get(LE);
            if symbol_table != Some(symbols as usize) {
                return Err(self.unacceptable(index, "to refer to this object's symbol table", symbols.into()));
            }
            self.table::<Rela64<LE>>(index, "a table of 24-byte relocations")?;
        }
        Ok(())
    }

    /// A section's contents as records of one type.
    pub(crate) fn table<T: Pod>(&self, index: usize, expected: &'static str) -> Result<&'a [T], Error> {
        let Some(section) = self.section_at(index) else {
            return Ok(&[]);
        };
        let record_size = section.header.sh_entsize.get(LE);
        if record_size != size_of::<T>() as u64 {
            return Err(self.unacceptable(index, expected, record_size));
        }
        records(self.contents(&section)).ok_or_else(|| self.unacceptable(index, expected, section.size()))
    }

    /// The string table in section `index`, which `user` refers to: non-empty and ended by a zero byte.
    pub(crate) fn strings(&self, index: usize, user: &str) -> Result<&'a [u8], Error> {
        let section = self.section_at(index).filter(|section| section.kind() == elf::SHT_STRTAB);
        let section = section.ok_or_else(|| {
            let what = user.into();
            Error::Unacceptable { what, expected: "the number of its string table", found: index as u64 }
        })?;
        self.check_range(index, &section)?;
        let strings = self.contents(&section);
        match strings.last() {
            Some(0) => Ok(strings),
            last => {
                let found = last.copied().unwrap_or_default().into();
                Err(self.unacceptable(index, "a string table that ends with a zero byte", found))
            }
        }
    }

    /// The error for a section with a value that does not suit.
    pub(crate) fn unacceptable(&self, index: usize, expected: &'static str, found: u64) -> Error {
        Error::Unacceptable { what: format!("section `{}`", self.section_name(index)), expected, found }
    }
}

impl<'a> Section<'a> {
    /// The section's type.
    pub(crate) fn kind(&self) -> SectionType {
        self.header.sh_type.get(LE)
    }

    /// The section's flags.
    pub(crate) fn flags(&self) -> elf::SectionFlags {
        self.header.sh_flags.get(LE)
    }

    /// The section's size in memory, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.header.sh_size.get(LE)
    }

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
        self.has_memory() && !self.is_named(MODINFO)
    }

    /// Whether the section belongs into memory, by its flags.
    fn has_memory(&self) -> bool {
        self.flags() & (elf::SHF_ALLOC | elf::SHF_EXCLUDE) == elf::SHF_ALLOC
    }

    /// Where the section's contents are in the file.
    fn file_range(&self) -> Option<Range<usize>> {
        let start = self.header.sh_offset.get(LE);
        Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(self.size())?).ok()?)
    }
}

/// The string with which the rest of a string table begins, up to [`LARGEST_NAME`] bytes of it.
pub(crate) fn string(table: &[u8]) -> &[u8] {
    let table = table.get(..LARGEST_NAME).unwrap_or(table);
    CStr::from_bytes_until_nul(table).map_or(table, CStr::to_bytes)
}

/// A name as text, whatever its bytes.
pub(crate) fn printable(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}
