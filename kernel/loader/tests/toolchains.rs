//! Objects of other tools than one compiler by itself: merged by linkers, with groups, merged strings and weak symbols,
//! and with section addresses that mean nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{ADDRESSES, Linker, Module, compile, compile_with, linked_alike, relocation_tables};
use loader::{Layout, Object, Workarounds, function_at};

const DRIVER: &str = include_str!("driver.c");

/// What a driver needs and has, in another file: strings that are there too, and more constructors.
const LIBRARY: &str = "
    static int count;
    const char *const names[] = { \"driver\", \"zero %s\\n\", \"device %d\\n\" };
    struct device { int number; char state; long long counter; } devices[4] = { { 1, 2, 3 } };
    extern void trace(const char *);
    extern const struct { void *probe; } LOCKSTEP_MODULE;
    int printk(const char *format, ...) { trace(format); return ++count + (LOCKSTEP_MODULE.probe != 0); }
    void *allocate(unsigned long size) { return size ? &devices[size & 3] : 0; }
    __attribute__((constructor(150))) static void between(void) { trace(\"between\"); }
    __attribute__((constructor)) static void last(void) { trace(\"last\"); }
    __attribute__((destructor)) static void stop(void) { trace(\"stop\"); }
";

/// What the tests have outside of every module.
fn outside() -> [(String, u64); 2] {
    [("trace", 0xffff_8000_1200_0000), ("missing", 0xffff_8000_1200_1010)].map(|(name, at)| (name.to_string(), at))
}

#[test]
fn objects_merged_by_gnu_ld_and_by_lld_are_linked_as_both_link_them() {
    for options in [&["-O2", "-fno-pic"][..], &["-Os", "-fPIC", "-ffunction-sections", "-fdata-sections", "-g"]] {
        let objects = [compile("driver.c", DRIVER, options), compile("library.c", LIBRARY, options)];
        for merging in [Linker::Gnu, Linker::Lld] {
            println!("{options:?} {merging:?}");
            let object = merging.merge(&objects, &[]);
            let module = linked_alike(&object, &[Linker::Lld, Linker::Gnu], &outside());
            assert_eq!(module.figures.imports, 2);
            assert!(["work", "printk", "allocate", "devices"].iter().all(|name| module.symbols.contains_key(*name)));
            // Those with a number first: 101 and 200 of the driver, 150 of the library; the destructor isn't one.
            let object = Object::parse(&object).unwrap();
            let layout = Layout::new(&object, Workarounds::default()).unwrap();
            let offsets = module.initializers.iter().map(|address| address - ADDRESSES.execute);
            let names: Vec<_> = offsets.map(|offset| function_at(&object, &layout, offset as usize).unwrap()).collect();
            assert_eq!(names, ["first", "between", "second", "start", "last"].map(|name| (name, 0)));
        }
    }
}

#[test]
fn c_by_clang_is_linked_as_gnu_ld_and_lld_link_it_where_there_is_a_clang() {
    let there_is = |compiler: &&str| std::process::Command::new(compiler).arg("--version").output().is_ok();
    let Some(clang) = ["clang", "clang-19"].into_iter().find(there_is) else {
        println!("there is no clang");
        return;
    };
    for options in
        [&["-O0"][..], &["-O2"], &["-Os", "-fPIC", "-ffunction-sections"], &["-O3", "-fno-pic", "-mcmodel=large"]]
    {
        println!("{options:?}");
        let options = [&["--target=aarch64-linux-gnu", "-ffreestanding"], options].concat();
        let objects = [(DRIVER, "driver.c"), (LIBRARY, "library.c")];
        let objects = objects.map(|(source, name)| compile_with(clang, name, source, &options));
        let module = linked_alike(&Linker::Lld.merge(&objects, &[]), &[Linker::Lld, Linker::Gnu], &outside());
        assert_eq!(module.initializers.len(), 5);
    }
}

#[test]
fn addresses_of_sections_in_an_object_mean_nothing() {
    let object = compile("driver.c", DRIVER, &["-O2", "-fno-pic"]);
    let load = |object: &[u8]| Module::load(object, |_| Some(0xffff_8000_1200_0000)).unwrap();
    let expected = load(&object);
    let headers = u64::from_le_bytes(object[40..48].try_into().unwrap()) as usize;
    for address in [0x1000_u64, u64::MAX, 0x5555_5555_5555_5555] {
        let mut placed = object.clone();
        for header in placed[headers..].chunks_exact_mut(64) {
            header[16..24].copy_from_slice(&address.to_le_bytes());
        }
        assert!(load(&placed) == expected, "{address:#x}");
    }
    // As a linker leaves them: two sections at one address.
    let merged = Linker::Gnu.merge(&[object], &["-Ttext=0x4000", "-Tdata=0x4000"]);
    let outside =
        ["printk", "allocate", "names", "devices", "missing"].map(|name| (name.into(), 0xffff_8000_1200_0000));
    linked_alike(&merged, &[Linker::Lld, Linker::Gnu], &outside);
}

#[test]
fn strings_that_may_be_merged_are_loaded_as_they_are() {
    let source = "
        .section .rodata.str1.1, \"aMS\", %progbits, 1
        first: .asciz \"shared\"
        .section .rodata.cst8, \"aM\", %progbits, 8
        number: .8byte 42
        .section .rodata.other.str1.1, \"aMS\", %progbits, 1
        second: .asciz \"shared\"
        .data
        .8byte first, second, number, first + 3
    ";
    let object = Linker::Lld.merge(&[compile("strings.s", source, &[])], &[]);
    let module = linked_alike(&object, &[], &[]);
    let addresses: Vec<_> =
        module.section(".data").1.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
    let text = |address, size| module.bytes(address, size);
    assert_eq!((text(addresses[0], 7), text(addresses[1], 7)), (&b"shared\0"[..], &b"shared\0"[..]));
    assert_eq!((text(addresses[2], 8), text(addresses[3], 4)), (&42_u64.to_le_bytes()[..], &b"red\0"[..]));
}

#[test]
fn groups_are_loaded_and_their_weak_definitions_count_before_those_outside() {
    let source = "
        .macro inline name
        .section .text.\\name, \"axG\", %progbits, \\name, comdat
        .weak \\name
        .type \\name, %function
        \\name: ret
        .size \\name, . - \\name
        .endm
        inline first
        inline second
        .text
        .global caller
        caller: bl first; bl second; bl third; ret
        .hidden internal
        .global internal
        internal: ret
        .protected shown
        .global shown
        shown: ret
    ";
    let object = compile("groups.s", source, &[]);
    // Two files with the same groups: a linker keeps one of each.
    let other = compile(
        "others.s",
        &source.replace("caller", "another").replace("internal", "inner").replace("shown", "seen"),
        &[],
    );
    for object in [
        object.clone(),
        Linker::Gnu.merge(&[object.clone(), other.clone()], &[]),
        Linker::Lld.merge(&[object, other], &[]),
    ] {
        let outside = ["third", "first"].map(|name| (name.to_string(), 0xffff_8000_1200_0000));
        let module = Module::load(&object, common::resolver(&outside)).unwrap();
        assert_eq!(module.figures.imports, 1);
        let caller = module.symbols["caller"];
        let call = u32::from_le_bytes(module.bytes(caller, 4).try_into().unwrap());
        // The field counts words and has 26 bits with the sign.
        let distance = i64::from((call << 6).cast_signed() >> 4);
        assert_eq!(caller.wrapping_add_signed(distance), module.symbols["first"]);
        let mut weak: Vec<_> = module.weak.iter().map(String::as_str).collect();
        weak.sort();
        assert_eq!(weak, ["first", "second"]);
        assert!(module.symbols.contains_key("shown") && !module.symbols.contains_key("internal"));
    }
}

#[test]
fn empty_sections_and_wide_alignments_keep_their_places() {
    let source = "
        .text; ret
        .section .rodata.none, \"a\"; .align 5; nothing:
        .section .rodata.wide, \"a\"; .align 21; wide: .byte 1
        .section .data.none, \"aw\"; .align 21; void:
        .section .rodata.after, \"a\"; .8byte nothing, wide, void
    ";
    let object = compile("empty.s", source, &[]);
    let module = Module::load(&object, |_| None).unwrap();
    let [nothing, wide, void] = module.section(".rodata.after").1.as_chunks().0 else { panic!("three addresses") };
    let [nothing, wide, void] = [nothing, wide, void].map(|&bytes| u64::from_le_bytes(bytes));
    assert_eq!((nothing % 32, wide % (2 << 20), void % (2 << 20)), (0, 0, 0));
    assert_eq!((module.bytes(wide, 1), void), (&[1][..], ADDRESSES.write));
    // A linker at the same places agrees.
    linked_alike(&object, &[Linker::Lld, Linker::Gnu], &[]);
    // A relocation behind the end of an empty section has no place.
    let mut broken = object;
    let (_, table) = relocation_tables(&broken).remove(0);
    broken[table][..8].copy_from_slice(&24_u64.to_le_bytes());
    assert!(Module::load(&broken, |_| None).unwrap_err().to_string().contains("an offset inside its section"));
}
