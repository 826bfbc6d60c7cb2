//! What is refused and how, and what the loader makes beside the object's own bytes: veneers and the global offset
//! table. That the bytes are right is in `comparison.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{ADDRESSES, Linker, Module, compile, resolver, writer::Writer};
use loader::{Error, Layout, Object, Segments, Workarounds};

/// Instructions that have the fields that are relocated.
const MOVZ: &[u8] = &0xd280_0001_u32.to_le_bytes();
const MOVN: &[u8] = &0x9280_0001_u32.to_le_bytes();
const MOVK: &[u8] = &0xf280_0001_u32.to_le_bytes();
const LDRX: &[u8] = &0xf940_0021_u32.to_le_bytes();
const TBZ: &[u8] = &0x3600_0001_u32.to_le_bytes();
const CBZ: &[u8] = &0xb400_0001_u32.to_le_bytes();
const B: &[u8] = &0x1400_0000_u32.to_le_bytes();
const BL: &[u8] = &0x9400_0000_u32.to_le_bytes();

#[test]
fn a_misaligned_branch_is_refused() {
    for (name, number, template) in
        [("JUMP26", 282, B), ("CALL26", 283, BL), ("TSTBR14", 279, TBZ), ("CONDBR19", 280, CBZ)]
    {
        for value in [-6, -3, -1, 1, 2, 3, 5] {
            let mut writer = Writer::new();
            writer.relocated(number, template, |offset| (ADDRESSES.execute + offset).wrapping_add_signed(value));
            let error = Module::load(&writer.write(), |name| writer.resolve(name)).unwrap_err();
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
    writer.relocated(280, CBZ, |_| ADDRESSES.execute);
    writer.relocated(280, CBZ, |offset| ADDRESSES.execute + offset - (1 << 20) - 4);
    let error = Module::load(&writer.write(), |name| writer.resolve(name)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "relocation CONDBR19 of `external1` at .text+0x8 does not fit: its value -1048580 is outside -1048576..=1048575"
    );
}

#[test]
fn what_is_not_applied_is_refused_by_name_or_number() {
    let refusal = |number, offset| {
        let mut writer = Writer::new();
        writer.relocated(number, &[0; 8], |_| 0);
        let mut object = writer.write();
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
        (594, "number 594 of `external0` at .text+0x0 cannot be applied: modules have no signed pointers"),
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
    let (far, farther) = (0x0123_4567_89ab_cde8, 0xffff_ffff_ffff_fffc);
    // The last two meet the same addresses by other ways: an addend, and a symbol that is there too.
    let object = compile("branches.s", "b far; bl far; bl farther; b far + 4; b near; bl far + 4; b same", &[]);
    let module = Module::load(&object, |name| match name {
        "far" | "same" => Some(far),
        "farther" => Some(farther),
        _ => Some(ADDRESSES.execute + (128 << 20)),
    });
    let module = module.unwrap();
    assert_eq!((module.figures.veneers, module.figures.imports), (3, 4));

    // What the assembler makes of the same, with the veneers written out.
    let veneer = |target: u64| {
        let [a, b, c, d] = [0, 16, 32, 48].map(|shift| target >> shift & 0xffff);
        format!("bti c; movz x16, {a}; movk x16, {b}, lsl 16; movk x16, {c}, lsl 32; movk x16, {d}, lsl 48; br x16")
    };
    let source = format!(
        "0: b 1f; bl 1f; bl 2f; b 3f; b 0b + 0x8000000; bl 3f; b 1f\n1: {}\n2: {}\n3: {}\n",
        veneer(far),
        veneer(farther),
        veneer(far + 4)
    );
    let expected = text(&compile("expected.s", &source, &["-march=armv8.5-a"]));
    assert_eq!(module.used.execute, expected.len());
    assert_eq!(module.memory.execute[..expected.len()], expected);
    assert!(module.memory.execute[expected.len()..].iter().all(|&byte| byte == 0), "unused room is cleared");
}

/// Tables of functions by distance from their start have an addend in each relocation, which is not the function's.
#[test]
fn the_distance_to_a_far_function_is_that_of_its_veneer_whatever_the_addend() {
    const PLT32: u32 = 314;
    let mut writer = Writer::new();
    let function = writer.external(0x1000);
    let offsets = [0, 8, -16].map(|addend| {
        let offset = writer.append(&[0; 4]);
        writer.relocate(offset, PLT32, function, addend);
        (offset, addend)
    });
    let module = Module::load(&writer.write(), |name| writer.resolve(name)).unwrap();
    assert_eq!(module.figures.veneers, 1);
    for (offset, addend) in offsets {
        let distance = i32::from_le_bytes(module.memory.execute[offset as usize..][..4].try_into().unwrap());
        // The veneer stands behind three places of eight bytes, the last of them half used.
        assert_eq!(offset as i64 + i64::from(distance) - addend, 20);
    }
}

#[test]
fn a_veneer_is_not_made_for_what_it_cannot_serve() {
    for source in ["b far + 2", "cbz x0, far", "tbz x0, 1, far", "ldr x0, far"] {
        let error = Module::load(&compile("branch.s", source, &[]), |_| Some(0x1000)).unwrap_err().to_string();
        assert!(error.contains("of `far` at .text+0x0 does not fit: its value 1407"), "{error}");
    }
}

#[test]
fn room_is_reserved_for_what_relocations_may_need_and_for_nothing_else() {
    let size = |source: &str| {
        let object = compile("room.s", source, &[]);
        let layout = Layout::new(&Object::parse(&object).unwrap(), Workarounds::default()).unwrap();
        layout.segments().map(|segment| segment.size)
    };
    let sizes = |execute, read| Segments { execute, read, write: 0 };
    assert_eq!(size("bl a; bl a; b a; bl inside; .global inside; inside: ret"), sizes(20 + 24, 0));
    assert_eq!(size("bl a; bl b; bl a + 4; bl a + 4; ldr x0, c"), sizes(20 + 4 * 24, 0));
    assert_eq!(size("ldr x0, :got:a; ldr x0, :got:b; ldr x0, :got:a; adr x0, c"), sizes(16, 2 * 8));
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
        let addresses = Segments { read: ADDRESSES.execute + 0x8_0000, ..ADDRESSES };
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
    let addresses = Segments { read: ADDRESSES.execute + 0x8_0000, ..ADDRESSES };
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
        writer.relocated(312, LDRX, |_| 0x1111);
        let offset = writer.relocated(number, template, |_| 0x2222) as usize;
        let module = Module::load(&writer.write(), |name| writer.resolve(name)).unwrap();
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
        let offset = writer.relocated(number, &vec![0; bytes], |_| ADDRESSES.read.wrapping_add_signed(distance));
        let module = Module::load(&writer.write(), |name| writer.resolve(name))?;
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
