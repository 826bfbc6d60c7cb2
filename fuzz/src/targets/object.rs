//! The object file of a module: read, laid out, and linked at made-up addresses.

use std::{cell::Cell, ops::Range};

use loader::{
    Error, Figures, LARGEST_NAME, Layout, Linked, Object, Place, Segments, Workarounds, function_at, link,
    modinfo::ModuleInformation,
};
use object::{
    LittleEndian as LE, Object as _, ObjectSection as _,
    elf::{self, FileHeader64},
    read::elf::{ElfFile64, FileHeader, SectionHeader},
};

use super::hear;
use crate::{Target, heap, real};

pub const TARGET: Target = Target {
    name: "object",
    summary: "the object file of a module, read and linked",
    check,
    real_inputs: real::modules,
    structure,
};

/// Where segments usually are, with what they call near to them.
const USUAL: Segments<u64> =
    Segments { execute: 0xffff_8000_1000_0000, read: 0xffff_8000_1400_0000, write: 0xffff_8000_1800_0000 };

/// As near to either end of the address space as alignment allows.
const EXTREME: Segments<u64> = Segments { execute: 0xffff_ffff_ffe0_0000, read: 0, write: 0xffff_ffff_ffa0_0000 };

/// Larger modules are not linked, for filling memory is all that takes longer then.
const LARGEST_LINKED: usize = 1 << 20;

fn check(bytes: &[u8]) -> bool {
    let loaded = load(bytes, Workarounds::default(), USUAL, 0xa5);
    // Neither what was in memory before may show, nor where the object is.
    let odd = [&[0], bytes].concat();
    assert!(load(&odd[1..], Workarounds::default(), USUAL, 0x5a) == loaded, "the same object was loaded differently");
    let _ = load(bytes, Workarounds { erratum_843419: true }, EXTREME, 0);
    hear(loaded).is_some()
}

/// A module in memory.
#[derive(PartialEq)]
struct Loaded {
    memory: Segments<Vec<u8>>,
    figures: Figures,
}

/// Loads an object into memory full of `fill`, unless it is too large.
fn load(bytes: &[u8], workarounds: Workarounds, addresses: Segments<u64>, fill: u8) -> Result<Option<Loaded>, Error> {
    let sizes = bounded(bytes, || {
        let object = Object::parse(bytes)?;
        check_object(bytes, &object);
        Ok(Layout::new(&object, workarounds)?.segments().map(|segment| segment.size))
    })?;
    if sizes.execute + sizes.read + sizes.write > LARGEST_LINKED {
        return Ok(None);
    }
    let mut memory = sizes.map(|size| vec![fill; size]);
    let figures = bounded(bytes, || {
        let object = Object::parse(bytes)?;
        let layout = Layout::new(&object, workarounds)?;
        let Segments { execute, read, write } = memory.as_mut();
        let places = Segments {
            execute: Place { address: addresses.execute, bytes: execute },
            read: Place { address: addresses.read, bytes: read },
            write: Place { address: addresses.write, bytes: write },
        };
        let asked = Cell::new(0);
        let resolve = |name: &str| {
            asked.set(asked.get() + 1);
            resolve(name)
        };
        let linked = link(&object, &layout, places, &resolve)?;
        assert!(linked.figures().imports <= asked.get());
        check_linked(&linked, &layout, addresses);
        check_functions(&object, &layout, sizes.execute);
        Ok(linked.figures())
    })?;
    Ok(Some(Loaded { memory, figures }))
}

/// Does `work`, in which the loader may hold four bytes for each of the object's, as its documentation states. An error
/// names a section and a symbol besides, of which each byte may become three in the sentence.
fn bounded<T>(bytes: &[u8], work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let (result, took) = heap::measure(work);
    let rest = if result.is_ok() { heap::SLACK } else { 24 * LARGEST_NAME };
    assert!(took <= 4 * bytes.len() + rest, "{took} bytes of memory for an object of {}", bytes.len());
    result
}

