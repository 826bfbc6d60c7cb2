//! Each relocation at interesting distances: the loader's bytes are those that GNU ld and lld write for the same object
//! at the same addresses, or all three refuse it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{ADDRESSES, Linker, Module, compile, disable_relocations, resolver};
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
    ("MOVW_PREL_G3", 293, Place, MOVN, true),
    ("LDST128_ABS_LO12_NC", 299, Zero, LDRQ, true),
    ("PLT32", 314, Place, &[0; 4], false),
];

/// The values at which fields and checks begin and end: around each power of two, positive and negative.
fn values() -> Vec<i64> {
    let powers = [0, 11, 12, 15, 16, 17, 20, 21, 27, 28, 31, 32, 33, 47, 48, 49, 63];
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

/// Where a linker departs from AAELF64, so that its word does not count.
fn departs(linker: Linker, name: &str, value: i64) -> bool {
    match (linker, name) {
        // A narrow place may be read as signed or as unsigned: -2^15 <= X < 2^16. GNU ld takes one reading alone.
        (Linker::Gnu, "ABS32" | "ABS16" | "PREL32" | "PREL16") => true,
        // A branch to between two instructions: rounded down without a word.
        (_, "JUMP26" | "CALL26" | "TSTBR14") | (Linker::Gnu, "CONDBR19") => value % 4 != 0,
        // "X < 0: Set the instruction to MOVN". lld writes MOVZ.
        (Linker::Lld, "MOVW_PREL_G3") => value < 0,
        // lld reckons as if a function could only be at a multiple of four.
        (Linker::Lld, "PLT32") => value > i64::from(i32::MAX) - 3,
        _ => false,
    }
}

/// Compares one kind of relocation at all distances, and gives the number of comparisons with a linker.
fn compare(&(name, number, from, template, gnu): &Kind) -> usize {
    let mut writer = Writer::new();
    let values = values();
    let may_need_veneer = matches!(name, "JUMP26" | "CALL26" | "PLT32");
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
            let addend = if may_need_veneer { 0 } else { [0, -24][index % 2] };
            writer.relocated(number, template, |offset| base(offset).wrapping_add(value as u64), addend)
        })
        .collect();
    let bytes = writer.object.write().unwrap();
    let sections = [(".text".to_string(), ADDRESSES.execute)];
    let linkers: &[_] = if gnu { &[Linker::Lld, Linker::Gnu] } else { &[Linker::Lld] };
    let linked: Vec<_> =
        linkers.iter().map(|&linker| (linker, linker.link(&bytes, &sections, &writer.symbols))).collect();

    let mut compared = 0;
    for (&value, &offset) in values.iter().zip(&offsets) {
        let mut object = bytes.clone();
        disable_relocations(&mut object, |_, other| other != offset);
        let bytes_of = |section: &[u8]| section[offset as usize..][..template.len()].to_vec();
        let ours = match Module::load(&object, |name| writer.resolve(name)) {
            Ok(module) if module.figures.veneers != 0 => continue,
            Ok(module) => Some(bytes_of(module.section(".text").1)),
            Err(Error::Overflow { site, .. } | Error::Misaligned { site, .. }) => {
                assert_eq!((&*site.relocation, &*site.section, site.offset), (name, ".text", offset));
                None
            }
            Err(error) => panic!("{name}: {error}"),
        };
        for (linker, linked) in &linked {
            if departs(*linker, name, value) {
                continue;
            }
            let refused = linked.refused.contains(&(".text".to_string(), offset));
            let theirs = (!refused).then(|| bytes_of(&linked.sections[".text"]));
            assert_eq!(ours, theirs, "{name} of the value {value:#x} ({value}): the loader's and {linker:?}'s bytes");
            compared += 1;
        }
    }
    compared
}

#[test]
fn bytes_are_those_of_gnu_ld_and_lld_or_all_refuse() {
    let next = AtomicUsize::new(0);
    let compared = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(kind) = KINDS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    compared.fetch_add(compare(kind), Ordering::Relaxed);
                }
            });
        }
    });
    let compared = compared.into_inner();
    println!("{compared} comparisons");
    assert!(compared > 20_000);
}

