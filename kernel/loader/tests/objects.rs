//! Objects as compilers and assemblers make them: what is loaded, where, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{ADDRESSES, Linker, Module, compile};
use loader::{Layout, Object, Workarounds, function_at};

const DRIVER: &str = include_str!("driver.c");

/// What the kernel exports in these tests, all of it near enough for a branch.
const EXPORTS: [&str; 5] = ["printk", "allocate", "names", "devices", "missing"];

fn resolve(name: &str) -> Option<u64> {
    let number = EXPORTS.iter().position(|&found| found == name)?;
    Some(0xffff_8000_1200_0000 + 0x1010 * number as u64)
}

/// Links an object as [`common::linked_alike`] does, with those exports that `choose` leaves.
fn linked_alike(object: &[u8], linkers: &[Linker], choose: impl Fn(&str) -> bool) -> Module {
    let chosen = EXPORTS.iter().filter(|name| choose(name));
    let symbols = chosen.filter_map(|&name| Some((name.to_string(), resolve(name)?))).collect::<Vec<_>>();
    common::linked_alike(object, linkers, &symbols)
}

#[test]
fn a_driver_in_c_is_linked_as_gnu_ld_and_lld_link_it() {
    for options in [
        &["-O0", "-fno-pic", "-fno-asynchronous-unwind-tables"][..],
        &["-O1", "-fno-pic"],
        &["-O2", "-fno-pic"],
        &["-O3", "-fno-pic", "-ffunction-sections", "-fdata-sections"],
        &["-Os", "-fpic"],
        &["-O2", "-fPIC"],
        &["-O2", "-fno-pic", "-mcmodel=large", "-mbranch-protection=standard"],
    ] {
        println!("{options:?}");
        let object = compile("driver.c", DRIVER, options);
        let module = linked_alike(&object, &[Linker::Lld, Linker::Gnu], |_| true);
        let names = module.symbols.keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(names, ["LOCKSTEP_MODULE", "bytes", "pointer", "ratio", "work"]);
        assert_eq!(module.symbols["bytes"] % 64, 0);
    }
}

#[test]
fn a_call_of_a_missing_weak_function_goes_on_to_the_next_instruction() {
    let object = compile("driver.c", DRIVER, &["-O2", "-fno-pic"]);
    // GNU ld writes a NOP where lld writes a branch to the next instruction.
    linked_alike(&object, &[Linker::Lld], |name| name != "missing");
}

#[test]
fn a_missing_symbol_is_named() {
    let object = compile("driver.c", DRIVER, &["-O2", "-fno-pic"]);
    let error = Module::load(&object, |name| resolve(name).filter(|_| name != "allocate")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module needs the symbol `allocate`, which neither the kernel exports nor a module that it depends on"
    );
}

#[test]
fn each_symbol_is_asked_for_once() {
    let asked = std::cell::RefCell::new(Vec::new());
    let object = compile("driver.c", DRIVER, &["-O0", "-fno-pic"]);
    let module = Module::load(&object, |name| {
        asked.borrow_mut().push(name.to_string());
        resolve(name)
    });
    let mut asked = asked.into_inner();
    asked.sort();
    assert_eq!(asked, ["allocate", "devices", "missing", "names", "printk"]);
    assert_eq!(module.unwrap().figures.imports, 5);
}

#[test]
fn a_backtrace_finds_the_function_at_each_of_its_instructions() {
    let source = ".text\n nop\n.type first, %function\nfirst: nop\n nop\n.size first, . - first\n nop\n\
                  .section .text.b, \"ax\"\n.global second\n.type second, %function\nsecond: ret\n.size second, . - second\n";
    let object = compile("functions.s", source, &[]);
    let object = Object::parse(&object).unwrap();
    let layout = Layout::new(&object, Workarounds::default()).unwrap();
    let found: Vec<_> = (0..20).step_by(4).map(|offset| function_at(&object, &layout, offset)).collect();
    assert_eq!(found, [None, Some(("first", 0)), Some(("first", 4)), None, Some(("second", 0))]);
    assert_eq!(function_at(&object, &layout, 1 << 30), None);
}

#[test]
fn initializers_run_by_number_and_those_without_last() {
    let object = compile("driver.c", DRIVER, &["-O0", "-fno-pic"]);
    let module = Module::load(&object, resolve).unwrap();
    // The first instructions of each load the address of its message; the messages tell them apart.
    let listing = module.initializers.iter().map(|&address| function_message(&module, address)).collect::<Vec<_>>();
    assert_eq!(listing, ["first\n", "second\n", "start\n"]);
}