/// What is outside the module: near it, or too far for a branch and near enough for all else, or nowhere.
fn resolve(name: &str) -> Option<u64> {
    let distance = if name.len().is_multiple_of(2) { 0x100_0000 } else { 0x1000_0000 };
    (!name.starts_with("missing")).then_some(USUAL.execute + distance + 16 * name.len() as u64)
}

/// What is read from the object without linking it is what stands in the file.
fn check_object(bytes: &[u8], object: &Object<'_>) {
    // The second opinion is stricter in what is of no use here, and gives sections of type SHT_NULL like others.
    let file = ElfFile64::<LE>::parse(bytes).ok();
    for name in [".lockstep.stamp", ".modinfo", ".text"] {
        let sections = file.iter().flat_map(|file| file.sections());
        let mut sections = sections.filter(|section| section.elf_section_header().sh_type(LE) != elf::SHT_NULL);
        let section = sections.find(|section| section.name_bytes() == Ok(name.as_bytes()));
        let data = section.and_then(|section| section.data().ok());
        assert!(file.is_none() || object.section(name) == data, "{name}");
    }
    let Some(information) = hear(ModuleInformation::of(object)) else { return };
    for (key, value) in information.entries() {
        assert!(!key.is_empty() && !key.contains('=') && information.values(key).any(|found| found == value));
    }
}

/// Everything lies inside the segments, and sections not in each other.
fn check_linked(linked: &Linked<'_>, layout: &Layout, addresses: Segments<u64>) {
    let segments = layout.segments();
    let range = |address, size| address..address + size as u64;
    let [execute, read, write] = [
        range(addresses.execute, segments.execute.size),
        range(addresses.read, segments.read.size),
        range(addresses.write, segments.write.size),
    ];
    let used = linked.used();
    assert!(
        used.execute <= segments.execute.size && used.read <= segments.read.size && used.write <= segments.write.size
    );

    let mut free = [execute.clone(), read.clone(), write.clone()];
    for section in linked.sections() {
        let place = section.address..section.address + section.size;
        let free = free.iter_mut().find(|free| contains(free, &place)).expect("a section in free memory of a segment");
        free.start = place.end;
    }
    for symbol in linked.symbols().filter(|symbol| symbol.permission.is_some()) {
        let place = symbol.address..symbol.address + symbol.size;
        assert!([&execute, &read, &write].into_iter().any(|segment| contains(segment, &place)), "{symbol:?}");
    }
    assert!(contains(&read, &linked.unwind_tables()) || linked.unwind_tables().is_empty());
    assert!(8 * linked.initializers().len() <= segments.read.size);
}

fn contains(range: &Range<u64>, part: &Range<u64>) -> bool {
    range.start <= part.start && part.end <= range.end
}

/// A function is found at any place in code that belongs to one, and nothing beyond the code.
fn check_functions(object: &Object<'_>, layout: &Layout, size: usize) {
    for offset in (0..size).step_by(size / 8 + 4) {
        if let Some((name, into)) = function_at(object, layout, offset) {
            assert!(function_at(object, layout, offset - into).is_some(), "{name}");
        }
    }
}

/// The file header, the section headers, and the contents of sections that are tables.
fn structure(bytes: &[u8]) -> Vec<Range<usize>> {
    let Ok(header) = FileHeader64::<LE>::parse(bytes) else { return Vec::new() };
    let headers = header.e_shoff.get(LE) as usize;
    let mut ranges = vec![0..64, headers..headers.saturating_add(64 * usize::from(header.e_shnum.get(LE)))];
    let sections = header.section_headers(LE, bytes).unwrap_or_default();
    let tables = sections.iter().filter(|section| section.sh_type(LE) != elf::SHT_PROGBITS);
    let tables = tables.filter_map(|section| section.file_range(LE));
    ranges.extend(tables.map(|(offset, size)| offset as usize..offset.saturating_add(size) as usize));
    ranges
}