#[test]
fn a_misaligned_branch_is_refused() {
    for (name, number, template) in
        [("JUMP26", 282, B), ("CALL26", 283, BL), ("TSTBR14", 279, TBZ), ("CONDBR19", 280, CBZ)]
    {
        for value in [-6, -3, -1, 1, 2, 3, 5] {
            let mut writer = Writer::new();
            writer.relocated(number, template, |offset| (ADDRESSES.execute + offset).wrapping_add_signed(value), 0);
            let error = Module::load(&writer.object.write().unwrap(), |name| writer.resolve(name)).unwrap_err();
            let text = format!(
                "relocation {name} of `external0` at .text+0x0 does not fit: its value {value} is not a multiple of 4"
            );
            assert_eq!(error.to_string(), text);
        }
    }
}

#[test]
fn an_overflow_names_symbol_place_and_limits() {
    let mut writer = Writer::new();
    writer.relocated(280, CBZ, |_| ADDRESSES.execute, 0);
    writer.relocated(280, CBZ, |offset| ADDRESSES.execute + offset - (1 << 20) - 4, 0);
    let error = Module::load(&writer.object.write().unwrap(), |name| writer.resolve(name)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "relocation CONDBR19 of `external1` at .text+0x8 does not fit: its value -1048580 is outside -1048576..=1048575"
    );
}

#[test]
fn what_is_not_applied_is_refused_by_name_or_number() {
    let refusal = |number, offset| {
        let mut writer = Writer::new();
        writer.relocated(number, &[0; 8], |_| 0, 0);
        let mut object = writer.object.write().unwrap();
        if offset != 0 {
            set_first_offset(&mut object, offset);
        }
        Module::load(&object, |name| writer.resolve(name)).unwrap_err().to_string()
    };
    for (number, text) in [
        (512, "TLSGD_ADR_PREL21 of `external0` at .text+0x0 cannot be applied: modules have no thread-local storage"),
        (
            549,
            "TLSLE_ADD_TPREL_HI12 of `external0` at .text+0x0 cannot be applied: modules have no thread-local storage",
        ),
        (569, "TLSDESC_CALL of `external0` at .text+0x0 cannot be applied: modules have no thread-local storage"),
        (
            573,
            "TLSLD_LDST128_DTPREL_LO12_NC of `external0` at .text+0x0 cannot be applied: modules have no thread-local storage",
        ),
        (
            1027,
            "RELATIVE of `external0` at .text+0x0 cannot be applied: it belongs into files that have already been linked",
        ),
        (
            281,
            "number 281 of `external0` at .text+0x0 cannot be applied: no static relocation of AArch64 has this number",
        ),
        (
            4_000_000_000,
            "number 4000000000 of `external0` at .text+0x0 cannot be applied: no static relocation of AArch64 has this number",
        ),
    ] {
        assert_eq!(refusal(number, 0), format!("relocation {text}"));
    }
    assert_eq!(
        refusal(283, 2),
        "relocation CALL26 of `external0` at .text+0x2: expected an instruction at a multiple of four, \
         found 0xffff800010000002"
    );
    assert_eq!(
        refusal(257, 1),
        "relocation ABS64 of `external0` at .text+0x1: expected an offset inside its section, found 0x1"
    );
    assert_eq!(
        refusal(257, u64::MAX),
        "relocation ABS64 of `external0` at .text+0xffffffffffffffff: expected an offset inside its section, \
         found 0xffffffffffffffff"
    );
}

/// Moves the first relocation of an object.
fn set_first_offset(object: &mut [u8], offset: u64) {
    let (_, table) = common::relocation_tables(object).remove(0);
    object[table][..8].copy_from_slice(&offset.to_le_bytes());
}

