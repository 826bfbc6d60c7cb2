//! What the tests share: the tools that make and link objects, and a module's memory on the host.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod kinds;
pub mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

use loader::{Error, Figures, Layout, Object, Place, Segments, Workarounds, link};
use object::read::{Object as _, ObjectSection as _};

/// Where the tests put the segments: in the upper half, where the kernel has its modules.
pub const ADDRESSES: Segments<u64> =
    Segments { execute: 0xffff_8000_1000_0000, read: 0xffff_8000_1400_0000, write: 0xffff_8000_1800_0000 };

/// A directory of its own for one test, removed with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool that `./x` installs.
pub fn run(tool: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    match Command::new(tool).args(arguments).output() {
        Ok(output) => output,
        Err(error) => panic!("this test needs `{tool}`, which `./x` installs: {error}"),
    }
}

/// Compiles or assembles a source beside the tests, or one given as text, with GCC.
pub fn compile(name: &str, source: &str, options: &[&str]) -> Vec<u8> {
    compile_with("aarch64-linux-gnu-gcc", name, source, options)
}

/// Compiles or assembles a source with a compiler of GCC's ways.
pub fn compile_with(compiler: &str, name: &str, source: &str, options: &[&str]) -> Vec<u8> {
    let scratch = Scratch::new();
    let (source, object) = (scratch.write(name, source), scratch.path("out.o"));
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-c", &"-o", &object, &source];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<_>));
    let output = run(compiler, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(object).unwrap()
}

/// A module in the host's memory: what the loader made of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    pub addresses: Segments<u64>,
    pub memory: Segments<Vec<u8>>,
    pub figures: Figures,
    /// The sections' names, addresses and sizes.
    pub sections: Vec<(String, u64, u64)>,
    /// The symbols' names and addresses.
    pub symbols: BTreeMap<String, u64>,
    /// The names of those that are weak.
    pub weak: Vec<String>,
    pub initializers: Vec<u64>,
    pub unwind_tables: Range<u64>,
    pub used: Segments<usize>,
}

impl Module {
    /// Loads an object at [`ADDRESSES`].
    pub fn load(object: &[u8], resolve: impl Fn(&str) -> Option<u64>) -> Result<Self, Error> {
        Self::load_at(object, ADDRESSES, resolve)
    }

    /// Loads an object with its segments at these addresses.
    pub fn load_at(
        object: &[u8],
        addresses: Segments<u64>,
        resolve: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self, Error> {
        Self::load_for(Workarounds::default(), object, addresses, resolve)
    }

    /// Loads an object for a processor with these faults.
    pub fn load_for(
        workarounds: Workarounds,
        object: &[u8],
        addresses: Segments<u64>,
        resolve: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self, Error> {
        let object = Object::parse(object)?;
        let layout = Layout::new(&object, workarounds)?;
        // Whatever was in memory before must not show.
        let mut memory = layout.segments().map(|segment| vec![0xa5; segment.size]);
        let Segments { execute, read, write } = memory.as_mut();
        let places = Segments {
            execute: Place { address: addresses.execute, bytes: execute },
            read: Place { address: addresses.read, bytes: read },
            write: Place { address: addresses.write, bytes: write },
        };
        let linked = link(&object, &layout, places, &resolve)?;
        let (sections, symbols) = (linked.sections(), linked.symbols());
        Ok(Self {
            sections: sections.map(|section| (section.name.into_owned(), section.address, section.size)).collect(),
            symbols: symbols.map(|symbol| (symbol.name.into(), symbol.address)).collect(),
            weak: linked.symbols().filter(|symbol| symbol.weak).map(|symbol| symbol.name.into()).collect(),
            initializers: linked.initializers().into(),
            unwind_tables: linked.unwind_tables(),
            figures: linked.figures(),
            used: linked.used(),
            addresses,
            memory,
        })
    }

    /// The bytes at an address.
    pub fn bytes(&self, address: u64, size: u64) -> &[u8] {
        let Segments { execute, read, write } = self.addresses;
        let segments = [(execute, &self.memory.execute), (read, &self.memory.read), (write, &self.memory.write)];
        let found = segments.into_iter().find_map(|(start, bytes)| {
            let offset = address.checked_sub(start)? as usize;
            bytes.get(offset..offset + size as usize)
        });
        found.unwrap_or_else(|| panic!("{size} bytes at {address:#x} are not in the module"))
    }

    /// A section's address and bytes.
    pub fn section(&self, name: &str) -> (u64, &[u8]) {
        let (_, address, size) = self.sections.iter().find(|(found, ..)| found == name).expect(name);
        (*address, self.bytes(*address, *size))
    }
}

/// The linkers whose word counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Linker {
    Gnu,
    Lld,
}

/// What a linker made of an object.
#[derive(Debug)]
pub struct Linked {
    /// The contents of each output section.
    pub sections: BTreeMap<String, Vec<u8>>,
    /// The sections and offsets of the relocations that it refused.
    pub refused: BTreeSet<(String, u64)>,
}

impl Linker {
    /// The linker's name as a program.
    fn tool(self) -> &'static str {
        match self {
            Self::Gnu => "aarch64-linux-gnu-ld",
            Self::Lld => "ld.lld-19",
        }
    }

