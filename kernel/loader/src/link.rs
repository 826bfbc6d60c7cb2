//! Links an object at the addresses where it will run.

use alloc::{format, string::ToString, vec, vec::Vec};
use core::num::NonZeroU64;

use xmas_elf::{
    P64,
    sections::{Rela, ShType},
    symbol_table::{Binding, Entry, Entry64, Type},
};

use crate::{
    Error, Figures, LARGEST_NAME, Layout, Linked, Object, Permission, Segments, Site,
    linked::{initializers, locate},
    object::{Definition, printable},
    relocation::{Formula, Misfit, Relocation, Unsupported},
    veneer,
};

/// The symbol by which code means the start of the global offset table (System V ABI, "Global Offset Table").
const OFFSET_TABLE: &str = "_GLOBAL_OFFSET_TABLE_";

/// Memory for one segment.
pub struct Place<'m> {
    /// The address at which the segment will run or be read: a multiple of the segment's alignment.
    pub address: u64,
    /// A writable alias of the memory at that address, at least as large as the segment. All of it is written: what
    /// the module does not use becomes zeros.
    pub bytes: &'m mut [u8],
}

/// Links an object: copies its sections to their places, resolves the symbols that its relocations need, and applies
/// the relocations, in one pass.
///
/// `resolve` gives the address of a symbol that is not in the object; it is asked at most once for each. A weak symbol
/// that is nowhere has the address 0, and a call to it goes on to the next instruction.
///
/// # Errors
///
/// [`Error::Place`] for a place that does not suit the layout; [`Error::MissingSymbol`]; and for a relocation that
/// cannot be applied [`Error::UnsupportedRelocation`], [`Error::Overflow`], [`Error::Misaligned`] or
/// [`Error::Unacceptable`]. The contents of the places are then of no use.
pub fn link<'a>(
    object: &Object<'a>,
    layout: &'a Layout,
    places: Segments<Place<'_>>,
    resolve: &dyn Fn(&str) -> Option<u64>,
) -> Result<Linked<'a>, Error> {
    for permission in [Permission::Execute, Permission::Read, Permission::Write] {
        check_place(layout, permission, &places[permission])?;
    }
    let addresses = places.as_ref().map(|place| place.address);
    let Segments { execute, read, write } = places.map(|place| place.bytes);
    let (execute, veneers) = execute.split_at_mut_checked(layout.veneers).unwrap_or_default();
    let (read, offset_table) = read.split_at_mut_checked(layout.offset_table).unwrap_or_default();
    let mut segments = Segments { execute, read, write };
    let mut linker = Linker {
        object: *object,
        layout,
        addresses,
        resolve,
        symbols: vec![SymbolState::default(); object.symbols().len()],
        veneers: Slots::new(veneers, addresses.execute + layout.veneers as u64),
        offset_table: Slots::new(offset_table, addresses.read + layout.offset_table as u64),
        figures: Figures::default(),
    };
    linker.copy_sections(&mut segments);
    linker.apply_relocations(&mut segments)?;
    Ok(Linked {
        object: *object,
        layout,
        addresses,
        initializers: initializers(object, layout, segments.read),
        figures: linker.figures,
        used: Segments {
            execute: linker.veneers.finish().map_or(layout.veneers, |used| layout.veneers + used),
            read: linker.offset_table.finish().map_or(layout.offset_table, |used| layout.offset_table + used),
            write: layout.segments().write.size,
        },
    })
}

/// Checks that a place suits its segment.
fn check_place(layout: &Layout, permission: Permission, place: &Place<'_>) -> Result<(), Error> {
    let segment = layout.segments()[permission];
    let refuse = |expected, wanted, found| Err(Error::Place { permission, expected, wanted, found });
    let size = place.bytes.len() as u64;
    if size < segment.size as u64 {
        return refuse("a size of at least", segment.size as u64, size);
    }
    if !place.address.is_multiple_of(segment.alignment.max(1)) {
        return refuse("an address that is a multiple of", segment.alignment, place.address);
    }
    if place.address.checked_add(size).is_none() {
        return refuse("an address of at most", u64::MAX - size, place.address);
    }
    Ok(())
}