/// The string that a function compiled without optimization prints first: what its first ADRP and ADD point to.
fn function_message(module: &Module, function: u64) -> String {
    let word = |address| u32::from_le_bytes(module.bytes(address, 4).try_into().unwrap());
    let place = (function..).step_by(4).find(|&place| word(place) & 0x9f00_0000 == 0x9000_0000).unwrap();
    let (adrp, add) = (word(place), word(place + 4));
    let pages = u64::from(adrp >> 29 & 3 | (adrp >> 5 & 0x7_ffff) << 2);
    let mut address = (place & !0xfff) + (pages << 12) + u64::from(add >> 10 & 0xfff);
    let mut text = String::new();
    while module.bytes(address, 1) != [0] {
        text.push(module.bytes(address, 1)[0].into());
        address += 1;
    }
    text
}

#[test]
fn sections_are_placed_by_permission_and_alignment() {
    let object = compile(
        "sections.s",
        "
            .text; ret
            .section .text.other, \"ax\"; .align 6; other: ret
            .section .rodata, \"a\"; .byte 1
            .section .rodata.wide, \"a\"; .align 12; .byte 2
            .section .data, \"aw\"; .byte 3
            .section .data.rel.ro, \"aw\"; .8byte other
            .section .data.rel.ro.local, \"aw\"; .8byte other
            .section .init_array, \"aw\", %init_array; .8byte other
            .section .empty, \"a\"
            .section .note.mine, \"a\", %note; .4byte 4
            .bss; .skip 5
            .section .modinfo, \"a\"; .asciz \"name=sections\"
            .section .llvmbc, \"e\"; .byte 6
            .section .debug_info; .8byte other
        ",
        &[],
    );
    let module = Module::load(&object, |_| None).unwrap();
    let place = |name: &str| {
        let (_, address, size) = module.sections.iter().find(|(found, ..)| found == name)?;
        Some((*address, *size))
    };
    let segment = |name| place(name).map(|(address, _)| address & !0x3ff_ffff);
    assert_eq!(segment(".text"), Some(ADDRESSES.execute));
    assert_eq!(place(".text.other"), Some((ADDRESSES.execute + 64, 4)));
    for read in [".rodata", ".rodata.wide", ".data.rel.ro", ".data.rel.ro.local", ".init_array", ".note.mine", ".empty"]
    {
        assert_eq!(segment(read), Some(ADDRESSES.read), "{read}");
    }
    assert_eq!(place(".rodata.wide"), Some((ADDRESSES.read + 4096, 1)));
    assert_eq!((segment(".data"), segment(".bss")), (Some(ADDRESSES.write), Some(ADDRESSES.write)));
    for absent in [".modinfo", ".llvmbc", ".debug_info", ".symtab", ".shstrtab"] {
        assert_eq!(place(absent), None, "{absent}");
    }
    assert_eq!(module.section(".bss").1, [0; 5]);
    assert_eq!(module.initializers, [ADDRESSES.execute + 64]);
    assert_eq!(module.section(".data.rel.ro").1, (ADDRESSES.execute + 64).to_le_bytes());
    // Nothing but the sections' contents: gaps are zeros, whatever was in memory before.
    for (segment, address) in [(&module.memory.execute, ADDRESSES.execute), (&module.memory.read, ADDRESSES.read)] {
        for (offset, &byte) in segment.iter().enumerate() {
            let inside = module
                .sections
                .iter()
                .any(|(_, start, size)| (*start..start + size).contains(&(address + offset as u64)));
            assert!(inside || byte == 0);
        }
    }
}

#[test]
fn common_symbols_get_zeroed_memory_with_their_alignment() {
    let source = "
        .data; .byte 1
        .comm small, 3, 1
        .comm large, 1000, 256
        .comm unused, 8, 8
        .section .rodata, \"a\"; .8byte small, large, large + 8
    ";
    let module = Module::load(&compile("common.s", source, &[]), |_| None).unwrap();
    let addresses: Vec<_> =
        module.section(".rodata").1.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let (small, large) = (module.symbols["small"], module.symbols["large"]);
    assert_eq!(addresses, [small, large, large + 8]);
    assert_eq!(large % 256, 0);
    assert!(small > ADDRESSES.write && (small + 3 <= large || large + 1000 <= small));
    assert_eq!((module.bytes(small, 3), module.bytes(large, 1000)), (&[0; 3][..], &[0; 1000][..]));
}

#[test]
fn unwind_tables_stand_together_and_end_with_a_zero_word() {
    let source = "
        .text; f: .cfi_startproc; ret; .cfi_endproc
        .section .rodata.later, \"a\"; .8byte 1
        .bss; .skip 3
        .section .zeros, \"a\", %nobits; .skip 3
    ";
    let module = Module::load(&compile("unwind.s", source, &[]), |_| None).unwrap();
    let (start, table) = module.section(".eh_frame");
    let end = start + table.len() as u64;
    assert_eq!(module.unwind_tables, start..end + 4);
    assert_eq!(module.bytes(end, 4), [0; 4]);
    // The first record describes the compilation unit; the second, 8 bytes into it, where the function is.
    let first = 4 + u32::from_le_bytes(table[..4].try_into().unwrap()) as usize;
    let distance = i32::from_le_bytes(table[first + 8..][..4].try_into().unwrap());
    assert_eq!((start + first as u64 + 8).wrapping_add_signed(distance.into()), ADDRESSES.execute);

    let none = Module::load(&compile("none.s", "ret", &[]), |_| None).unwrap();
    assert!(none.unwind_tables.is_empty());
}

