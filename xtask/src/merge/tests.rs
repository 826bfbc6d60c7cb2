//! Modules are linked from objects that gcc makes, and the outcome is compared with what lld makes of the same objects.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};

use super::{Archive, Module, Request};

const GCC: &str = "aarch64-linux-gnu-gcc";
const LINKERS: [&str; 2] = ["ld.lld-19", "ld.lld"];

/// What the kernel would export: a function of its own, and what gcc calls to unwind C.
const EXPORTS: [&str; 3] = ["_Unwind_Resume", "__gcc_personality_v0", "exported"];

/// The module's own crate: its root, a function with a landing pad, constants, data and cleared memory.
const DRIVER: &str = r#"
    extern int library(int), exported(int), counter;
    static int squares[] = {1, 4, 9, 16}, cleared[64];
    static const char *const names[] = {"first", "second"};
    static void done(int *value) { counter += *value + (int)names[*value & 1][0]; }
    int probe(int value) {
        __attribute__((cleanup(done))) int local = value;
        cleared[value] = exported(local);
        return library(squares[value]) + cleared[value + 1];
    }
    int unused(void) { return probe(7); }
    struct { const char *name; int (*probe)(int); } LOCKSTEP_MODULE = {"driver", probe};
    __attribute__((section(".modinfo"), used, retain)) const char information[] = "name=driver";
"#;

/// A crate that it needs a part of.
const LIBRARY: &str = r#"
    int counter = 3;
    static int helper(int value) { return value * counter; }
    static int (*volatile indirect)(int) = helper;
    int library(int value) { return indirect(value) + counter; }
    int exported(int value) { return value; }
    extern int nowhere(int);
    int left_out(int value) { return nowhere(value); }
"#;

/// A folder for one test, with the objects that gcc made there.
struct Workshop {
    folder: PathBuf,
    objects: Vec<PathBuf>,
}