/// What is known of a symbol while relocations are applied.
#[derive(Clone, Copy, Default)]
struct SymbolState {
    address: u64,
    standing: Standing,
    /// The address of the symbol's veneer.
    veneer: Option<NonZeroU64>,
    /// The address of the symbol's entry in the global offset table.
    entry: Option<NonZeroU64>,
}

/// Where a symbol is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
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

/// Room for things of one size that are made on demand.
struct Slots<'m> {
    free: &'m mut [u8],
    start: u64,
    used: usize,
}

impl<'m> Slots<'m> {
    fn new(free: &'m mut [u8], start: u64) -> Self {
        Self { free, start, used: 0 }
    }

    /// Takes the next slot for `contents`, and gives its address.
    fn take<const SIZE: usize>(&mut self, contents: [u8; SIZE]) -> Option<u64> {
        let (slot, free) = core::mem::take(&mut self.free).split_first_chunk_mut()?;
        *slot = contents;
        self.free = free;
        let address = self.start + self.used as u64;
        self.used += SIZE;
        Some(address)
    }

    /// Clears what was not taken, and gives the number of bytes that were, unless it is zero.
    fn finish(self) -> Option<usize> {
        self.free.fill(0);
        (self.used != 0).then_some(self.used)
    }
}

/// What is at work during [`link`].
struct Linker<'l, 'm> {
    object: Object<'l>,
    layout: &'l Layout,
    addresses: Segments<u64>,
    resolve: &'l dyn Fn(&str) -> Option<u64>,
    symbols: Vec<SymbolState>,
    veneers: Slots<'m>,
    offset_table: Slots<'m>,
    figures: Figures,
}

/// Why a relocation was not applied; with its place it becomes an [`Error`].
enum Fault {
    /// The type is not applied.
    Unsupported(Unsupported),
    /// The symbol is not to be had.
    Symbol(Error),
    /// A field of the relocation has a value with which it cannot be applied.
    Unacceptable(&'static str, u64),
    /// The value does not fit.
    Misfit(Misfit, &'static Relocation, i64),
}

impl Linker<'_, '_> {
    /// Copies the sections to their places and clears what lies between and behind them.
    fn copy_sections(&mut self, segments: &mut Segments<&mut [u8]>) {
        let mut ends = Segments::<usize>::default();
        for &index in self.layout.order() {
            let (Some(section), Some(placement)) = (self.object.section_at(index), self.layout.placement(index)) else {
                continue;
            };
            let segment = &mut *segments[placement.permission];
            let contents = self.object.contents(&section);
            let size = section.header.size() as usize;
            let end = core::mem::replace(&mut ends[placement.permission], placement.offset + size);
            if let Some(gap) = segment.get_mut(end..placement.offset) {
                gap.fill(0);
            }
            if let Some(place) = segment.get_mut(placement.offset..placement.offset + size) {
                match place.split_at_mut_checked(contents.len()) {
                    Some((place, [])) => place.copy_from_slice(contents),
                    _ => place.fill(0),
                }
            }
            self.figures.sections += 1;
        }
        for permission in [Permission::Execute, Permission::Read, Permission::Write] {
            if let Some(rest) = segments[permission].get_mut(ends[permission]..) {
                rest.fill(0);
            }
        }
    }

    /// Applies all relocations of all sections that are loaded.
    fn apply_relocations(&mut self, segments: &mut Segments<&mut [u8]>) -> Result<(), Error> {
        for (_, section) in self.object.sections() {
            if section.header.get_type() != Ok(ShType::Rela) {
                continue;
            }
            let number = section.header.info() as usize;
            let (Some(target), Some(placement)) = (self.object.section_at(number), self.layout.placement(number))
            else {
                continue;
            };
            let end = placement.offset + target.header.size() as usize;
            let bytes = segments[placement.permission].get_mut(placement.offset..end).unwrap_or_default();
            let address = self.addresses[placement.permission] + placement.offset as u64;
            for rela in self.object.relocations(&section) {
                self.apply(rela, bytes, address).map_err(|fault| self.error(fault, rela, number))?;
            }
        }
        Ok(())
    }

    /// Applies one relocation to a section with the contents `bytes` at `address`.
    fn apply(&mut self, rela: &Rela<P64>, bytes: &mut [u8], address: u64) -> Result<(), Fault> {
        let Some(relocation) = Relocation::find(rela.get_type()).map_err(Fault::Unsupported)? else {
            return Ok(());
        };
        let offset = rela.get_offset();
        let place = address.wrapping_add(offset);
        if relocation.field.is_instruction() && !place.is_multiple_of(4) {
            return Err(Fault::Unacceptable("an instruction at a multiple of four", place));
        }
        let value = self.value(relocation, rela, place)?;
        let bytes = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset..)).unwrap_or_default();
        self.figures.relocations += 1;
        relocation.write(bytes, value).map_err(|misfit| Fault::Misfit(misfit, relocation, value))
    }