#[test]
fn absolute_and_local_symbols_have_their_values() {
    let source = "
        .set absolute, 0x123456789a
        .global absolute
        .text; ret; local: ret
        .data; .8byte absolute, local, .text + 4
    ";
    let module = Module::load(&compile("symbols.s", source, &[]), |_| None).unwrap();
    let expected = [0x12_3456_789a, ADDRESSES.execute + 4, ADDRESSES.execute + 4];
    assert_eq!(module.section(".data").1, expected.map(u64::to_le_bytes).concat());
    assert_eq!(module.symbols, [("absolute".to_string(), 0x12_3456_789a)].into());
}

#[test]
fn what_cannot_be_loaded_is_refused_with_the_section_and_the_reason() {
    for (source, expected) in [
        (
            ".section .tdata, \"awT\"; .8byte 1",
            "section `.tdata`: expected no thread-local storage (flag SHF_TLS), found 0x403",
        ),
        (
            ".section .both, \"awx\"; ret",
            "section `.both`: expected not to be writable and executable at once, found 0x7",
        ),
        (".data; .align 22; .byte 1", "section `.data`: expected an alignment of at most 2 MiB, found 0x400000"),
        (
            ".bss; .skip 0x4000000; .data; .byte 1",
            "the module in memory has 67108865 bytes, but at most 67108864 are taken",
        ),
        (
            ".comm huge, 0x7fffffffffffffff, 8",
            "the module in memory has 9223372036854775807 bytes, but at most 67108864 are taken",
        ),
        (
            ".data; .8byte hidden; .section .debug_x; hidden: .byte 1",
            "symbol `.debug_x`: expected to be in a section that is loaded, found 0x3",
        ),
        (
            ".data; .8byte f; .type f, %gnu_indirect_function; .text; f: ret; .global f",
            "symbol `f`: expected no indirect function (type STT_GNU_IFUNC), found 0x1a",
        ),
    ] {
        let error = Module::load(&compile("refused.s", source, &[]), |_| None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = Module::load(&vec![0; loader::LARGEST_OBJECT + 1], |_| None).unwrap_err();
    assert_eq!(error.to_string(), "the object file has 67108865 bytes, but at most 67108864 are taken");
    let other = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let error = Module::load(&other[..1 << 20], |_| None).unwrap_err().to_string();
    assert!(error.starts_with("the ELF header: expected the machine AArch64 (183), found"), "{error}");
    assert_eq!(
        Module::load(b"#!/bin/sh and so on, for as many bytes as an ELF header has, and more", |_| None)
            .unwrap_err()
            .to_string(),
        "the ELF header: expected the magic number 0x7f E L F, found 0x23212f62"
    );
    assert_eq!(
        Module::load(&[], |_| None).unwrap_err().to_string(),
        "the ELF header ends at byte 64, but the object file has only 0 bytes"
    );
}

#[test]
fn a_place_that_does_not_suit_is_refused() {
    let object = compile("place.s", ".text; .align 6; ret", &[]);
    let addresses = loader::Segments { execute: ADDRESSES.execute + 32, ..ADDRESSES };
    let error = Module::load_at(&object, addresses, |_| None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the kernel's place for the module's executable segment should have an address that is a multiple of 0x40, \
         not 0xffff800010000020"
    );
}

#[test]
fn an_object_is_read_at_any_address() {
    let object = compile("driver.c", DRIVER, &["-O2", "-fno-pic"]);
    let expected = Module::load(&object, resolve).unwrap();
    let mut buffer = vec![0; object.len() + 16];
    for start in 0..16 {
        buffer[start..start + object.len()].copy_from_slice(&object);
        assert!(Module::load(&buffer[start..start + object.len()], resolve).unwrap() == expected);
    }
}

#[test]
fn an_object_may_have_more_sections_than_16_bits_can_count() {
    const COUNT: usize = 70_000;
    let source = format!(
        "
            .altmacro
            .macro function number
            .section .text.f\\number, \"ax\"
            f\\number: ret
            .endm
            .set i, 0
            .rept {COUNT}
            function %i
            .set i, i + 1
            .endr
            .data
            .8byte f0, f65279, f65280, f69999
        "
    );
    let module = Module::load(&compile("many.s", &source, &[]), |_| None).unwrap();
    assert_eq!(module.figures.sections, COUNT + 3);
    let expected = [0, 65_279, 65_280, 69_999].map(|number| ADDRESSES.execute + 4 * number);
    assert_eq!(module.section(".data").1, expected.map(u64::to_le_bytes).concat());
}