#[test]
fn branches_beyond_128_mib_reach_any_address_by_shared_veneers() {
    let (far, farther) = (0x0123_4567_89ab_cdec, 0xffff_ffff_ffff_fffc);
    let object = compile("branches.s", "b far; bl far; bl farther; b far; b near", &[]);
    let module = Module::load(&object, |name| match name {
        "far" => Some(far),
        "farther" => Some(farther),
        _ => Some(ADDRESSES.execute + (128 << 20)),
    });
    let module = module.unwrap();
    assert_eq!((module.figures.veneers, module.figures.imports), (2, 3));

    // What the assembler makes of the same, with the veneers written out.
    let veneer = |target: u64| {
        let [a, b, c, d] = [0, 16, 32, 48].map(|shift| target >> shift & 0xffff);
        format!("bti c; movz x16, {a}; movk x16, {b}, lsl 16; movk x16, {c}, lsl 32; movk x16, {d}, lsl 48; br x16")
    };
    let source = format!("0: b 1f; bl 1f; bl 2f; b 1f; b 0b + 0x8000000\n1: {}\n2: {}\n", veneer(far), veneer(farther));
    let expected = text(&compile("expected.s", &source, &["-march=armv8.5-a"]));
    assert_eq!(module.used.execute, expected.len());
    assert_eq!(module.memory.execute[..expected.len()], expected);
    assert!(module.memory.execute[expected.len()..].iter().all(|&byte| byte == 0), "unused room is cleared");
}

#[test]
fn a_veneer_is_not_made_for_what_it_cannot_serve() {
    let refused = |source| Module::load(&compile("branch.s", source, &[]), |_| Some(0x1000)).unwrap_err().to_string();
    for source in ["b far + 4", "cbz x0, far", "tbz x0, 1, far"] {
        let error = refused(source);
        assert!(error.contains("of `far` at .text+0x0 does not fit: its value 1407"), "{error}");
    }
}

/// The section `.text` of an object that needs no relocation.
fn text(object: &[u8]) -> Vec<u8> {
    use object::read::{Object as _, ObjectSection as _};
    let file = object::File::parse(object).unwrap();
    file.section_by_name(".text").unwrap().data().unwrap().to_vec()
}

#[test]
fn the_global_offset_table_is_that_of_gnu_ld_and_lld() {
    let source = "
        adrp x0, :got:symbol
        ldr  x0, [x0, :got_lo12:symbol]
        ldr  x1, :got:symbol
        .global inside
        inside: ret
    ";
    // One symbol at a time, since every linker has an order of its own.
    for symbol in ["inside", "outside"] {
        let symbols = [("outside".to_string(), 0xffff_8000_2345_6780)];
        // The load of the last line reaches 1 MiB.
        let addresses = loader::Segments { read: ADDRESSES.execute + 0x8_0000, ..ADDRESSES };
        // GNU ld has nothing for this one: it reckons from an entry of its own at the start of the table.
        let page = format!("ldr x2, [x2, :gotpage_lo15:{symbol}]");
        for (linker, source, start) in [(Linker::Lld, page + source, 0), (Linker::Gnu, source.to_string(), 8)] {
            let object = compile("offset-table.s", &source.replace("symbol", symbol), &[]);
            let module = Module::load_at(&object, addresses, resolver(&symbols)).unwrap();
            assert_eq!(module.figures.offset_table_entries, 1);
            let sections = [(".text", addresses.execute), (".got", addresses.read - start)];
            let sections = sections.map(|(name, address)| (name.to_string(), address));
            let linked = linker.link(&object, &sections, &symbols);
            let text = &linked.sections[".text"];
            assert_eq!(module.memory.execute[..text.len()], *text, "{linker:?} {symbol}");
            assert_eq!(module.memory.read[..module.used.read], linked.sections[".got"][start as usize..]);
        }
    }
}

#[test]
fn each_symbol_has_one_entry_in_the_global_offset_table() {
    let source = "ldr x0, :got:a; ldr x0, :got:b; ldr x0, :got:a; ldr x0, :got:c; ldr x0, :got:b";
    let addresses = loader::Segments { read: ADDRESSES.execute + 0x8_0000, ..ADDRESSES };
    let module = Module::load_at(&compile("shared.s", source, &[]), addresses, |name| Some(name.as_bytes()[0].into()));
    let module = module.unwrap();
    assert_eq!(
        module.memory.read[..module.used.read],
        [b'a', b'b', b'c'].map(|name| u64::from(name).to_le_bytes()).concat()
    );
}