    /// What a relocation computes, for the place with this address.
    fn value(&mut self, relocation: &'static Relocation, rela: &Rela<P64>, place: u64) -> Result<i64, Fault> {
        let page = |address: u64| address & !0xfff;
        let table = self.offset_table.start;
        let index = rela.get_symbol_table_index() as usize;
        let symbol = self.symbol(index)?;
        let target = symbol.address.wrapping_add(rela.get_addend());
        let value = match relocation.formula {
            Formula::Absolute => target,
            Formula::Relative => target.wrapping_sub(place),
            Formula::Page => page(target).wrapping_sub(page(place)),
            Formula::FromTable => target.wrapping_sub(table),
            Formula::Branch if symbol.standing == Standing::Missing => 4,
            Formula::Branch | Formula::Function => {
                let distance = target.wrapping_sub(place);
                let extensible = symbol.standing == Standing::External && rela.get_addend() == 0;
                if extensible && !relocation.fits(distance as i64) {
                    self.veneer(index, target).map_or(distance, |veneer| veneer.wrapping_sub(place))
                } else {
                    distance
                }
            }
            Formula::Entry => self.entry(index, rela)?,
            Formula::EntryRelative => self.entry(index, rela)?.wrapping_sub(place),
            Formula::EntryPage => page(self.entry(index, rela)?).wrapping_sub(page(place)),
            Formula::EntryFromTable => self.entry(index, rela)?.wrapping_sub(table),
            Formula::EntryFromTablePage => self.entry(index, rela)?.wrapping_sub(page(table)),
        };
        Ok(value as i64)
    }

    /// The address of the veneer to an external symbol, made on demand. The layout has room for one for each.
    fn veneer(&mut self, index: usize, target: u64) -> Option<u64> {
        let symbol = self.symbols.get_mut(index)?;
        if symbol.veneer.is_none() {
            symbol.veneer = NonZeroU64::new(self.veneers.take(veneer::encode(target))?);
            self.figures.veneers += 1;
        }
        symbol.veneer.map(NonZeroU64::get)
    }

    /// The address of a symbol's entry in the global offset table, made on demand. The layout has room for one for each
    /// symbol that is meant by its name.
    fn entry(&mut self, index: usize, rela: &Rela<P64>) -> Result<u64, Fault> {
        if rela.get_addend() != 0 {
            return Err(Fault::Unacceptable("no addend to an entry of the global offset table", rela.get_addend()));
        }
        let made = self.symbols.get_mut(index).and_then(|symbol| {
            if symbol.entry.is_none() {
                symbol.entry = NonZeroU64::new(self.offset_table.take(symbol.address.to_le_bytes())?);
                self.figures.offset_table_entries += 1;
            }
            symbol.entry
        });
        let refused = Fault::Unacceptable("the number of a symbol with a name of its own", index as u64);
        made.map(NonZeroU64::get).ok_or(refused)
    }

