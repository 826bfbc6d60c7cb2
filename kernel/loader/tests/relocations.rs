//! Each relocation at interesting distances: the loader's bytes are those that GNU ld and lld write for the same object
//! at the same addresses, or all three refuse it.

mod common;

use common::{ADDRESSES, Linker, Module, disable_relocations};
use loader::Error;
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Relocation, SectionId, Symbol, SymbolSection},
};

/// What a relocation's value is counted from.
#[derive(Clone, Copy, PartialEq)]
enum Base {
    Zero,
    Place,
    Page,
}
use Base::{Page, Place, Zero};

/// A relocation, what its value is counted from, the bytes it is applied to, and whether GNU ld knows it.
type Kind = (&'static str, u32, Base, &'static [u8], bool);

/// Instructions that have the fields that are relocated, all with other bits than the linkers will write.
const MOVZ: &[u8] = &0xd280_0001_u32.to_le_bytes();
const MOVN: &[u8] = &0x9280_0001_u32.to_le_bytes();
const MOVK: &[u8] = &0xf280_0001_u32.to_le_bytes();
const LDR_LITERAL: &[u8] = &0x5800_0001_u32.to_le_bytes();
const ADR: &[u8] = &0x1000_0001_u32.to_le_bytes();
const ADRP: &[u8] = &0x9000_0001_u32.to_le_bytes();
const ADD: &[u8] = &0x9100_0021_u32.to_le_bytes();
const LDRB: &[u8] = &0x3940_0021_u32.to_le_bytes();
const LDRH: &[u8] = &0x7940_0021_u32.to_le_bytes();
const LDRW: &[u8] = &0xb940_0021_u32.to_le_bytes();
const LDRX: &[u8] = &0xf940_0021_u32.to_le_bytes();
const LDRQ: &[u8] = &0x3dc0_0021_u32.to_le_bytes();
const TBZ: &[u8] = &0x3600_0001_u32.to_le_bytes();
const CBZ: &[u8] = &0xb400_0001_u32.to_le_bytes();
const B: &[u8] = &0x1400_0000_u32.to_le_bytes();
const BL: &[u8] = &0x9400_0000_u32.to_le_bytes();

const KINDS: &[Kind] = &[
    ("ABS64", 257, Zero, &[0; 8], true),
    ("ABS32", 258, Zero, &[0; 4], true),
    ("ABS16", 259, Zero, &[0; 2], true),
    ("PREL64", 260, Place, &[0; 8], true),
    ("PREL32", 261, Place, &[0; 4], true),
    ("PREL16", 262, Place, &[0; 2], true),
    ("MOVW_UABS_G0", 263, Zero, MOVZ, true),
    ("MOVW_UABS_G0_NC", 264, Zero, MOVK, true),
    ("MOVW_UABS_G1", 265, Zero, MOVZ, true),
    ("MOVW_UABS_G1_NC", 266, Zero, MOVK, true),
    ("MOVW_UABS_G2", 267, Zero, MOVZ, true),
    ("MOVW_UABS_G2_NC", 268, Zero, MOVK, true),
    ("MOVW_UABS_G3", 269, Zero, MOVZ, true),
    ("MOVW_SABS_G0", 270, Zero, MOVZ, true),
    ("MOVW_SABS_G0", 270, Zero, MOVN, true),
    ("MOVW_SABS_G1", 271, Zero, MOVZ, true),
    ("MOVW_SABS_G1", 271, Zero, MOVN, true),
    ("MOVW_SABS_G2", 272, Zero, MOVZ, true),
    ("MOVW_SABS_G2", 272, Zero, MOVN, true),
    ("LD_PREL_LO19", 273, Place, LDR_LITERAL, true),
    ("ADR_PREL_LO21", 274, Place, ADR, true),
    ("ADR_PREL_PG_HI21", 275, Page, ADRP, true),
    ("ADR_PREL_PG_HI21_NC", 276, Page, ADRP, true),
    ("ADD_ABS_LO12_NC", 277, Zero, ADD, true),
    ("LDST8_ABS_LO12_NC", 278, Zero, LDRB, true),
    ("TSTBR14", 279, Place, TBZ, true),
    ("CONDBR19", 280, Place, CBZ, true),
    ("JUMP26", 282, Place, B, true),
    ("CALL26", 283, Place, BL, true),
    ("LDST16_ABS_LO12_NC", 284, Zero, LDRH, true),
    ("LDST32_ABS_LO12_NC", 285, Zero, LDRW, true),
    ("LDST64_ABS_LO12_NC", 286, Zero, LDRX, true),
    ("MOVW_PREL_G0", 287, Place, MOVZ, true),
    ("MOVW_PREL_G0", 287, Place, MOVN, true),
    ("MOVW_PREL_G0_NC", 288, Place, MOVK, true),
    ("MOVW_PREL_G1", 289, Place, MOVZ, true),
    ("MOVW_PREL_G1", 289, Place, MOVN, true),
    ("MOVW_PREL_G1_NC", 290, Place, MOVK, true),
    ("MOVW_PREL_G2", 291, Place, MOVZ, true),
    ("MOVW_PREL_G2", 291, Place, MOVN, true),
    ("MOVW_PREL_G2_NC", 292, Place, MOVK, true),
    ("MOVW_PREL_G3", 293, Place, MOVZ, true),
    ("LDST128_ABS_LO12_NC", 299, Zero, LDRQ, true),
    ("PLT32", 314, Place, &[0; 4], false),
];