    /// Makes one object of several (`-r`).
    pub fn merge(self, objects: &[Vec<u8>], options: &[&str]) -> Vec<u8> {
        let scratch = Scratch::new();
        let inputs = objects.iter().enumerate().map(|(number, object)| scratch.write(&format!("{number}.o"), object));
        let (inputs, out) = (inputs.collect::<Vec<_>>(), scratch.path("out.o"));
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-r", &"-o", &out];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<_>));
        arguments.extend(inputs.iter().map(|input| input as &dyn AsRef<_>));
        let output = run(self.tool(), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(out).unwrap()
    }

    /// Links an object with sections and symbols at given addresses.
    pub fn link(self, object: &[u8], sections: &[(String, u64)], symbols: &[(String, u64)]) -> Linked {
        let scratch = Scratch::new();
        let mut sections = sections.to_vec();
        // Where what a linker adds of its own is in nobody's way.
        sections.push((".got.plt".into(), 0xffff_8000_1f00_0000));
        sections.sort_by_key(|&(_, address)| address);
        let mut script = String::from("SECTIONS {\n");
        for (name, address) in &sections {
            script += &format!("\"{name}\" {address:#x} : SUBALIGN(1) {{ *(\"{name}\") }}\n");
        }
        script += "/DISCARD/ : { *(.comment .note.* .modinfo .debug* .llvm*) }\n}\n";
        for (name, address) in symbols {
            script += &format!("\"{name}\" = {address:#x};\n");
        }
        let script = scratch.write("script", script);
        let (input, out) = (scratch.path("in.o"), scratch.path("out"));
        let tool = self.tool();
        let own: &[&str] = match self {
            Self::Gnu => &["--verbose", "--traditional-format"],
            Self::Lld => &["-O0", "--error-limit=0", "--threads=1"],
        };
        let common = ["--no-relax", "--no-check-sections", "-static", "-znorelro", "-zmax-page-size=4096", "-e0", "-T"];
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = Vec::new();
        arguments.extend(own.iter().chain(&common).map(|option| option as &dyn AsRef<_>));
        arguments.extend([&script as &dyn AsRef<_>, &"-o", &out, &input]);

        // What a linker refuses is taken out, for it writes nothing while there is any of it.
        let mut object = object.to_vec();
        let mut linked = Linked { sections: BTreeMap::new(), refused: BTreeSet::new() };
        loop {
            fs::write(&input, &object).unwrap();
            let output = run(tool, &arguments);
            if output.status.success() {
                break;
            }
            let messages = String::from_utf8_lossy(&output.stderr);
            let refused = refused(&messages);
            assert!(!refused.is_empty(), "{tool}: {messages}");
            disable_relocations(&mut object, |section, offset| refused.contains(&(section.into(), offset)));
            linked.refused.extend(refused);
        }
        let file = fs::read(&out).unwrap();
        let file = object::File::parse(&*file).unwrap();
        for section in file.sections() {
            linked.sections.insert(section.name().unwrap().into(), section.data().unwrap_or_default().into());
        }
        linked
    }
}

/// Turns relocations into such that do nothing, by the section that they apply to and their offset in it.
pub fn disable_relocations(object: &mut [u8], choose: impl Fn(&str, u64) -> bool) {
    for (section, table) in relocation_tables(object) {
        for entry in object[table].chunks_exact_mut(24) {
            if choose(&section, u64::from_le_bytes(entry[..8].try_into().unwrap())) {
                entry[8..12].fill(0);
            }
        }
    }
}

/// The sections that are relocated, and where in the file their relocations are.
pub fn relocation_tables(object: &[u8]) -> Vec<(String, Range<usize>)> {
    let file = object::File::parse(object).unwrap();
    let tables = file.sections().filter_map(|section| {
        let target = section.name().unwrap().strip_prefix(".rela")?.to_string();
        let (start, size) = section.file_range()?;
        Some((target, start as usize..(start + size) as usize))
    });
    tables.collect()
}

/// The places in a linker's messages, `(SECTION+0xOFFSET)`, which both linkers write alike.
fn refused(messages: &str) -> BTreeSet<(String, u64)> {
    let places = messages.split('(').filter_map(|text| text.split_once(')')).filter_map(|(place, _)| {
        let (section, offset) = place.split_once("+0x")?;
        Some((section.to_string(), u64::from_str_radix(offset, 16).ok()?))
    });
    places.collect()
}

/// An object whose sections of strings and constants no linker will merge.
fn without_merging(object: &[u8]) -> Vec<u8> {
    let mut object = object.to_vec();
    let headers = u64::from_le_bytes(object[40..48].try_into().unwrap()) as usize;
    for header in object[headers..].chunks_exact_mut(64) {
        // SHF_MERGE and SHF_STRINGS.
        header[8] &= !0x30;
    }
    object
}

/// Looks names up in a list.
pub fn resolver(symbols: &[(String, u64)]) -> impl Fn(&str) -> Option<u64> {
    move |name| symbols.iter().find(|(found, _)| found == name).map(|&(_, address)| address)
}

/// Loads an object, and checks that each section has the bytes that both linkers write at its address.
pub fn linked_alike(object: &[u8], linkers: &[Linker], symbols: &[(String, u64)]) -> Module {
    let module = Module::load(object, resolver(symbols)).unwrap();
    let object = &without_merging(object);
    let table_start = ADDRESSES.read + (module.used.read - 8 * module.figures.offset_table_entries) as u64;
    for &linker in linkers {
        // GNU ld keeps the first entry of the global offset table to itself.
        let table = if linker == Linker::Gnu { table_start - 8 } else { table_start };
        let sections = module.sections.iter().map(|(name, address, _)| (name.clone(), *address));
        let sections = sections.chain([(".got".into(), table)]).collect::<Vec<_>>();
        let linked = linker.link(object, &sections, symbols);
        assert_eq!(linked.refused, [].into());
        // Every linker has an order of its own in that table.
        let reordered = module.figures.offset_table_entries > 1;
        if reordered {
            let entries = |table: &[u8]| table.as_chunks::<8>().0.iter().copied().collect::<BTreeSet<_>>();
            let ours = &module.memory.read[..module.used.read][(table_start - ADDRESSES.read) as usize..];
            let theirs = &linked.sections[".got"][(table_start - table) as usize..];
            assert_eq!(entries(ours), entries(theirs));
        }
        for (name, address, size) in &module.sections {
            // lld makes unwind tables anew, and neither linker writes an empty section.
            let anew = name == ".eh_frame" && linker == Linker::Lld;
            if anew || reordered && name.starts_with(".text") || *size == 0 {
                continue;
            }
            let ours = module.bytes(*address, *size);
            let theirs = linked.sections.get(name).unwrap_or_else(|| panic!("{linker:?} has no {name}"));
            // Zeros that are not in the file.
            let theirs = if theirs.is_empty() { vec![0; ours.len()] } else { theirs.clone() };
            let different = ours.iter().zip(&theirs).position(|(our, their)| our != their);
            assert_eq!((different, ours.len()), (None, theirs.len()), "{linker:?} {name}");
        }
    }
    module
}
