//! Links an object at the addresses where it will run.

use alloc::collections::BTreeMap;

use crate::{
    Error, Figures, Layout, Linked, Object, Permission, Segments,
    apply::{Linker, Room},
    linked::initializers,
    resolve::Resolver,
};

/// Memory for one segment.
pub struct Place<'m> {
    /// The address at which the segment will run or be read: a multiple of the segment's alignment.
    pub address: u64,
    /// A writable alias of the memory at that address, at least as large as the segment. All of it is written: what
    /// the module does not use becomes zeros.
    pub bytes: &'m mut [u8],
}

/// Links an object: copies its sections to their places, resolves the symbols that its relocations need, and applies
/// the relocations, in one pass. `layout` must be the object's own.
///
/// `resolve` gives the address of a symbol that is not in the object; it is asked at most once for each. A definition in
/// the object counts before any outside, also a weak one. A weak symbol that is nowhere has the address 0, or that of
/// the place where a distance is asked for, and a call of it goes on to the next instruction (AAELF64, "Weak
/// References", "Call and Jump relocations").
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
    let sections = copy_sections(object, layout, &mut segments);
    let mut linker = Linker {
        object: *object,
        layout,
        addresses,
        symbols: Resolver::new(object, layout, addresses, resolve),
        veneers: Room::new(veneers, addresses.execute + layout.veneers as u64),
        offset_table: Room::new(offset_table, addresses.read + layout.offset_table as u64),
        far: BTreeMap::new(),
        figures: Figures { sections, ..Figures::default() },
    };
    linker.apply_relocations(&mut segments)?;
    Ok(Linked {
        object: *object,
        layout,
        addresses,
        initializers: initializers(object, layout, segments.read),
        figures: Figures { imports: linker.symbols.imports, ..linker.figures },
        used: Segments {
            execute: (linker.veneers.finish() - addresses.execute) as usize,
            read: (linker.offset_table.finish() - addresses.read) as usize,
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

/// Copies the sections to their places, clears what lies between and behind them, and gives the number of sections.
fn copy_sections(object: &Object<'_>, layout: &Layout, segments: &mut Segments<&mut [u8]>) -> usize {
    let mut ends = Segments::<usize>::default();
    let mut count = 0;
    for &index in layout.order() {
        let (Some(section), Some(placement)) = (object.section_at(index), layout.placement(index)) else { continue };
        let segment = &mut *segments[placement.permission];
        let contents = object.contents(&section);
        let size = section.size() as usize;
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
        count += 1;
    }
    for permission in [Permission::Execute, Permission::Read, Permission::Write] {
        if let Some(rest) = segments[permission].get_mut(ends[permission]..) {
            rest.fill(0);
        }
    }
    count
}
