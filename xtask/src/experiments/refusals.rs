//! Modules that the real kernel must refuse, with the right sentence, and some that it must not.

use ::tests::{Initramfs, Machine, Setup};
use anyhow::{Context, Result};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};

use super::abi::{Abi, Edits};
use super::table::Row;
use super::workshop::Workshop;

/// What is observed of a module that is loaded.
const LOADED: &str = "it is loaded";

/// In an expected sentence: some text that is another one on every machine.
const ANY: char = '…';

/// A module to try.
struct Case {
    name: String,
    /// What is special about it.
    what: String,
    object: Vec<u8>,
    /// What must come of it.
    expected: String,
    /// The same for the page, without what is too long for it.
    shown: String,
}

impl Case {
    fn new(name: impl Into<String>, what: impl Into<String>, object: Vec<u8>, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        Self { name: name.into(), what: what.into(), object, shown: expected.clone(), expected }
    }
}

/// Optimization levels do not matter.
const LEVELS: [&str; 5] = ["0", "1", "3", "s", "z"];

/// Other builds: what is different, the line of the stamp that tells, and in its value a text and what the other build
/// has in its place. The driver is the same in all of them, for nobody looks at it.
const BUILDS: [(&str, &str, &str, &str); 9] = [
    ("another compiler", "compiler", "rustc 1.", "rustc 9."),
    ("another release of LLVM", "llvm", "", "9"),
    ("another description of the target", "target", "aarch64-kernel ", "aarch64-kernel 0"),
    ("`-Ctarget-feature=+neon`", "target-features", "-neon", "+neon"),
    ("`-Ctarget-feature=+lse`", "target-features", "-neon", "-neon,+lse"),
    ("`-Cpanic=abort`", "panic-strategy", "unwind", "abort"),
    ("`-Cforce-frame-pointers=no`", "code-generation", "force-frame-pointers=yes", "force-frame-pointers=no"),
    ("`-Csymbol-mangling-version=legacy`", "code-generation", "mangling-version=v0", "mangling-version=legacy"),
    ("`-Zrandomize-layout`", "code-generation", "embed-bitcode=yes", "embed-bitcode=yes -Zrandomize-layout"),
];

/// Stamps that no build writes.
const STAMPS: [(&str, &str, &str); 4] = [
    ("an empty stamp", "", "its stamp is damaged: the stamp does not begin with the line \"format=1\""),
    (
        "a stamp of a later format",
        "format=9\n",
        "its stamp is damaged: the stamp does not begin with the line \"format=1\"",
    ),
    (
        "a stamp cut off behind its first line",
        "format=1\n",
        "it is out of lockstep: the module does not say with which compiler it was built",
    ),
    (
        "a stamp cut off within a line",
        "format=1\ncompi",
        "its stamp is damaged: line 2 of the stamp is not of the form key=value",
    ),
];

/// What is said of an object that ends too soon.
const CUT_OFF: &str = "the table of section headers ends at byte …, but the object file has only … bytes";

/// What is said of a module whose signature is not as it should be.
const SIGNATURES: [(&str, &str); 5] = [
    (
        "no signature",
        "the module is not signed, or has lost its end: expected the file to end with \"lockstep-ed25519\"",
    ),
    (
        "a signature cut off before its last byte",
        "the module is not signed, or has lost its end: expected the file to end with \"lockstep-ed25519\"",
    ),
    (
        "a bit changed behind the signature's back",
        "the module is not what was signed with key …: the file was changed, or the signature is forged",
    ),
    ("a signature by another key", "the module is signed with key …, and the only key trusted here is …"),
    ("an older version than one seen", "it is version 1 of arm-pl031, and version … has been seen"),
];

