//! Finds the symbols that relocations refer to, each at most once.

use alloc::{format, vec, vec::Vec};

use object::elf;

use crate::{
    Error, LARGEST_NAME, Layout, Object, Segments,
    fault::Fault,
    linked::locate,
    object::printable,
    symbols::{Definition, SymbolEntry},
};

/// The symbol by which code means the start of the global offset table (System V ABI, "Global Offset Table").
const OFFSET_TABLE: &str = "_GLOBAL_OFFSET_TABLE_";

/// The symbols of an object that is being linked.
pub(crate) struct Resolver<'l> {
    object: Object<'l>,
    layout: &'l Layout,
    addresses: Segments<u64>,
    /// The address of the global offset table.
    pub offset_table: u64,
    /// Gives the address of a symbol outside.
    outside: &'l dyn Fn(&str) -> Option<u64>,
    /// What is known so far, by symbol number.
    states: Vec<SymbolState>,
    /// How many symbols were found outside.
    pub imports: usize,
}

/// What is known of a symbol while relocations are applied.
#[derive(Clone, Copy, Default)]
pub(crate) struct SymbolState {
    pub address: u64,
    pub standing: Standing,
    /// The address of the symbol's entry in the global offset table.
    pub entry: Option<u64>,
}

/// Where a symbol is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not looked up yet.
    #[default]
    Unknown,
    /// In this module.
    Internal,
    /// Outside this module.
    External,
    /// Nowhere, which is no mistake, for it is weak.
    Missing,
}

impl<'l> Resolver<'l> {
    /// Begins with all symbols unknown.
    pub(crate) fn new(
        object: &Object<'l>,
        layout: &'l Layout,
        addresses: Segments<u64>,
        outside: &'l dyn Fn(&str) -> Option<u64>,
    ) -> Self {
        Self {
            object: *object,
            layout,
            addresses,
            offset_table: addresses.read + layout.offset_table as u64,
            outside,
            states: vec![SymbolState::default(); object.symbols().len()],
            imports: 0,
        }
    }

    /// What is known of a symbol, which is looked up when it is asked for first.
    pub(crate) fn get(&mut self, index: usize) -> Result<&mut SymbolState, Fault> {
        let refused = || Fault::Unacceptable("the number of a symbol", index as u64);
        if self.states.get(index).ok_or_else(refused)?.standing == Standing::Unknown {
            let symbol = self.object.symbols().get(index).ok_or_else(refused)?;
            let (address, standing) = self.look_up(index, &symbol).map_err(Fault::Symbol)?;
            *self.states.get_mut(index).ok_or_else(refused)? = SymbolState { address, standing, entry: None };
        }
        self.states.get_mut(index).ok_or_else(refused)
    }

    /// Finds a symbol, in this module or outside.
    fn look_up(&mut self, index: usize, symbol: &SymbolEntry<'l>) -> Result<(u64, Standing), Error> {
        let refuse = |expected| {
            let what = format!("symbol `{}`", self.object.symbol_label(index));
            Err(Error::Unacceptable { what, expected, found: symbol.record.st_info.0.into() })
        };
        match symbol.record.st_type() {
            elf::STT_TLS => return refuse("no thread-local storage (type STT_TLS)"),
            elf::STT_GNU_IFUNC => return refuse("no indirect function (type STT_GNU_IFUNC)"),
            _ => {}
        }
        if index == 0 {
            return Ok((0, Standing::Internal));
        }
        match locate(self.layout, &self.addresses, index, symbol) {
            Some((address, None)) => return Ok((address, Standing::External)),
            Some((address, Some(_))) => return Ok((address, Standing::Internal)),
            None if symbol.definition != Definition::Undefined => return refuse("to be in a section that is loaded"),
            None => {}
        }
        let name = symbol.name();
        if name.len() == LARGEST_NAME {
            return refuse("a name of less than 16 KiB");
        }
        if let Some(address) = str::from_utf8(name).ok().and_then(self.outside) {
            self.imports += 1;
            return Ok((address, Standing::External));
        }
        if name == OFFSET_TABLE.as_bytes() {
            return Ok((self.offset_table, Standing::Internal));
        }
        match symbol.record.st_bind() {
            elf::STB_WEAK => Ok((0, Standing::Missing)),
            _ => Err(Error::MissingSymbol { symbol: printable(name).into() }),
        }
    }
}
