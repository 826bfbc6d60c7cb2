//! Modules that can't be loaded: each is refused with a sentence that names the file and the reason, and costs nothing
//! but itself. The broken objects are the clock's, with one thing changed.

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol};
use tests::{Initramfs, PROMPT, READY};

use crate::{plain, replaced};

/// Relocation types that can't be applied (ELF for the Arm 64-bit Architecture, section 5.7).
const TLSLE_ADD_TPREL_LO12: u32 = 550;
const NONEXISTENT: u32 = 1999;

/// An object with another byte at an offset.
fn with_byte(object: &[u8], offset: usize, byte: u8) -> Vec<u8> {
    let mut object = object.to_vec();
    assert_ne!(object[offset], byte);
    object[offset] = byte;
    object
}

fn parsed(object: &[u8]) -> ElfFile64<'_> {
    ElfFile64::parse(object).expect("a good object")
}

/// An object whose first relocation of its text has another type.
fn with_relocation(object: &[u8], kind: u32) -> Vec<u8> {
    let elf = parsed(object);
    let section = elf.section_by_name(".rela.text").expect("it has relocations");
    let (offset, _) = section.file_range().expect("they are in the file");
    let mut object = object.to_vec();
    // r_offset, then r_info with the type in its lower half.
    object[offset as usize + 8..][..4].copy_from_slice(&kind.to_le_bytes());
    object
}

/// The value of a line of the object's stamp.
fn stamp<'a>(object: &'a [u8], key: &str) -> &'a str {
    let stamp = parsed(object).section_by_name(".lockstep.stamp").expect("it has a stamp").data().expect("in the file");
    let mut lines = str::from_utf8(stamp).expect("a text").lines();
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect("it has that line")
}

/// The name of a symbol that the kernel has to provide.
fn imported(object: &[u8]) -> String {
    let elf = parsed(object);
    let names = elf.symbols().filter(ObjectSymbol::is_undefined).filter_map(|symbol| symbol.name().ok());
    names.map(str::to_owned).find(|name| name.starts_with("lockstep_")).expect("it calls the kernel")
}

#[test]
fn refused_by_insmod() {
    let shipped = Initramfs::shipped();
    let good = shipped.module("arm-pl031").to_owned();
    let symbol = imported(&good);
    let unknown_symbol = symbol.replace("lockstep_", "unlocked_");
    let (compiler, abi) = (stamp(&good, "compiler"), stamp(&good, "crate abi"));
    let other_compiler = compiler.replace("rustc 1.", "rustc 9.");
    let other_abi: String = abi.chars().rev().collect();
    let text = |string: &str| string.to_owned();
    let broken = [
        (
            "magic",
            with_byte(&good, 0, b'?'),
            text("the ELF header: expected the magic number 0x7f E L F, found 0x3f454c46"),
        ),
        ("class", with_byte(&good, 4, 1), text("the ELF header: expected the 64-bit class, ELFCLASS64 (2), found 0x1")),
        ("machine", with_byte(&good, 18, 0x3e), text("the ELF header: expected the machine AArch64 (183), found 0x3e")),
        ("sections", with_byte(&good, 0x2b, 0x7f), text("the table of section headers ends at byte ")),
        ("short", good[..good.len() / 2].to_vec(), text("the object file has only")),
        ("empty", Vec::new(), text("the object file has only 0 bytes")),
        (
            "symbol",
            replaced(&good, &symbol, &unknown_symbol),
            format!(
                "the module needs the symbol `{unknown_symbol}`, which neither the kernel exports nor a module that it depends on"
            ),
        ),
        ("storage", with_relocation(&good, TLSLE_ADD_TPREL_LO12), text("relocation TLSLE_ADD_TPREL_LO12 of `")),
        ("relocation", with_relocation(&good, NONEXISTENT), text("relocation number 1999 of `")),
        (
            "compiler",
            replaced(&good, compiler, &other_compiler),
            format!(
                "it is out of lockstep: the module was built with compiler \"{other_compiler}\", this kernel with compiler \"{compiler}\""
            ),
        ),
        (
            "abi",
            replaced(&good, abi, &other_abi),
            format!(
                "it is out of lockstep: the module was built against abi {other_abi}, this kernel against abi {abi}"
            ),
        ),
        (
            "no-abi",
            replaced(&good, "\ncrate abi=", "\ncrate ebi="),
            text(
                "it is out of lockstep: the module was built against a crate ebi that this kernel does not share with modules",
            ),
        ),
        ("damaged", replaced(&good, "\ncrate abi=", "\ncrate abi "), text("its stamp is damaged: ")),
        (
            "no-stamp",
            replaced(&good, ".lockstep.stamp\0", ".unlocked.stamp\0"),
            text("it has no section .lockstep.stamp, so nothing says that it was built in lockstep with this kernel"),
        ),
        (
            "no-entry",
            replaced(&good, "\0LOCKSTEP_MODULE\0", "\0LOCKSTEP_MADULE\0"),
            text("it defines no LOCKSTEP_MODULE, as abi::driver!, abi::service! and abi::library! do"),
        ),
    ];
    let initramfs =
        broken.iter().fold(shipped, |initramfs, (name, object, _)| initramfs.with_module(name, object.as_slice()));
    let mut machine = plain().network_cards(1).initramfs(&initramfs).boot();
    let modules = machine.table("lsmod").len();
    for (name, _, reason) in &broken {
        let output = machine.command(&format!("insmod {name}"));
        machine.expect(&output, &format!("modules/{name}.o: "));
        machine.expect(&output, reason);
    }
    // None of it has left anything behind.
    machine.wait_for_network();
    let before = machine.row("free", "Mem:");
    for (name, ..) in &broken {
        machine.command(&format!("insmod {name}"));
    }
    assert_eq!(machine.row("free", "Mem:"), before);
    assert_eq!(machine.table("lsmod").len(), modules);
    let output = machine.command("ping 10.0.2.2 -c 1");
    machine.expect(&output, "1 received");
}

/// What a device says whose module is refused during the boot.
#[test]
fn refused_while_binding() {
    let shipped = Initramfs::shipped();
    let broken = with_byte(shipped.module("arm-pl031"), 18, 0x3e);
    let initramfs = shipped.with_module("arm-pl031", broken);
    let mut machine = plain().initramfs(&initramfs).start();
    let shown = machine.wait_for(READY);
    machine.wait_for(PROMPT);
    let sentence = "modules/arm-pl031.o: the ELF header: expected the machine AArch64 (183), found 0x3e";
    machine.expect(&shown, &format!("/pl031@9010000: {sentence}"));
    let log = machine.command("dmesg");
    machine.expect(&log, &format!("/pl031@9010000: {sentence}"));
    let device = machine.row("lsdev", "/pl031@9010000");
    assert_eq!(device[2], "arm-pl031");
    machine.expect(&device[3], &format!("failed: {sentence}"));
    assert_eq!(machine.command("date"), "date: the machine has no clock that knows the date");
}