/// Changes in `abi`, and what is said of a module that was compiled against the changed one.
const CHANGES: [(&str, Edits<'_>, &str); 17] = [
    (
        "a field's type",
        &[("network.rs", "pub dropped: u64", "pub dropped: u32")],
        "`abi::network::Statistics`: field `dropped` was u32, is u64",
    ),
    (
        "a field more",
        &[("bus.rs", "pub name: String,", "pub name: String,\n    pub number: u32,")],
        "`abi::bus::Child`: field `number` exists only in the module",
    ),
    (
        "a field less",
        &[("network.rs", "pub dropped: u64,", "#[cfg(any())]\n    pub dropped: u64,")],
        "`abi::network::Statistics`: field `dropped` exists only in the kernel",
    ),
    (
        "two fields in the other order",
        &[
            ("system.rs", "pub total: u64", "pub other: u64"),
            ("system.rs", "pub reserved: u64", "pub total: u64"),
            ("system.rs", "pub other: u64", "pub reserved: u64"),
        ],
        "`abi::system::MemoryStatus`: field `reserved` is number 1 in the module, number 2 in the kernel",
    ),
    (
        "a variant more",
        &[("interrupt.rs", "    Edge,", "    Edge,\n    Both,")],
        "`abi::interrupt::Trigger`: variant `Both` exists only in the module",
    ),
    (
        "a method's argument",
        &[(
            "interrupt.rs",
            "fn end(&self, acknowledged: Acknowledged);",
            "fn end(&self, acknowledged: Acknowledged, processor: u32);",
        )],
        "`abi::interrupt::InterruptController`: method `end` takes 3 arguments in the module, 2 in the kernel",
    ),
    (
        "a method's result",
        &[("bus.rs", "fn children(&self) -> Vec<Child>;", "fn children(&self) -> Option<Vec<Child>>;")],
        "`abi::bus::Bus`: method `children` returned Option<Vec<Child>>, returns Vec<Child>",
    ),
    (
        "a method more",
        &[("power.rs", "fn reboot(&self)", "fn sleep(&self);\n\n    fn reboot(&self)")],
        "`abi::power::Power`: method `sleep` exists only in the module",
    ),
    (
        "two methods in the other order",
        &[
            ("power.rs", "fn reboot(&self)", "fn other(&self)"),
            ("power.rs", "fn power_off(&self)", "fn reboot(&self)"),
            ("power.rs", "fn other(&self)", "fn power_off(&self)"),
        ],
        "`abi::power::Power`: method `power_off` is number 1 in the module, number 2 in the kernel",
    ),
    (
        "a supertrait more",
        &[("bus.rs", "pub trait Bus: Send + Sync", "pub trait Bus: Send + Sync + core::fmt::Debug")],
        "`abi::bus::Bus`: it was built upon Send + Sync + core::fmt::Debug, is built upon Send + Sync",
    ),
    (
        "a class more",
        &[(
            "class.rs",
            "classes! {\n",
            "pub trait Counter: Send + Sync {}\n\nclasses! {\n    Counter: Counter, \"counter\";\n",
        )],
        "`abi::Class`: variant `Counter` exists only in the module",
    ),
    (
        "a kernel function's argument",
        &[
            ("kernel.rs", "lockstep_thread_yield()", "lockstep_thread_yield(times: u32)"),
            ("thread.rs", "kernel::thread_yield()", "kernel::thread_yield(1)"),
        ],
        "`abi::kernel::Kernel`: method `thread_yield` takes 1 argument in the module, 0 in the kernel",
    ),
    (
        "a kernel function more",
        &[(
            "kernel.rs",
            "[safe] fn thread_yield =",
            "[safe] fn thread_count = lockstep_thread_count() -> usize;\n    [safe] fn thread_yield =",
        )],
        "`abi::kernel::Kernel`: method `thread_count` exists only in the module",
    ),
    (
        "the code of a generic function",
        &[(
            "driver.rs",
            "Ok(Box::new(T::probe(node, resources)?))",
            "T::probe(node, resources).map(|it| Box::new(it) as _)",
        )],
        "`abi::boxed_driver`: its code has changed",
    ),
    (
        "the code of a function that may be inlined",
        &[("clock.rs", "Self(seconds)", "Self(seconds + 1)")],
        "`abi::clock::UnixTime::from_secs`: its code has changed",
    ),
    ("a comment", &[("power.rs", "//! The class of devices", "//! A class of devices")], LOADED),
    ("nothing, compiled again", &[], LOADED),
];

/// Tries all of them in one boot.
pub fn rows(workshop: &Workshop<'_>) -> Result<Vec<Row>> {
    let abi = Abi::built(workshop)?;
    let mut cases = other_builds(&abi)?;
    cases.extend(other_stamps(&abi)?);
    cases.extend(other_levels(&abi)?);
    cases.extend(other_contracts(workshop)?);
    cases.extend(damaged(&abi.driver("good", &[])?.object)?);
    let files = Initramfs::shipped();
    let files = cases.iter().fold(files, |files, case| files.with_module(&case.name, case.object.as_slice()));
    // These keep the signature that they have, or none.
    let unsigned = badly_signed(&abi.driver("unsigned", &[])?.object);
    let files = unsigned
        .iter()
        .fold(files, |files, case| files.with_file(&format!("modules/{}.o", case.name), case.object.clone()));
    cases.extend(unsigned);
    let mut machine = Setup::virt("virt", "cortex-a72", "512M").initramfs(&files).boot();
    let rows = cases.into_iter().map(|case| {
        let observed = insert(&mut machine, &case.name);
        let observed = if matches(&case.expected, &observed) { case.shown.clone() } else { observed };
        Row::new(case.what, case.shown, observed)
    });
    Ok(rows.collect())
}

/// Loads a module and takes it out again; returns what was said.
fn insert(machine: &mut Machine, name: &str) -> String {
    let said = machine.command(&format!("insmod {name}"));
    if said.is_empty() && machine.table("lsmod").iter().any(|row| row[0] == name) {
        machine.command(&format!("rmmod {name}"));
        return LOADED.to_owned();
    }
    let sentence = said.split_once(&format!("modules/{name}.o: ")).map(|(_, sentence)| sentence);
    sentence.unwrap_or(&said).to_owned()
}

/// Whether a text is the expected one, where `…` stands for any text.
fn matches(expected: &str, text: &str) -> bool {
    let Some((start, rest)) = expected.split_once(ANY) else { return text == expected };
    let Some(text) = text.strip_prefix(start) else { return false };
    text.char_indices().any(|(place, _)| matches(rest, &text[place..])) || rest.is_empty()
}

/// Modules that nobody vouches for.
fn badly_signed(object: &[u8]) -> Vec<Case> {
    let signed = ::tests::signed(object);
    let mut changed = signed.clone();
    changed[object.len() / 2] ^= 1;
    let objects = [
        object.to_vec(),
        signed[..signed.len() - 1].to_vec(),
        changed,
        module_signature::sign(object, u64::MAX, &[7; 32].into()),
        ::tests::signed_with_version(object, 1),
    ];
    let case = |(number, (object, (what, expected)))| Case::new(format!("signature-{number}"), what, object, expected);
    objects.into_iter().zip(SIGNATURES).enumerate().map(case).collect()
}

fn other_builds(abi: &Abi<'_>) -> Result<Vec<Case>> {
    let case = |(number, (what, key, from, to)): (usize, (&str, &str, &str, &str))| {
        let value = abi.stamp().lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = value.with_context(|| format!("the stamp has no line {key}"))?;
        let other = value.replacen(from, to, 1);
        let stamp = abi.stamp().replace(&format!("{key}={value}\n"), &format!("{key}={other}\n"));
        let name = format!("build-{number}");
        let object = abi.driver_with_stamp(&name, &stamp)?.object;
        let sentence = |module: &str, kernel: &str| {
            let difference =
                format!("the module was built with {key} \"{module}\", this kernel with {key} \"{kernel}\"");
            format!("it is out of lockstep: {difference}")
        };
        let case = Case::new(name, format!("a build with {what}"), object, sentence(&other, value));
        Ok(Case { shown: sentence("…", "…"), ..case })
    };
    BUILDS.into_iter().enumerate().map(case).collect()
}

fn other_stamps(abi: &Abi<'_>) -> Result<Vec<Case>> {
    let case = |(number, (what, stamp, expected)): (usize, (&str, &str, &str))| {
        let name = format!("stamp-{number}");
        let object = abi.driver_with_stamp(&name, stamp)?.object;
        Ok(Case::new(name, what, object, expected))
    };
    STAMPS.into_iter().enumerate().map(case).collect()
}

fn other_levels(abi: &Abi<'_>) -> Result<Vec<Case>> {
    let case = |level| {
        let (name, flag) = (format!("level-{level}"), format!("-Copt-level={level}"));
        let object = abi.driver(&name, &[&flag])?.object;
        Ok(Case::new(name, format!("a driver with `{flag}`"), object, LOADED))
    };
    LEVELS.into_iter().map(case).collect()
}

fn other_contracts(workshop: &Workshop<'_>) -> Result<Vec<Case>> {
    let case = |(number, (what, edits, expected)): (usize, (&str, Edits<'_>, &str))| {
        let name = format!("abi-{number}");
        let object = Abi::changed(workshop, &number.to_string(), edits)?.driver(&name, &[])?.object;
        let sentence = format!("it is out of lockstep: {expected}");
        let expected = if expected == LOADED { LOADED.to_owned() } else { sentence };
        Ok(Case::new(name, format!("another `abi`: {what}"), object, expected))
    };
    CHANGES.into_iter().enumerate().map(case).collect()
}

/// A good module with something missing or changed.
fn damaged(good: &[u8]) -> Result<Vec<Case>> {
    let elf = ElfFile64::<LittleEndian>::parse(good)?;
    let text = elf.section_by_name(".text").and_then(|text| text.file_range()).context("the driver has no code")?;
    let symbols = elf.section_by_name(".symtab").context("the driver has no symbols")?.index().0;
    // Where that section's header has its type (System V ABI, "Section Header").
    let symbols = elf.elf_header().e_shoff.get(LittleEndian) as usize + symbols * 64 + 4;
    let cut = |size: usize| good[..size].to_vec();
    let with = |offset: usize, bytes: &[u8]| {
        let mut object = good.to_vec();
        object[offset..offset + bytes.len()].copy_from_slice(bytes);
        object
    };
    let named = |from: &str, to: &str| {
        let place = good.windows(from.len()).position(|window| window == from.as_bytes());
        Ok::<_, anyhow::Error>(with(place.with_context(|| format!("the driver has no {from}"))?, to.as_bytes()))
    };
    let cases = [
        ("an empty file", cut(0), "the ELF header ends at byte 64, but the object file has only 0 bytes"),
        ("cut off in the ELF header", cut(63), "the ELF header ends at byte 64, but the object file has only 63 bytes"),
        ("cut off behind the ELF header", cut(64), CUT_OFF),
        ("cut off in the code", cut(text.0 as usize + 4), CUT_OFF),
        ("cut off before the last byte", cut(good.len() - 1), CUT_OFF),
        ("no ELF file", with(0, b"?"), "the ELF header: expected the magic number 0x7f E L F, found 0x3f454c46"),
        ("of 32 bits", with(4, &[1]), "the ELF header: expected the 64-bit class, ELFCLASS64 (2), found 0x1"),
        ("big-endian", with(5, &[2]), "the ELF header: expected little-endian data, ELFDATA2LSB (1), found 0x2"),
        ("a program", with(16, &[2]), "the ELF header: expected a relocatable object, ET_REL (1), found 0x2"),
        ("for x86-64", with(18, &[62]), "the ELF header: expected the machine AArch64 (183), found 0x3e"),
        (
            "without its symbol table",
            with(symbols, &[0; 4]),
            "section `.rela.text`: expected to refer to this object's symbol table, found …",
        ),
        (
            "without a stamp",
            named("\0.lockstep.stamp\0", "\0.unlocked.stamp\0")?,
            "it has no section .lockstep.stamp, so nothing says that it was built in lockstep with this kernel",
        ),
        (
            "without `abi::driver!`",
            named("\0LOCKSTEP_MODULE\0", "\0LOCKSTEP_NODULE\0")?,
            "it defines no LOCKSTEP_MODULE, as abi::driver!, abi::service! and abi::library! do",
        ),
        (
            "in need of what there isn't",
            named("\0lockstep_registers_map\0", "\0lockstep_registers_mop\0")?,
            "the module needs the symbol `lockstep_registers_mop`, which neither the kernel exports nor a module that it \
         depends on",
        ),
    ];
    let case = |(number, (what, object, expected))| {
        Case::new(format!("damaged-{number}"), format!("a driver, {what}"), object, expected)
    };
    Ok(cases.into_iter().enumerate().map(case).collect())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn an_ellipsis_stands_for_any_text() {
        for text in ["it ends at byte 7, of 9", "it ends at byte , of 9", "it ends at byte 7, of 8, of 9"] {
            assert!(matches("it ends at byte …, of 9", text), "{text}");
        }
        for text in ["", "it ends at byte 7", "it ends at byte 7, of 99", "so it ends at byte 7, of 9"] {
            assert!(!matches("it ends at byte …, of 9", text), "{text}");
        }
        assert!(matches("all of it: …", "all of it: 7"));
        assert!(!matches("all of it", "all of it: 7"));
    }
}
