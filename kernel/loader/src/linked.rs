//! What is known of a module once it is linked.

use alloc::{borrow::Cow, vec::Vec};
use core::ops::Range;

use object::elf;

use crate::{
    Layout, Object, Permission, SectionPlace, Segments,
    object::printable,
    symbols::{Definition, SymbolEntry},
};

/// A module that has been linked.
pub struct Linked<'a> {
    pub(crate) object: Object<'a>,
    pub(crate) layout: &'a Layout,
    pub(crate) addresses: Segments<u64>,
    pub(crate) used: Segments<usize>,
    pub(crate) initializers: Vec<u64>,
    pub(crate) figures: Figures,
}

/// How much work a module was.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Figures {
    /// Sections placed in memory.
    pub sections: usize,
    /// Symbols resolved by name outside the module.
    pub imports: usize,
    /// Relocations applied.
    pub relocations: usize,
    /// Veneers written for branches.
    pub veneers: usize,
    /// Instructions replaced because of erratum 843419, some of them by way of a veneer.
    pub erratum_fixes: usize,
    /// Entries written to the global offset table.
    pub offset_table_entries: usize,
}

/// A symbol that a module defines for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol<'a> {
    /// The name, as the compiler mangled it.
    pub name: &'a str,
    /// Where it is.
    pub address: u64,
    /// How many bytes it has, all of them inside its section.
    pub size: u64,
    /// The permission of the segment in which it is; `None` for an absolute symbol.
    pub permission: Option<Permission>,
    /// Whether a definition elsewhere that is not weak counts before this one.
    pub weak: bool,
}

/// A section of the object in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacedSection<'a> {
    /// The section's name.
    pub name: Cow<'a, str>,
    /// Where it is.
    pub address: u64,
    /// How many bytes it has.
    pub size: u64,
}

impl<'a> Linked<'a> {
    /// The symbol with this name, if the module defines it for others.
    pub fn symbol(&self, name: &str) -> Option<Symbol<'a>> {
        self.symbols().find(|symbol| symbol.name == name)
    }

    /// The symbols that the module defines for others, in the order of the file: not those that are hidden, nor what
    /// reaches beyond its section.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol<'a>> {
        self.object.symbols().globals().filter_map(|(index, symbol)| {
            let hidden = matches!(symbol.record.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL);
            if hidden || matches!(symbol.record.st_type(), elf::STT_SECTION | elf::STT_FILE | elf::STT_TLS) {
                return None;
            }
            if let Definition::Section(section) = symbol.definition {
                let size = self.object.section_at(section)?.size();
                symbol.value().checked_add(symbol.size()).filter(|&end| end <= size)?;
            }
            let (address, permission) = locate(self.layout, &self.addresses, index, &symbol)?;
            let name = str::from_utf8(symbol.name()).ok()?;
            let weak = symbol.record.st_bind() == elf::STB_WEAK;
            Some(Symbol { name, address, size: symbol.size(), permission, weak })
        })
    }

    /// The sections in memory, for debuggers (`add-symbol-file MODULE.o -s SECTION ADDRESS`) and backtraces.
    pub fn sections(&self) -> impl Iterator<Item = PlacedSection<'a>> {
        self.layout.sections().filter_map(|SectionPlace { number, permission, offset }| {
            let section = self.object.section_at(number)?;
            let address = self.addresses[permission] + offset as u64;
            Some(PlacedSection { name: printable(section.name()), address, size: section.size() })
        })
    }

    /// The addresses of the module's unwind tables (`.eh_frame`), the zero word that ends them included. Empty when it
    /// has none.
    pub fn unwind_tables(&self) -> Range<u64> {
        let Range { start, end } = self.layout.unwind_tables;
        self.addresses.read + start as u64..self.addresses.read + end as u64
    }

    /// The addresses of the functions to call, in this order, before anything else in the module (`.init_array`).
    pub fn initializers(&self) -> &[u64] {
        &self.initializers
    }

    /// How many bytes are in use from the start of each segment. Whole pages behind them can be given back.
    pub fn used(&self) -> Segments<usize> {
        self.used
    }

    /// How much work the module was.
    pub fn figures(&self) -> Figures {
        self.figures
    }
}

/// The function that holds the byte at `offset` of [`Permission::Execute`], for backtraces: its name, as the compiler
/// mangled it, and how far into it the byte is. `layout` must be the object's own.
pub fn function_at<'a>(object: &Object<'a>, layout: &Layout, offset: usize) -> Option<(&'a str, usize)> {
    object.symbols().iter().filter(|(_, symbol)| symbol.record.st_type() == elf::STT_FUNC).find_map(
        |(index, symbol)| {
            let (start, permission) = locate(layout, &Segments::default(), index, &symbol)?;
            let into = (offset as u64).checked_sub(start).filter(|&into| into < symbol.size())?;
            let name = str::from_utf8(symbol.name()).ok()?;
            (permission == Some(Permission::Execute)).then_some((name, into as usize))
        },
    )
}

/// Where a symbol of this module is. `None` when it is not in this module, or in a section that is not loaded.
pub(crate) fn locate(
    layout: &Layout,
    addresses: &Segments<u64>,
    index: usize,
    symbol: &SymbolEntry<'_>,
) -> Option<(u64, Option<Permission>)> {
    let (permission, offset) = match symbol.definition {
        Definition::Undefined => return None,
        Definition::Absolute => return Some((symbol.value(), None)),
        Definition::Common => (Permission::Write, layout.common(index)? as u64),
        Definition::Section(section) => {
            let placement = layout.placement(section)?;
            (placement.permission, placement.offset as u64 + symbol.value())
        }
    };
    Some((addresses[permission] + offset, Some(permission)))
}

/// The contents of the relocated sections `.init_array`.
pub(crate) fn initializers(object: &Object<'_>, layout: &Layout, read: &[u8]) -> Vec<u64> {
    let arrays = || {
        layout.order().iter().filter_map(|&index| {
            let section = object.section_at(index).filter(|section| section.kind() == elf::SHT_INIT_ARRAY)?;
            let offset = layout.placement(index)?.offset;
            read.get(offset..offset + section.size() as usize)
        })
    };
    let mut functions = Vec::with_capacity(arrays().map(|array| array.len() / 8).sum());
    functions.extend(arrays().flat_map(|array| array.as_chunks().0).map(|&function| u64::from_le_bytes(function)));
    functions
}
