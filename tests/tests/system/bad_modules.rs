//! Modules that can't be loaded or fail: each is refused with a sentence that names the file and the reason, and costs
//! nothing but itself.
//!
//! Broken objects are the clock's, with one thing changed.

use object::read::elf::{ElfFile64, FileHeader, SectionHeader};
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};
use tests::{DeviceTree, Initramfs, Machine, READY, test_module};

use crate::plain;

/// The offset of a part of an object file, found by its contents. It must be unique.
fn offset_of(object: &[u8], part: &[u8]) -> usize {
    let mut places = (0..object.len()).filter(|place| object[*place..].starts_with(part));
    match (places.next(), places.next()) {
        (Some(place), None) => place,
        (None, _) => panic!("the object has no {:?}", String::from_utf8_lossy(part)),
        _ => panic!("the object has several of {:?}", String::from_utf8_lossy(part)),
    }
}

/// An object in which a text is replaced by another of the same length.
fn replaced(object: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut object = object.to_vec();
    let place = offset_of(&object, old.as_bytes());
    object[place..place + new.len()].copy_from_slice(new.as_bytes());
    object
}

/// An object with another byte at an offset.
fn changed(object: &[u8], offset: usize, byte: u8) -> Vec<u8> {
    let mut object = object.to_vec();
    object[offset] = byte;
    object
}

/// An object whose first relocation of its text has another type; also the name of its symbol.
fn with_relocation(object: &[u8], kind: u32) -> Vec<u8> {
    let elf = ElfFile64::<LittleEndian>::parse(object).expect("a good object");
    let section = elf.section_by_name(".rela.text").expect("it has relocations");
    let (offset, _) = section.elf_section_header().file_range(LittleEndian).expect("they are in the file");
    let mut object = object.to_vec();
    // r_offset, then r_info with the type in its lower half.
    object[offset as usize + 8..][..4].copy_from_slice(&kind.to_le_bytes());
    object
}

/// The value of a line of the object's stamp.
fn stamp_of<'a>(object: &'a [u8], key: &str) -> &'a str {
    let elf = ElfFile64::<LittleEndian>::parse(object).expect("a good object");
    let stamp = elf.section_by_name(".lockstep.stamp").expect("it has a stamp").data().expect("in the file");
    let lines = str::from_utf8(stamp).expect("a text").lines();
    lines.filter_map(|line| line.split_once('=')).find(|(other, _)| *other == key).expect("it has that line").1
}

/// The name of a symbol that the kernel has to provide.
fn imported(object: &[u8]) -> &str {
    let elf = ElfFile64::<LittleEndian>::parse(object).expect("a good object");
    let name = elf.symbols().find(|symbol| symbol.is_undefined()).expect("it imports something").name();
    name.expect("it has a name")
}