impl Workshop {
    fn new(test: &str, sources: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("lockstep-merge-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut objects = Vec::new();
        for (name, source) in sources {
            let (input, output) = (folder.join(name), folder.join(name).with_extension("o"));
            std::fs::write(&input, source).unwrap();
            let flags = "-c -g -O2 -fno-inline -fno-ipa-sra -fno-pic -fno-common -fexceptions -ffunction-sections -fdata-sections \
                         -mcmodel=small -mno-outline-atomics";
            run(
                GCC,
                Command::new(GCC).current_dir(&folder).args(flags.split_whitespace()).arg(name).arg("-o").arg(&output),
            );
            objects.push(output);
        }
        Self { folder, objects }
    }

    /// One archive for each object, the first of them the module's own.
    fn archives(&self) -> Vec<Archive> {
        let mut archives = Vec::new();
        for (index, path) in self.objects.iter().enumerate() {
            let archive = path.with_extension("a");
            let ar = "aarch64-linux-gnu-ar";
            run(ar, Command::new(ar).arg("rcs").arg(&archive).arg(path));
            let name = archive.file_name().unwrap().to_string_lossy().into_owned();
            archives.push(Archive { name, data: std::fs::read(&archive).unwrap(), own: index == 0 });
        }
        archives
    }

    /// Lets lld link objects at fixed addresses, and returns the path of the program.
    fn finish(&self, name: &str, objects: &[PathBuf]) -> PathBuf {
        let script = self.folder.join("script.ld");
        let text = "exported = 0x400000; __gcc_personality_v0 = 0x500000; _Unwind_Resume = 0x600000;
            SECTIONS {
                .text 0x10000 : { *(.text .text.*) }
                .rodata 0x20000 : { *(.rodata .rodata.* .data.rel.ro .data.rel.ro.* .data.DW.ref.*) }
                .gcc_except_table 0x30000 : { *(.gcc_except_table .gcc_except_table.*) }
                .data 0x40000 : { *(.data .data.*) }
                .bss 0x50000 : { *(.bss .bss.*) }
                .modinfo 0x60000 : { KEEP(*(.modinfo)) }
                .eh_frame 0x70000 : { *(.eh_frame) }
            }";
        std::fs::write(&script, text).unwrap();
        let output = self.folder.join(name);
        let linker = LINKERS.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
        let linker = linker.unwrap_or(LINKERS[0]);
        // Strings stay where they are, and instructions what they are.
        let arguments = ["-O0", "--no-relax", "--gc-sections", "-e", "LOCKSTEP_MODULE", "-o"];
        run(linker, Command::new(linker).args(arguments).arg(&output).arg("-T").arg(script).args(objects));
        output
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn run(tool: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{tool}: {error}; ./x test installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Links a module that exports `exports` for a kernel that exports `imports`.
fn link(archives: &[Archive], imports: &[&str], exports: &[&str]) -> anyhow::Result<Module> {
    link_with(archives, imports, exports, &[])
}

fn link_with(
    archives: &[Archive],
    imports: &[&str],
    exports: &[&str],
    information: &[(&str, String)],
) -> anyhow::Result<Module> {
    super::link(&Request {
        archives,
        is_imported: &|name| imports.contains(&name),
        exports: &exports.iter().map(|name| (*name).to_owned()).collect(),
        information,
        notes: &[(stamp::SECTION.to_owned(), b"format=1\n")],
    })
}

fn link_driver(workshop: &Workshop) -> Module {
    link(&workshop.archives(), &EXPORTS, &[]).unwrap()
}

fn section(file: &[u8], name: &str) -> Vec<u8> {
    let elf = ElfFile64::<LittleEndian>::parse(file).unwrap();
    elf.section_by_name(name).unwrap_or_else(|| panic!("no section {name}")).data().unwrap().to_owned()
}

fn symbols(file: &[u8], wanted: impl Fn(&dyn Fn() -> bool, bool) -> bool) -> Vec<String> {
    let elf = ElfFile64::<LittleEndian>::parse(file).unwrap();
    let symbols = elf.symbols().filter(|symbol| wanted(&|| symbol.is_global(), symbol.is_undefined()));
    let mut names: Vec<_> = symbols.map(|symbol| symbol.name().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn write(workshop: &Workshop, name: &str, contents: &[u8]) -> PathBuf {
    let path = workshop.folder.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}

fn driver(test: &str) -> Workshop {
    Workshop::new(test, &[("driver.c", DRIVER), ("library.c", LIBRARY)])
}

#[test]
fn lld_makes_the_same_program_of_the_module_as_of_its_parts() {
    let workshop = driver("same");
    let module = link_driver(&workshop);
    let parts = std::fs::read(workshop.finish("parts", &workshop.objects)).unwrap();
    for (name, object) in [("full.o", module.full), ("stripped.o", module.stripped)] {
        let object = write(&workshop, name, &object);
        let whole = std::fs::read(workshop.finish("whole", &[object])).unwrap();
        for name in [".text", ".rodata", ".data", ".gcc_except_table", ".modinfo", ".eh_frame"] {
            assert_eq!(section(&parts, name), section(&whole, name), "{name}");
        }
    }
}

#[test]
fn only_what_the_root_reaches_is_linked() {
    let workshop = driver("reach");
    let module = link_driver(&workshop);
    let names = symbols(&module.stripped, |_, undefined| !undefined);
    let functions: Vec<_> = names.iter().filter(|name| !name.is_empty()).map(String::as_str).collect();
    assert_eq!(functions, ["LOCKSTEP_MODULE", "done", "helper", "library", "probe"]);
    assert_eq!(section(&module.stripped, ".modinfo"), b"name=driver\0");
}

#[test]
fn the_kernel_sees_one_symbol_and_provides_the_others() {
    let workshop = driver("symbols");
    let module = link_driver(&workshop);
    assert_eq!(symbols(&module.stripped, |global, undefined| global() && !undefined), ["LOCKSTEP_MODULE"]);
    let imports = symbols(&module.stripped, |global, undefined| global() && undefined);
    assert_eq!(imports, EXPORTS);
}

#[test]
fn frames_are_kept_for_linked_functions_alone() {
    let workshop = driver("frames");
    let object = write(&workshop, "module.o", &link_driver(&workshop).stripped);
    let readelf = "aarch64-linux-gnu-readelf";
    let frames = run(readelf, Command::new(readelf).arg("--debug-dump=frames").arg(object));
    // probe, done, library and helper; probe has a landing pad, so there is a CIE with a personality beside a plain one.
    assert_eq!(frames.matches(" FDE ").count(), 4, "{frames}");
    assert_eq!(frames.matches(" CIE\n").count(), 2, "{frames}");
    assert!(frames.contains("ZERO terminator"), "{frames}");
}

#[test]
fn a_debugger_finds_the_source_lines() {
    let workshop = driver("lines");
    let object = write(&workshop, "module.o", &link_driver(&workshop).full);
    let program = workshop.finish("program", &[object]);
    let contents = std::fs::read(&program).unwrap();
    let elf = ElfFile64::<LittleEndian>::parse(contents.as_slice()).unwrap();
    for (function, line) in [("probe", "driver.c:6"), ("library", "library.c:5")] {
        let address = elf.symbols().find(|symbol| symbol.name() == Ok(function)).unwrap().address();
        let addr2line = "aarch64-linux-gnu-addr2line";
        let place = run(addr2line, Command::new(addr2line).arg("-e").arg(&program).arg(format!("{address:#x}")));
        assert!(place.trim().ends_with(line), "{function} is at {place}");
    }
}

#[test]
fn the_stamp_is_in_the_module_but_not_in_memory() {
    let workshop = driver("stamp");
    for object in [link_driver(&workshop).full, link_driver(&workshop).stripped] {
        assert_eq!(section(&object, stamp::SECTION), b"format=1\n");
        let elf = ElfFile64::<LittleEndian>::parse(object.as_slice()).unwrap();
        let header = elf.section_by_name(stamp::SECTION).unwrap();
        let object::SectionFlags::Elf { sh_flags, .. } = header.flags() else { panic!("no ELF") };
        assert!(!sh_flags.contains(object::elf::SHF_ALLOC));
    }
}

#[test]
fn a_library_keeps_what_it_exports_and_what_that_needs() {
    let workshop = driver("library");
    let module = link(&workshop.archives(), &EXPORTS, &["unused"]).unwrap();
    for object in [&module.full, &module.stripped] {
        let defined = symbols(object, |global, undefined| global() && !undefined);
        assert_eq!(defined, ["LOCKSTEP_MODULE", "unused"]);
    }
    let error = link(&workshop.archives(), &EXPORTS, &["absent"]).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "none of its object files defines the symbol absent");
}

#[test]
fn what_the_build_knows_of_a_module_follows_what_it_says_of_itself() {
    let workshop = driver("information");
    let module = link_with(&workshop.archives(), &EXPORTS, &[], &[("depends", "other".to_owned())]).unwrap();
    for object in [&module.full, &module.stripped] {
        assert_eq!(section(object, ".modinfo"), b"name=driver\0depends=other\0");
    }
}

#[test]
fn a_symbol_that_nobody_defines_is_named() {
    let sources = [(
        "driver.c",
        "extern int _ZN3abi4call17h0123456789abcdefE(void); int (*LOCKSTEP_MODULE)(void) = _ZN3abi4call17h0123456789abcdefE;",
    )];
    let workshop = Workshop::new("missing", &sources);
    let error = link(&workshop.archives(), &[], &[]).map(|_| ()).unwrap_err();
    let expected = "it needs abi::call, which neither the kernel exports nor one of the module's crates defines";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_crate_without_the_declaration_macro_is_no_module() {
    let workshop = Workshop::new("root", &[("driver.c", "int probe(void) { return 1; }")]);
    let error = link(&workshop.archives(), &[], &[]).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "none of its object files defines the symbol LOCKSTEP_MODULE");
}

#[test]
fn thread_local_data_is_refused() {
    let source = "__thread int mine; int probe(void) { return mine; } int (*LOCKSTEP_MODULE)(void) = probe;";
    let workshop = Workshop::new("local", &[("driver.c", source)]);
    let error = link(&workshop.archives(), &[], &[]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("thread-local data, which a module can't have"), "{error}");
}

#[test]
fn a_strong_definition_goes_before_a_weak_one() {
    let driver = "extern int value(void); int (*LOCKSTEP_MODULE)(void) = value;";
    let weak = "__attribute__((weak)) int value(void) { return 0x111; }";
    let strong = "int value(void) { return 0x222; }";
    let workshop = Workshop::new("weak", &[("driver.c", driver), ("weak.c", weak), ("strong.c", strong)]);
    let module = link(&workshop.archives(), &[], &[]).unwrap();
    let object = write(&workshop, "module.o", &module.stripped);
    let objdump = "aarch64-linux-gnu-objdump";
    let code = run(objdump, Command::new(objdump).arg("-d").arg(object));
    assert!(code.contains("#0x222") && !code.contains("#0x111"), "{code}");
}

#[test]
fn initializers_are_kept_with_their_priorities() {
    let driver = "int probe(void) { return 1; } int (*LOCKSTEP_MODULE)(void) = probe; extern int counter;
        __attribute__((constructor(102))) static void later(void) { counter = 2; }
        __attribute__((constructor(101))) static void earlier(void) { counter = 1; }
        __attribute__((constructor)) static void last(void) { counter = 3; }";
    // What a library initializes is nobody's business unless it is linked.
    let library = "int counter; __attribute__((constructor)) static void unrelated(void) { counter = 4; }";
    let workshop = Workshop::new("initializers", &[("driver.c", driver), ("library.c", library)]);
    let module = link(&workshop.archives(), &[], &[]).unwrap();
    let elf = ElfFile64::<LittleEndian>::parse(module.stripped.as_slice()).unwrap();
    let mut names: Vec<_> =
        elf.sections().filter_map(|section| section.name().ok()).filter(|name| name.starts_with(".init")).collect();
    names.sort_unstable();
    assert_eq!(names, [".init_array", ".init_array.00101", ".init_array.00102"]);
    assert!(names.iter().all(|name| section(&module.stripped, name).len() == 8));
    let functions = symbols(&module.stripped, |_, undefined| !undefined);
    assert!(["earlier", "later", "last"].iter().all(|name| functions.iter().any(|function| function == name)));
    assert!(!functions.iter().any(|function| function == "unrelated"));
}

#[test]
fn a_common_symbol_is_named_with_what_helps() {
    let workshop = Workshop::new("common", &[("driver.c", "extern int common; int *LOCKSTEP_MODULE = &common;")]);
    std::fs::write(workshop.folder.join("common.s"), ".comm common, 4, 4\n").unwrap();
    let assembler = "aarch64-linux-gnu-as";
    let object = workshop.folder.join("common.o");
    run(assembler, Command::new(assembler).arg(workshop.folder.join("common.s")).arg("-o").arg(&object));
    let archive = workshop.folder.join("common.a");
    let ar = "aarch64-linux-gnu-ar";
    run(ar, Command::new(ar).arg("rcs").arg(&archive).arg(&object));
    let mut archives = workshop.archives();
    archives.push(Archive { name: "common.a".to_owned(), data: std::fs::read(&archive).unwrap(), own: true });
    let error = link(&archives, &[], &[]).map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("is common, which takes a definition in one file: compile with -fno-common"), "{error}");
}
