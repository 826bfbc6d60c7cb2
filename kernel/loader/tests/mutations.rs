//! No sequence of bytes makes the loader panic, hang or allocate without bound: prefixes and mutations of real objects.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout as Request, System},
    cell::Cell,
};

use common::{ADDRESSES, Module, compile};
use fastrand::Rng;
use loader::{Error, Layout, Object, Place, Segments, Workarounds, link, modinfo::ModuleInformation};

/// The system's allocator, which also counts what each thread has taken and not given back.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every request goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, request: Request) -> *mut u8 {
        let held = HELD.get() + request.size() as isize;
        HELD.set(held);
        MOST.set(MOST.get().max(held));
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(request) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, request: Request) {
        HELD.set(HELD.get() - request.size() as isize);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.dealloc(pointer, request) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What errors and the closures of the test may allocate beyond the bound.
const SLACK: usize = 64 << 10;

/// Loads `object` in every way there is, and checks how much memory that took: the bound in the crate's documentation.
fn exercise(object: &[u8], erratum_843419: bool, memory: &mut Segments<Vec<u8>>) -> Result<(), Error> {
    let before = HELD.get();
    MOST.set(before);
    let result = load(object, erratum_843419, memory);
    let took = (MOST.get() - before) as usize;
    assert!(took <= 3 * object.len() + SLACK, "{took} bytes for an object of {}", object.len());
    result
}

fn load(object: &[u8], erratum_843419: bool, memory: &mut Segments<Vec<u8>>) -> Result<(), Error> {
    let object = Object::parse(object)?;
    if let Ok(information) = ModuleInformation::of(&object) {
        let _ = information.value("name");
    }
    let layout = Layout::new(&object, Workarounds { erratum_843419 })?;
    let Segments { execute, read, write } = memory.as_mut();
    let places = Segments {
        execute: Place { address: ADDRESSES.execute, bytes: execute },
        read: Place { address: ADDRESSES.read, bytes: read },
        write: Place { address: ADDRESSES.write, bytes: write },
    };
    let resolve = |name: &str| match name {
        "far1" | "far22" => Some(u64::MAX - 3),
        "printk" | "allocate" | "names" | "devices" => Some(ADDRESSES.execute + 0x10_0000),
        _ => None,
    };
    let linked = link(&object, &layout, places, &resolve)?;
    let _ = (linked.symbol("LOCKSTEP_MODULE"), linked.symbols().count(), linked.sections().count());
    let _ = (linked.unwind_tables(), linked.used(), linked.initializers().len());
    Ok(())
}

fn memory() -> Segments<Vec<u8>> {
    Segments { execute: vec![0; 1 << 14], read: vec![0; 1 << 14], write: vec![0; 1 << 14] }
}

/// Objects with everything that the loader knows.
fn objects() -> Vec<Vec<u8>> {
    let driver = include_str!("driver.c");
    let assembly = "
        .text
        f: .cfi_startproc
        bl far1; b far22; adrp x0, :got:far1; ldr x0, [x0, :got_lo12:far1]; ret
        .cfi_endproc
        .section .init_array, \"aw\"; .8byte f
        .section .data.rel.ro, \"aw\"; .8byte f, far1
        .comm common, 100, 64
        .weak nowhere1234
        .data; .8byte nowhere1234, _GLOBAL_OFFSET_TABLE_; .4byte f - .; .2byte 1
        .bss; .skip 100
        .section .modinfo, \"a\"; .asciz \"name=mutant\"; .asciz \"compatible=arm,pl031\"
        .global LOCKSTEP_MODULE; .set LOCKSTEP_MODULE, f
        .section .text.pages, \"ax\"; .align 12; .skip 0xff8; adrp x1, f; adrp x2, common
        .section .text.group, \"axG\", %progbits, group, comdat; .global group; group: ret
    ";
    vec![
        compile("driver.c", driver, &["-O2", "-fno-pic"]),
        compile("driver.c", driver, &["-O0", "-fPIC", "-ffunction-sections", "-fdata-sections", "-g"]),
        compile("everything.s", assembly, &[]),
    ]
}

#[test]
fn every_prefix_is_refused_or_loaded() {
    let mut memory = memory();
    for object in objects() {
        for length in 0..object.len() {
            let result = exercise(&object[..length], true, &mut memory);
            assert!(result.is_err(), "the section headers stand last");
        }
        exercise(&object, true, &mut memory).unwrap();
    }
}

#[test]
fn a_hundred_thousand_mutations_are_refused_or_loaded() {
    mutate(100_000);
}

/// The same for longer: `cargo test -p loader --release --test mutations -- --ignored`.
#[test]
#[ignore = "takes a minute"]
fn two_million_mutations_are_refused_or_loaded() {
    mutate(2_000_000);
}

fn mutate(rounds: usize) {
    let mut random = Rng::with_seed(0x10c5_7e90);
    let objects = objects();
    // Where the tables are: a change there is worth more than one in the code.
    let tables: Vec<_> = objects.iter().map(|object| tables(object)).collect();
    let mut memory = memory();
    let mut loaded = 0;
    let mut object = Vec::new();
    for _ in 0..rounds {
        let which = random.usize(..objects.len());
        object.clone_from(&objects[which]);
        for _ in 0..random.usize(1..4) {
            let place = match random.u8(..4) {
                0 => random.usize(..object.len()),
                1 => random.usize(..64),
                _ => {
                    let (start, size) = *random.choice(&tables[which]).unwrap();
                    start + random.usize(..size)
                }
            };
            let width = random.choice([1, 2, 4, 8]).unwrap();
            let place = (place & !(width - 1)).min(object.len() - width);
            let old = object[place..].iter().take(8).rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
            let value = match random.u8(..6) {
                0 => random.u64(..),
                1 => old ^ 1 << random.usize(..8 * width),
                2 => old.wrapping_add(random.choice([1, u64::MAX, 8, 24, 4096]).unwrap()),
                3 => {
                    let edges = [0, 1, u64::MAX, i64::MAX as u64, object.len() as u64, 0x7fff_ffff, 0xfff1, 0xfff2];
                    random.choice(edges).unwrap()
                }
                4 => random.u64(..64),
                _ => random.u64(..1200),
            };
            object[place..place + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        if random.u8(..16) == 0 {
            object.truncate(random.usize(..object.len()));
        }
        loaded += usize::from(exercise(&object, random.bool(), &mut memory).is_ok());
    }
    println!("{loaded} of {rounds} mutants were loaded");
    assert!(loaded > rounds / 100 && loaded < rounds - rounds / 10, "mutants are worth something");
}

/// The places and sizes of the section headers, the symbol table and the relocations.
fn tables(bytes: &[u8]) -> Vec<(usize, usize)> {
    let headers = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    let mut tables = vec![(headers, bytes.len() - headers); 3];
    tables.extend(common::relocation_tables(bytes).into_iter().map(|(_, table)| (table.start, table.len())));
    let symbols = bytes[headers..].chunks_exact(64).find(|header| header[4] == 2).unwrap();
    let field = |at: usize| u64::from_le_bytes(symbols[at..at + 8].try_into().unwrap()) as usize;
    tables.extend([(field(24), field(32)); 5]);
    tables
}

#[test]
fn an_object_of_nothing_but_one_thing_stays_within_the_bound() {
    let many = |line: fn(usize) -> String| (0..17_000).map(line).collect::<String>();
    let mut memory = Segments { execute: vec![0; 1 << 20], read: vec![0; 1 << 20], write: vec![0; 1 << 20] };
    for source in [
        many(|number| format!(".comm c{number}, 1, 1\n")),
        many(|number| format!("bl far1 - 4 * {number}\n")),
        format!(".section .init_array, \"aw\"\n{}", many(|_| ".8byte 0\n".into())),
        many(|number| format!(".section s{number}, \"a\"\n")),
    ] {
        exercise(&compile("many.s", &source, &[]), true, &mut memory).unwrap();
    }
}

/// One name and one table, used by a hundred thousand: time would be their product.
#[test]
fn sections_that_share_bytes_and_endless_names_are_refused() {
    let source = "
        .section .rodata, \"a\"; .fill 100000, 1, 0
        .section .modinfo, \"a\"; .fill 10, 1, 0x61
        .data; .fill 1000, 8, 0
    ";
    let mut object = compile("shared.s", source, &[]);
    let headers = u64::from_le_bytes(object[40..48].try_into().unwrap()) as usize;
    let header = |number: usize| headers + 64 * number;
    let large = (1..).find(|&number| object[header(number) + 32..][..4] == 100_000_u32.to_le_bytes()).unwrap();
    object.copy_within(header(large)..header(large + 1), header(large + 1));
    let error = Module::load(&object, |_| None).unwrap_err().to_string();
    assert!(error.contains(": expected to share no bytes with other sections, found "), "{error}");

    let name = "a".repeat(loader::LARGEST_NAME - 1);
    let load = |name: &str| Module::load(&compile("name.s", &format!(".8byte {name}"), &[]), |_| Some(0));
    assert_eq!(load(&name).unwrap().figures.imports, 1);
    let error = load(&(name + "a")).unwrap_err().to_string();
    assert!(error.ends_with("a`: expected a name of less than 16 KiB, found 0x10"), "{error}");
}