/// The values at which fields and checks begin and end: around each power of two, positive and negative.
fn values() -> Vec<i64> {
    let powers = [0, 5, 11, 12, 14, 15, 16, 17, 20, 21, 24, 27, 28, 31, 32, 33, 36, 47, 48, 49, 55, 62, 63];
    let around = [-4096, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 4096];
    let mut values: Vec<i64> = powers
        .iter()
        .flat_map(|power| [1_i64 << power, (1_i64 << power).wrapping_neg()])
        .flat_map(|value| around.map(|offset| value.wrapping_add(offset)))
        .collect();
    values.sort();
    values.dedup();
    values
}

/// An object in the making.
struct Writer {
    object: Object<'static>,
    text: SectionId,
    symbols: Vec<(String, u64)>,
}

impl Writer {
    fn new() -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        let text = object.add_section(vec![], b".text".to_vec(), SectionKind::Text);
        Self { object, text, symbols: Vec::new() }
    }

    /// Appends `bytes` with a relocation of a symbol that is at `address`, and gives the offset.
    fn relocated(&mut self, number: u32, bytes: &[u8], address: impl FnOnce(u64) -> u64, addend: i64) -> u64 {
        let offset = self.object.append_section_data(self.text, bytes, 8);
        let name = format!("external{}", self.symbols.len());
        let symbol = self.object.add_symbol(Symbol {
            name: name.clone().into_bytes(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Unknown,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.symbols.push((name, address(offset).wrapping_sub(addend as u64)));
        let flags = RelocationFlags::Elf { r_type: object::elf::RelocationType(number) };
        self.object.add_relocation(self.text, Relocation { offset, symbol, addend, flags }).unwrap();
        offset
    }

    fn resolve(&self, name: &str) -> Option<u64> {
        let number: usize = name.strip_prefix("external")?.parse().ok()?;
        Some(self.symbols.get(number)?.1)
    }
}

#[test]
fn bytes_are_those_of_gnu_ld_and_lld() {
    let mut compared = 0;
    let mut report = String::new();
    for &(name, number, from, template, gnu) in KINDS {
        let mut writer = Writer::new();
        let values = values();
        let offsets: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(index, &value)| {
                let base = |offset: u64| match from {
                    Zero => 0,
                    Place => ADDRESSES.execute + offset,
                    Page => (ADDRESSES.execute + offset) & !0xfff,
                };
                // Half of the symbols are met through an addend.
                let addend = if matches!(name, "JUMP26" | "CALL26" | "PLT32") { 0 } else { [0, -24][index % 2] };
                writer.relocated(number, template, |offset| base(offset).wrapping_add(value as u64), addend)
            })
            .collect();
        let bytes = writer.object.write().unwrap();
        let sections = [(".text".to_string(), ADDRESSES.execute)];
        let lld = Linker::Lld.link(&bytes, &sections, &writer.symbols);
        let gnu = gnu.then(|| Linker::Gnu.link(&bytes, &sections, &writer.symbols));

        for (&value, &offset) in values.iter().zip(&offsets) {
            let mut object = bytes.clone();
            disable_relocations(&mut object, |_, other| other != offset);
            let ours = Module::load(&object, |name| writer.resolve(name));
            let bytes_of = |section: &[u8]| section[offset as usize..][..template.len()].to_vec();
            let theirs = |linked: &common::Linked| {
                let refused = linked.refused.contains(&(".text".to_string(), offset));
                (!refused).then(|| bytes_of(&linked.sections[".text"]))
            };
            let by_veneer = ours.as_ref().is_ok_and(|module| module.figures.veneers != 0);
            let ours = match ours {
                Ok(module) => Some(bytes_of(module.section(".text").1)),
                Err(Error::Overflow { site, .. } | Error::Misaligned { site, .. }) => {
                    assert_eq!((&*site.relocation, &*site.section, site.offset), (name, ".text", offset));
                    None
                }
                Err(error) => panic!("{name}: {error}"),
            };
            let verdicts = (&ours, theirs(&lld), gnu.as_ref().map(theirs));
            compared += 1;
            if by_veneer {
                continue;
            }
            if verdicts.1 != ours || verdicts.2.as_ref().is_some_and(|gnu| *gnu != ours) {
                report += &format!("{name} {value:#x} ({value}): {verdicts:02x?}\n");
            }
        }
    }
    println!("{compared} compared");
    assert!(report.is_empty(), "{report}");
}
