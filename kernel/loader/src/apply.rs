//! Applies relocations, in one pass, and makes the veneers and the global offset table that they need.

use alloc::collections::BTreeMap;

use object::{LittleEndian as LE, elf::Rela64};

use crate::{
    Error, Figures, Layout, Object, Segments, erratum,
    fault::Fault,
    layout::Placement,
    relocation::{Formula, Relocation},
    resolve::{Resolver, Standing},
    veneer,
};

/// What is at work while relocations are applied.
pub(crate) struct Linker<'l, 'm> {
    pub object: Object<'l>,
    pub layout: &'l Layout,
    pub addresses: Segments<u64>,
    pub symbols: Resolver<'l>,
    pub veneers: Room<'m>,
    pub offset_table: Room<'m>,
    /// The address of the veneer to each address outside that a branch could not reach.
    pub far: BTreeMap<u64, u64>,
    pub figures: Figures,
}

/// Memory for things that are made on demand, one behind the other.
pub(crate) struct Room<'m> {
    free: &'m mut [u8],
    /// The address of `free`.
    next: u64,
}

impl<'m> Room<'m> {
    pub(crate) fn new(free: &'m mut [u8], address: u64) -> Self {
        Self { free, next: address }
    }

    /// Puts `contents` next, and gives the address.
    fn put<const SIZE: usize>(&mut self, contents: [u8; SIZE]) -> Option<u64> {
        let (place, free) = core::mem::take(&mut self.free).split_first_chunk_mut()?;
        *place = contents;
        self.free = free;
        let address = self.next;
        self.next += SIZE as u64;
        Some(address)
    }

    /// Clears what is left, and gives the address at which it begins.
    pub(crate) fn finish(self) -> u64 {
        self.free.fill(0);
        self.next
    }
}

impl Linker<'_, '_> {
    /// Applies all relocations of all sections that are loaded.
    pub(crate) fn apply_relocations(&mut self, segments: &mut Segments<&mut [u8]>) -> Result<(), Error> {
        let (object, layout) = (self.object, self.layout);
        for (section, placement, relocations) in layout.relocations(&object) {
            let Some(size) = object.section_at(section).map(|section| section.size() as usize) else { continue };
            let Placement { permission, offset } = placement;
            let bytes = segments[permission].get_mut(offset..offset + size).unwrap_or_default();
            for rela in relocations {
                self.apply(rela, bytes, placement).map_err(|fault| fault.at(&object, section, rela))?;
            }
        }
        Ok(())
    }

    /// Applies one relocation to a section with the contents `bytes` at `placement`.
    fn apply(&mut self, rela: &Rela64<LE>, bytes: &mut [u8], placement: Placement) -> Result<(), Fault> {
        let Some(relocation) = Relocation::find(rela.r_type(LE, false)).map_err(Fault::Unsupported)? else {
            return Ok(());
        };
        let offset = rela.r_offset.get(LE);
        let in_segment = (placement.offset as u64).wrapping_add(offset);
        let place = self.addresses[placement.permission].wrapping_add(in_segment);
        if relocation.field.is_instruction() && !place.is_multiple_of(4) {
            return Err(Fault::Unacceptable("an instruction at a multiple of four", place));
        }
        let value = self.value(relocation, rela, place)?;
        let bytes = usize::try_from(offset).ok().and_then(|offset| bytes.get_mut(offset..)).unwrap_or_default();
        relocation.write(bytes, value).map_err(|misfit| Fault::Misfit(misfit, relocation, value))?;
        self.figures.relocations += 1;
        if self.layout.replaces(relocation, placement.permission, in_segment) {
            self.replace_adrp(bytes, place);
        }
        Ok(())
    }

