//! What goes into a module: the object files of its archives, and which symbol of theirs means what.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use object::elf;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolIndex};

use crate::rlib;

/// The contents of an archive (an rlib, or one made by `ar`) that a module is linked from.
pub struct Archive {
    /// Its name, for messages.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Whether the archive is linked for the module's sake, so that what its crates ask to be kept (`#[used]`) is
    /// kept. `core` and its like are only there to define what others refer to.
    pub own: bool,
}

/// One object file.
pub struct Input<'data> {
    pub name: String,
    pub own: bool,
    pub elf: ElfFile64<'data, LittleEndian>,
}

/// One section of one object file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SectionKey {
    pub object: usize,
    pub section: usize,
}

/// What a symbol stands for, once all objects are known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Meaning<'data> {
    /// This many bytes into a section.
    Place(SectionKey, u64),
    /// Something that the kernel has to provide.
    Import(&'data str),
}

/// A relocation of one section, its symbol resolved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fixup<'data> {
    /// Where in the section it applies.
    pub offset: u64,
    pub kind: elf::RelocationType,
    pub meaning: Meaning<'data>,
    pub addend: i64,
}

/// All object files, and the table of the symbols that they define for each other.
pub struct Inputs<'data> {
    pub objects: Vec<Input<'data>>,
    definitions: HashMap<&'data str, (usize, SymbolIndex)>,
}

impl<'data> Inputs<'data> {
    /// Reads the archives. A symbol for which `exported` holds is the kernel's, whoever else defines it; of several
    /// other definitions the first strong one counts, else the first weak one.
    pub fn read(archives: &'data [Archive], exported: impl Fn(&str) -> bool) -> Result<Self> {
        let mut objects = Vec::new();
        for archive in archives {
            read_archive(archive, &mut objects).with_context(|| format!("cannot read {}", archive.name))?;
        }
        let mut definitions: HashMap<&str, (usize, SymbolIndex)> = HashMap::new();
        let mut weak = HashMap::new();
        for (index, input) in objects.iter().enumerate() {
            for symbol in input.elf.symbols().filter(|symbol| symbol.is_global() && !symbol.is_undefined()) {
                let name = symbol.name()?;
                let table = if symbol.is_weak() { &mut weak } else { &mut definitions };
                if !exported(name) {
                    table.entry(name).or_insert((index, symbol.index()));
                }
            }
        }
        for (name, definition) in weak {
            definitions.entry(name).or_insert(definition);
        }
        Ok(Self { objects, definitions })
    }

    /// What the global symbol `name` stands for, if an object defines it.
    pub fn definition(&self, name: &str) -> Result<Option<Meaning<'data>>> {
        self.definitions.get(name).map(|(object, symbol)| self.local(*object, *symbol)).transpose()
    }

    /// What the symbol with this index in the symbol table of one object stands for.
    pub fn meaning(&self, object: usize, symbol: SymbolIndex) -> Result<Meaning<'data>> {
        let table_entry = self.objects[object].elf.symbol_by_index(symbol)?;
        if table_entry.is_local() {
            return self.local(object, symbol);
        }
        let name = table_entry.name()?;
        Ok(self.definition(name)?.unwrap_or(Meaning::Import(name)))
    }

    /// The relocations of a section, in the order of their offsets.
    pub fn fixups(&self, key: SectionKey) -> Result<Vec<Fixup<'data>>> {
        let section = self.objects[key.object].elf.section_by_index(SectionIndex(key.section))?;
        let mut fixups = Vec::new();
        for (offset, relocation) in section.relocations() {
            let object::RelocationFlags::Elf { r_type: kind } = relocation.flags() else {
                bail!("{} has a relocation that is not ELF's", self.describe(key));
            };
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                bail!("{} has a relocation that refers to no symbol", self.describe(key));
            };
            let meaning = self.meaning(key.object, symbol)?;
            fixups.push(Fixup { offset, kind, meaning, addend: relocation.addend() });
        }
        fixups.sort_by_key(|fixup| fixup.offset);
        Ok(fixups)
    }

    /// The section's name.
    pub fn section_name(&self, key: SectionKey) -> Result<&'data str> {
        Ok(self.objects[key.object].elf.section_by_index(SectionIndex(key.section))?.name()?)
    }

    /// The section in words, for messages.
    pub fn describe(&self, key: SectionKey) -> String {
        format!("section {} of {}", self.section_name(key).unwrap_or("?"), self.objects[key.object].name)
    }

    fn local(&self, object: usize, symbol: SymbolIndex) -> Result<Meaning<'data>> {
        let symbol = self.objects[object].elf.symbol_by_index(symbol)?;
        match symbol.section() {
            object::SymbolSection::Section(section) => {
                Ok(Meaning::Place(SectionKey { object, section: section.0 }, symbol.address()))
            }
            object::SymbolSection::Common => bail!(
                "symbol {} of {} is common, which takes a definition in one file: compile with -fno-common",
                symbol.name()?,
                self.objects[object].name
            ),
            other => {
                bail!("symbol {} of {} lies in no section, but in {other:?}", symbol.name()?, self.objects[object].name)
            }
        }
    }
}

fn read_archive<'data>(archive: &'data Archive, objects: &mut Vec<Input<'data>>) -> Result<()> {
    for (name, object) in rlib::objects(&archive.data)? {
        let elf = ElfFile64::parse(object)?;
        objects.push(Input { name: format!("{}({name})", archive.name), own: archive.own, elf });
    }
    Ok(())
}
