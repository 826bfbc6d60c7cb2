//! What the loader adds to a module's code or changes in it, run by QEMU's emulation of Linux programs: veneers, and
//! what stands in for ADRP because of erratum 843419.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Module, Scratch, compile, relocation_tables, run};
use loader::{Segments, Workarounds};

const ON: Workarounds = Workarounds { erratum_843419: true };
const OFF: Workarounds = Workarounds { erratum_843419: false };

/// Where the segments are: data within reach of ADR, and data beyond, on the other side.
const ADDRESSES: Segments<u64> = Segments { execute: 0x1000_0000, read: 0x1008_0000, write: 0xc00_0000 };

/// Beyond the reach of a branch and of ADRP.
const FAR: u64 = 0x8_0000_0000;

/// Runs a module from its first instruction, with `far` assembled at [`FAR`] beside it, for at most 20 s, and gives the exit
/// code unless a signal ended it. All text is guarded: an indirect branch may go to a landing pad only (Arm Architecture Reference
/// Manual, `FEAT_BTI`).
fn execute(module: &Module, far: &str) -> Option<i32> {
    let scratch = Scratch::new();
    let Segments { execute, read, write } = &module.memory;
    let (execute, read, write) =
        (scratch.write("execute", execute), scratch.write("read", read), scratch.write("write", write));
    let source = format!(
        "
            .section .execute, \"ax\"; .incbin \"{}\"
            .section .read, \"a\"; .incbin \"{}\"; .8byte 0
            .section .write, \"aw\"; .incbin \"{}\"; .8byte 0
            .section .far, \"ax\"; {far}; .8byte 0
            // The property that text is guarded (ELF for the Arm 64-bit Architecture, \"Program Property\").
            .section .note.gnu.property, \"a\", %note; .align 3
            .4byte 4, 16, 5; .asciz \"GNU\"; .4byte 0xc0000000, 4, 1, 0
        ",
        execute.display(),
        read.display(),
        write.display()
    );
    let object = scratch.write("program.o", compile("program.s", &source, &["-march=armv8.5-a"]));
    let Segments { execute, read, write } = module.addresses;
    let script = format!(
        "PHDRS {{ x PT_LOAD FLAGS(5); r PT_LOAD FLAGS(4); w PT_LOAD FLAGS(6); f PT_LOAD FLAGS(5); p 0x6474e553; }}
         SECTIONS {{
            .execute {execute:#x} : {{ *(.execute) }} :x
            .read {read:#x} : {{ *(.read) }} :r
            .note.gnu.property : {{ *(.note.gnu.property) }} :r :p
            .write {write:#x} : {{ *(.write) }} :w
            .far {FAR:#x} : {{ *(.far) }} :f
         }}"
    );
    let (script, program) = (scratch.write("script", script), scratch.path("program"));
    let entry = format!("-e{execute:#x}");
    let output = run("aarch64-linux-gnu-ld", &[&"-static", &entry, &"-T", &script, &"-o", &program, &object]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run("timeout", &[&"20", &"qemu-aarch64", &"-cpu", &"max", &program]).status.code()
}

/// The instructions of a module's text and their addresses, as `objdump` reads them.
fn disassemble(module: &Module) -> Vec<(u64, String)> {
    let scratch = Scratch::new();
    let text = scratch.write("text", &module.memory.execute);
    let address = format!("--adjust-vma={:#x}", module.addresses.execute);
    let output = run("aarch64-linux-gnu-objdump", &[&"-D", &"-z", &"-bbinary", &"-maarch64", &address, &text]);
    let listing = String::from_utf8(output.stdout).unwrap();
    let lines = listing.lines().filter_map(|line| {
        let (address, rest) = line.trim().split_once(":\t")?;
        let (_, instruction) = rest.split_once('\t')?;
        Some((u64::from_str_radix(address, 16).ok()?, instruction.replace('\t', " ")))
    });
    lines.collect()
}

/// Where the program of [`pages`] has its ADRP, in bytes from the start of a page.
const PLACES: [u64; 4] = [0xff4, 0xff8, 0xffc, 0x000];

/// A program that takes the addresses of data near, on both sides, and far, and of an entry in the global offset table
/// by an ADRP at each of [`PLACES`], and ends with the number of times that an address is not the one in a literal.
fn pages() -> String {
    let data = "near: .8byte 42\n .data\n .skip 0x12345\n far: .8byte 42\n";
    let start = "mov x19, 0; b 1f; .balign 8; back: .8byte 42; 1:\n";
    let mut source = format!(".section .rodata\n .skip 0x678\n .global near\n {data} .text\n {start}");
    let mut page = 0x1000;
    for (meet, literal) in [
        ("adrp x3, near; add x3, x3, :lo12:near", "near"),
        ("adrp x5, back; add x3, x5, :lo12:back", "back"),
        ("adrp x30, far; add x3, x30, :lo12:far", "far"),
        ("adrp x4, :got:near; ldr x3, [x4, :got_lo12:near]", "near"),
    ] {
        for place in PLACES {
            source += &format!(
                "ldr x1, 1f; b 2f; .balign 8; 1: .8byte {literal}; .org {:#x}
                 2: {meet}; ldr x2, [x3]; cmp x2, 42; ccmp x1, x3, 0, eq; cinc x19, x19, ne\n",
                page + place
            );
            page += 0x2000;
        }
    }
    source + EXIT
}

/// Ends a program with the number in x19.
const EXIT: &str = "mov x0, x19; mov x8, 93; svc 0\n";

/// Loads a program at [`ADDRESSES`].
fn load(workarounds: Workarounds, source: &str) -> Module {
    let object = compile("program.s", source, &["-march=armv8.5-a"]);
    Module::load_for(workarounds, &object, ADDRESSES, |name| (name == "outside").then_some(FAR)).unwrap()
}

#[test]
fn addresses_taken_at_the_end_of_a_page_are_right_with_the_workaround_and_without() {
    let (with, without) = (load(ON, &pages()), load(OFF, &pages()));
    // Two places of each four; those of far data by a veneer.
    assert_eq!((with.figures.erratum_fixes, without.figures.erratum_fixes), (8, 0));
    assert_eq!((with.used.execute - without.used.execute) % 20, 0);
    for module in [&with, &without] {
        assert_eq!(execute(module, ""), Some(0));
    }
    // The program can tell: a bit of the address in what stands in for an ADRP.
    let (original, replaced) = (&without.memory.execute, &with.memory.execute);
    let differ =
        |place: &usize| original[*place..].iter().zip(&replaced[*place..]).take(4).any(|(old, new)| old != new);
    let places: Vec<_> = (0..original.len()).step_by(4).filter(differ).collect();
    assert_eq!(places.len(), 8);
    for place in places {
        let mut broken = with.clone();
        broken.memory.execute[place] ^= 0x20;
        assert_ne!(execute(&broken, ""), Some(0));
    }
}

#[test]
fn text_for_a_processor_with_the_erratum_begins_a_page() {
    let object = compile("text.s", "ret", &[]);
    let load =
        |workarounds, execute| Module::load_for(workarounds, &object, Segments { execute, ..ADDRESSES }, |_| None);
    assert!(load(OFF, 0x1000_0ffc).is_ok() && load(ON, 0x1000_1000).is_ok());
    let error = load(ON, 0x1000_0ffc).unwrap_err().to_string();
    assert!(error.ends_with("should have an address that is a multiple of 0x1000, not 0x10000ffc"), "{error}");
}

#[test]
fn no_adrp_stays_in_the_last_two_words_of_a_page() {
    let instructions = |workarounds| {
        let listing = disassemble(&load(workarounds, &pages()));
        let end = |address: u64| address % 0x1000 >= 0xff8;
        let places = listing.into_iter().filter(|&(address, _)| PLACES.contains(&(address % 0x1000)));
        let kinds = places.map(|(address, text)| (end(address), text.split(' ').next().unwrap().to_string()));
        let mut kinds: Vec<_> = kinds.filter(|(_, kind)| ["adrp", "adr", "b"].contains(&&**kind)).collect();
        kinds.sort();
        kinds
    };
    let all = |count: usize, end, kind: &str| vec![(end, kind.to_string()); count];
    assert_eq!(instructions(OFF), [all(8, false, "adrp"), all(8, true, "adrp")].concat());
    assert_eq!(instructions(ON), [all(8, false, "adrp"), all(6, true, "adr"), all(2, true, "b")].concat());
}

#[test]
fn veneers_are_entered_and_left_legally_where_text_is_guarded() {
    let source = format!(
        "
            mov x19, 0
            bl outside
            bl outside + 12
            adr x1, distance; ldrsw x2, [x1, 8]; add x1, x1, x2; blr x1
            bl jump
            {EXIT}
            jump: b outside + 12
            distance: .8byte 0; .4byte outside - distance
        "
    );
    let mut object = compile("program.s", &source, &[]);
    function_distances(&mut object);
    let module = Module::load_for(OFF, &object, ADDRESSES, |_| Some(FAR)).unwrap();
    assert_eq!(module.figures.veneers, 2);
    let far = "bti c; add x19, x19, 1; ret; bti c; add x19, x19, 16; ret";
    assert_eq!(execute(&module, far), Some(34));
    // The guard is there: no branch that a veneer makes may go to anything but a landing pad.
    assert_eq!(execute(&module, &far.replace("bti c", "nop")), None);
}

/// Turns the distances to data in an object (PREL32) into distances to functions (PLT32), which no assembler here writes.
fn function_distances(object: &mut [u8]) {
    for (_, table) in relocation_tables(object) {
        for entry in object[table].chunks_exact_mut(24).filter(|entry| entry[8..12] == 261_u32.to_le_bytes()) {
            entry[8..12].copy_from_slice(&314_u32.to_le_bytes());
        }
    }
}