    /// What a relocation computes, for the place with this address.
    fn value(&mut self, relocation: &'static Relocation, rela: &Rela64<LE>, place: u64) -> Result<i64, Fault> {
        let page = |address: u64| address & !0xfff;
        let table = self.symbols.offset_table;
        let (index, addend) = (rela.r_sym(LE, false) as usize, rela.r_addend.get(LE));
        let symbol = *self.symbols.get(index)?;
        let formula = relocation.formula;
        let nowhere = symbol.standing == Standing::Missing && formula.is_relative();
        let address = if nowhere { place } else { symbol.address };
        let target = address.wrapping_add_signed(addend);
        let distance = target.wrapping_sub(place);
        let too_far = symbol.standing == Standing::External && !relocation.fits(distance.cast_signed());
        let value = match formula {
            Formula::Absolute => target,
            Formula::Relative => distance,
            Formula::Page => page(target).wrapping_sub(page(place)),
            Formula::FromTable => target.wrapping_sub(table),
            Formula::Branch if symbol.standing == Standing::Missing => 4,
            Formula::Branch if too_far => self.veneer(target).map_or(distance, |veneer| veneer.wrapping_sub(place)),
            // The addend is no part of the function's address: it counts from the place to what the distance is from.
            Formula::Function if too_far => {
                self.veneer(address).map_or(distance, |veneer| veneer.wrapping_add_signed(addend).wrapping_sub(place))
            }
            Formula::Branch | Formula::Function => distance,
            Formula::Entry => self.entry(index, addend)?,
            Formula::EntryRelative => self.entry(index, addend)?.wrapping_sub(place),
            Formula::EntryRelativePlus => self.entry(index, 0)?.wrapping_sub(place).wrapping_add_signed(addend),
            Formula::EntryPage => page(self.entry(index, addend)?).wrapping_sub(page(place)),
            Formula::EntryFromTable => self.entry(index, addend)?.wrapping_sub(table),
            Formula::EntryFromTablePage => self.entry(index, addend)?.wrapping_sub(page(table)),
        };
        Ok(value.cast_signed())
    }

    /// The address of the veneer that goes on to `target`, made on demand. The layout has room for it, unless there are
    /// no instructions at `target` (AAELF64 asks for a multiple of four).
    fn veneer(&mut self, target: u64) -> Option<u64> {
        if !target.is_multiple_of(4) {
            return None;
        }
        if let Some(&veneer) = self.far.get(&target) {
            return Some(veneer);
        }
        let veneer = self.veneers.put(veneer::onward(target))?;
        self.figures.veneers += 1;
        self.far.insert(target, veneer);
        Some(veneer)
    }

    /// The address of a symbol's entry in the global offset table, made on demand. The layout has room for it.
    ///
    /// AAELF64 demands that such a relocation has no addend ("Relocation operations"); where one has, GNU ld and lld
    /// differ in what they make of it.
    fn entry(&mut self, index: usize, addend: i64) -> Result<u64, Fault> {
        if addend != 0 {
            let expected = "no addend to an entry of the global offset table";
            return Err(Fault::Unacceptable(expected, addend.cast_unsigned()));
        }
        let symbol = self.symbols.get(index)?;
        if symbol.entry.is_none() {
            symbol.entry = self.offset_table.put(symbol.address.to_le_bytes());
            self.figures.offset_table_entries += 1;
        }
        symbol.entry.ok_or(Fault::Unacceptable("room in the global offset table for symbol number", index as u64))
    }

    /// Replaces the instruction at `place`, which `bytes` begin with, if it is an ADRP: by an ADR, or by a branch to a
    /// veneer, for which the layout has room.
    fn replace_adrp(&mut self, bytes: &mut [u8], place: u64) {
        let Some(instruction) = bytes.first_chunk_mut() else { return };
        let Some((register, address)) = erratum::decode_adrp(u32::from_le_bytes(*instruction), place) else { return };
        let replacement = erratum::encode_adr(register, address, place).or_else(|| {
            let contents = veneer::address(register, address, self.veneers.next, place + 4);
            Some(veneer::branch(place, self.veneers.put(contents)?))
        });
        if let Some(replacement) = replacement {
            *instruction = replacement.to_le_bytes();
            self.figures.erratum_fixes += 1;
        }
    }
}
