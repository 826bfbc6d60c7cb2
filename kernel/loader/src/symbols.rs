//! The symbol table of an object.

use alloc::{format, string::String};

use object::{
    LittleEndian as LE,
    elf::{self, Sym64},
    endian::U32,
};

use crate::{
    Error, LARGEST_ALIGNMENT, Object,
    object::{printable, string},
};

/// The symbols of an object, whose names and sections have been found to be in order.
#[derive(Clone, Copy, Default)]
pub(crate) struct SymbolTable<'a> {
    records: &'a [Sym64<LE>],
    names: &'a [u8],
    /// The section number of each symbol whose own field for it is too small, or empty.
    extended_sections: &'a [U32<LE>],
    first_global: usize,
}

/// One symbol.
#[derive(Clone, Copy)]
pub(crate) struct SymbolEntry<'a> {
    pub record: &'a Sym64<LE>,
    /// What its value is relative to.
    pub definition: Definition,
    /// The table of symbol names from this symbol's name onwards.
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

impl<'a> SymbolTable<'a> {
    /// Reads and checks the symbol table in section `index`, with the symbols' section numbers in section `extended`.
    pub(crate) fn read(object: &Object<'a>, index: usize, extended: Option<usize>) -> Result<Self, Error> {
        let mut symbols = Self { records: object.table(index, "a table of 24-byte symbols")?, ..Self::default() };
        let Some(section) = object.section_at(index) else {
            return Ok(symbols);
        };
        let user = format!("section `{}`", object.section_name(index));
        symbols.names = object.strings(section.header.sh_link.get(LE) as usize, &user)?;
        symbols.first_global = section.header.sh_info.get(LE) as usize;
        if symbols.first_global > symbols.len() {
            return Err(object.unacceptable(index, "no more local symbols than symbols", symbols.first_global as u64));
        }
        if let Some(extended) = extended {
            symbols.extended_sections = object.table(extended, "a table of 4-byte section numbers")?;
        }
        for (index, record) in symbols.records.iter().enumerate() {
            symbols.check(object, index, record)?;
        }
        Ok(symbols)
    }

    /// How many symbols there are, the null symbol included.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The symbol with this number.
    pub(crate) fn get(&self, index: usize) -> Option<SymbolEntry<'a>> {
        let record = self.records.get(index)?;
        Some(SymbolEntry { record, definition: self.definition(index, record)?, names: self.names_from(record) })
    }

    /// All symbols with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, SymbolEntry<'a>)> + use<'a> {
        self.range(0)
    }

    /// Those that are not local, with their numbers.
    pub(crate) fn globals(&self) -> impl Iterator<Item = (usize, SymbolEntry<'a>)> + use<'a> {
        self.range(self.first_global).filter(|(_, symbol)| symbol.record.st_bind() != elf::STB_LOCAL)
    }

    /// A symbol's name for an error; for a section's symbol that of the section.
    pub(crate) fn label(&self, object: &Object<'a>, index: usize) -> String {
        let Some(record) = self.records.get(index) else {
            return format!("symbol {index}");
        };
        match (string(self.names_from(record)), self.definition(index, record)) {
            ([], Some(Definition::Section(section))) => object.section_name(section),
            ([], _) => format!("symbol {index}"),
            (name, _) => printable(name).into(),
        }
    }

    /// The symbols from number `first` onwards, with their numbers.
    fn range(&self, first: usize) -> impl Iterator<Item = (usize, SymbolEntry<'a>)> + use<'a> {
        let symbols = *self;
        (first..symbols.len()).filter_map(move |index| Some((index, symbols.get(index)?)))
    }

    /// The table of symbol names from a symbol's name onwards.
    fn names_from(&self, record: &Sym64<LE>) -> &'a [u8] {
        self.names.get(record.st_name.get(LE) as usize..).unwrap_or_default()
    }

    /// What a symbol's value is relative to. `None` for a section number with a meaning that is not known here.
    fn definition(&self, index: usize, record: &Sym64<LE>) -> Option<Definition> {
        match record.st_shndx.get(LE) {
            elf::SHN_UNDEF => Some(Definition::Undefined),
            elf::SHN_ABS => Some(Definition::Absolute),
            elf::SHN_COMMON => Some(Definition::Common),
            elf::SHN_XINDEX => Some(Definition::Section(self.extended_sections.get(index)?.get(LE) as usize)),
            section => section.index().map(|section| Definition::Section(section.into())),
        }
    }

    /// Checks one symbol.
    fn check(&self, object: &Object<'a>, index: usize, record: &Sym64<LE>) -> Result<(), Error> {
        let refuse = |expected, found| {
            let what = format!("symbol `{}`", self.label(object, index));
            Err(Error::Unacceptable { what, expected, found })
        };
        if record.st_name.get(LE) as usize >= self.names.len() {
            return refuse("a name inside the table of symbol names", record.st_name.get(LE).into());
        }
        let value = record.st_value.get(LE);
        match self.definition(index, record) {
            None => refuse("a section number of the System V ABI", record.st_shndx.get(LE).0.into()),
            Some(Definition::Section(section)) => match object.section_at(section) {
                None => refuse("a section number below the number of sections", section as u64),
                Some(section) if value > section.size() => refuse("a value inside its section", value),
                Some(_) => Ok(()),
            },
            Some(Definition::Common) if !value.is_power_of_two() || value > LARGEST_ALIGNMENT => {
                refuse("an alignment that is a power of two of at most 2 MiB", value)
            }
            Some(Definition::Common | Definition::Undefined | Definition::Absolute) => Ok(()),
        }
    }
}

impl<'a> SymbolEntry<'a> {
    /// The symbol's own name. A section's symbol has none.
    pub(crate) fn name(&self) -> &'a [u8] {
        string(self.names)
    }

    /// The symbol's value.
    pub(crate) fn value(&self) -> u64 {
        self.record.st_value.get(LE)
    }

    /// The symbol's size, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.record.st_size.get(LE)
    }
}