    /// What is known of a symbol, which is looked up when it is asked for first.
    fn symbol(&mut self, index: usize) -> Result<SymbolState, Fault> {
        match self.symbols.get(index) {
            Some(state) if state.standing != Standing::Unknown => return Ok(*state),
            _ => {}
        }
        let Some(symbol) = self.object.symbols().get(index) else {
            return Err(Fault::Unacceptable("the number of a symbol", index as u64));
        };
        let (address, standing) = self.look_up(index, symbol).map_err(Fault::Symbol)?;
        let found = SymbolState { address, standing, ..SymbolState::default() };
        if let Some(state) = self.symbols.get_mut(index) {
            *state = found;
        }
        Ok(found)
    }

    /// Finds a symbol, in this module or outside.
    fn look_up(&mut self, index: usize, symbol: &Entry64) -> Result<(u64, Standing), Error> {
        let refuse = |expected| {
            let what = format!("symbol `{}`", self.object.symbol_label(index));
            Err(Error::Unacceptable { what, expected, found: u64::from(symbol.info()) })
        };
        match symbol.get_type() {
            Ok(Type::Tls) => return refuse("no thread-local storage (type STT_TLS)"),
            Ok(Type::OsSpecific(10)) => return refuse("no indirect function (type STT_GNU_IFUNC)"),
            _ => {}
        }
        if index == 0 {
            return Ok((0, Standing::Internal));
        }
        match locate(&self.object, self.layout, &self.addresses, index, symbol) {
            Some((address, None)) => return Ok((address, Standing::External)),
            Some((address, Some(_))) => return Ok((address, Standing::Internal)),
            None if self.object.definition(index, symbol) != Some(Definition::Undefined) => {
                return refuse("to be in a section that is loaded");
            }
            None => {}
        }
        let name = self.object.symbol_name(symbol);
        if name.len() == LARGEST_NAME {
            return refuse("a name of less than 16 KiB");
        }
        let resolved = str::from_utf8(name).ok().and_then(self.resolve);
        if let Some(address) = resolved {
            self.figures.imports += 1;
            return Ok((address, Standing::External));
        }
        if name == OFFSET_TABLE.as_bytes() {
            return Ok((self.offset_table.start, Standing::Internal));
        }
        match symbol.get_binding() {
            Ok(Binding::Weak) => Ok((0, Standing::Missing)),
            _ => Err(Error::MissingSymbol { symbol: printable(name).into() }),
        }
    }

    /// A fault with its place: the section with this number, where the relocation says.
    fn error(&self, fault: Fault, rela: &Rela<P64>, section: usize) -> Error {
        let name = match (Relocation::find(rela.get_type()), &fault) {
            (_, Fault::Unsupported(Unsupported { name: Some(name), .. })) => name.to_string(),
            (Ok(Some(relocation)), _) => relocation.name.into(),
            _ => format!("number {}", rela.get_type()),
        };
        let site = Site {
            relocation: name,
            section: self.object.section_name(section),
            offset: rela.get_offset(),
            symbol: self.object.symbol_label(rela.get_symbol_table_index() as usize),
        };
        let unacceptable = |expected, found| Error::Unacceptable { what: site.to_string(), expected, found };
        match fault {
            Fault::Symbol(error) => error,
            Fault::Unacceptable(expected, found) => unacceptable(expected, found),
            Fault::Unsupported(Unsupported { reason, .. }) => Error::UnsupportedRelocation { site, reason },
            Fault::Misfit(Misfit::OutOfBounds, ..) => unacceptable("an offset inside its section", rela.get_offset()),
            Fault::Misfit(Misfit::Misaligned(alignment), _, value) => Error::Misaligned { site, value, alignment },
            Fault::Misfit(Misfit::Overflow, relocation, value) => {
                Error::Overflow { site, value, minimum: relocation.minimum, maximum: relocation.maximum }
            }
        }
    }
}