/// The assembler refers to a local symbol as its section and a distance, which no entry of the table could stand for.
#[test]
fn an_entry_of_the_global_offset_table_has_no_addend() {
    let error = Module::load(&compile("local.s", "adrp x0, :got:local\nlocal: ret", &[]), |_| None).unwrap_err();
    let text = "relocation ADR_GOT_PAGE of `.text` at .text+0x0: \
        expected no addend to an entry of the global offset table, found 0x4";
    assert_eq!(error.to_string(), text);
}

/// The rest of the family, which neither linker applies: by AAELF64, "GOT-relative inline relocations" and after.
#[test]
fn distances_in_and_from_the_global_offset_table_are_those_of_the_specification() {
    // The second entry of the table is at distance 8 from its start.
    let second_entry = |number, template: &[u8]| {
        let mut writer = Writer::new();
        writer.relocated(312, LDRX, |_| 0x1111, 0);
        let offset = writer.relocated(number, template, |_| 0x2222, 0) as usize;
        let module = Module::load(&writer.object.write().unwrap(), |name| writer.resolve(name)).unwrap();
        u32::from_le_bytes(module.memory.execute[offset..offset + 4].try_into().unwrap())
    };
    assert_eq!(second_entry(300, MOVN), 0xd280_0101, "MOVW_GOTOFF_G0: movz x1, #8");
    assert_eq!(second_entry(301, MOVK), 0xf280_0101, "MOVW_GOTOFF_G0_NC: movk x1, #8");
    assert_eq!(second_entry(302, MOVZ), 0xd280_0001, "MOVW_GOTOFF_G1: movz x1, #0");
    assert_eq!(second_entry(303, MOVK), 0xf280_0001, "MOVW_GOTOFF_G1_NC: movk x1, #0");
    assert_eq!(second_entry(304, MOVZ), 0xd280_0001, "MOVW_GOTOFF_G2: movz x1, #0");
    assert_eq!(second_entry(305, MOVK), 0xf280_0001, "MOVW_GOTOFF_G2_NC: movk x1, #0");
    assert_eq!(second_entry(306, MOVN), 0xd280_0001, "MOVW_GOTOFF_G3: movz x1, #0");
    assert_eq!(second_entry(310, LDRX), 0xf940_0421, "LD64_GOTOFF_LO15: ldr x1, [x1, #8]");
    assert_eq!(second_entry(313, LDRX), 0xf940_0421, "LD64_GOTPAGE_LO15: ldr x1, [x1, #8]");
    let place = ADDRESSES.execute + 8;
    assert_eq!(second_entry(315, &[0; 4]) as u64, ADDRESSES.read + 8 - place, "GOTPCREL32");

    let from_table = |number, bytes: usize, distance: i64| {
        let mut writer = Writer::new();
        let offset = writer.relocated(number, &vec![0; bytes], |_| ADDRESSES.read.wrapping_add_signed(distance), 0);
        let module = Module::load(&writer.object.write().unwrap(), |name| writer.resolve(name))?;
        Ok::<_, Error>(module.memory.execute[offset as usize..][..bytes].to_vec())
    };
    for distance in [i64::MIN, i32::MIN as i64 - 1, i32::MIN as i64, -1, 0, 1, i32::MAX as i64, i32::MAX as i64 + 1] {
        assert_eq!(from_table(307, 8, distance).unwrap(), distance.to_le_bytes(), "GOTREL64");
        match i32::try_from(distance) {
            Ok(distance) => assert_eq!(from_table(308, 4, distance.into()).unwrap(), distance.to_le_bytes()),
            Err(_) => assert!(matches!(from_table(308, 4, distance), Err(Error::Overflow { .. }))),
        }
    }
}
