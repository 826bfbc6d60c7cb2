//! Writes the module: the live sections put together by kind, as a relocatable object file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, Object as _, ObjectSection, ObjectSymbol, RelocationFlags, SectionFlags,
    SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
};

use super::frames::Frames;
use super::input::{Fixup, Inputs, Meaning, SectionKey};
use super::live::Live;

/// A module being written.
pub struct Output<'a, 'data> {
    inputs: &'a Inputs<'data>,
    object: Object<'static>,
    sections: HashMap<&'data str, SectionId>,
    /// Where the sections of the inputs went.
    places: BTreeMap<SectionKey, (SectionId, u64)>,
    imports: BTreeMap<&'data str, SymbolId>,
}

impl<'a, 'data> Output<'a, 'data> {
    /// Puts the live sections together, with the symbols `globals` as the only ones that others can look up.
    /// With `debug`, adds what a debugger wants to know about them.
    pub fn new(
        inputs: &'a Inputs<'data>,
        frames: &Frames<'data>,
        live: &Live,
        globals: &BTreeSet<&str>,
        debug: bool,
    ) -> Result<Self> {
        let object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        let mut output =
            Self { inputs, object, sections: HashMap::new(), places: BTreeMap::new(), imports: BTreeMap::new() };
        output.place_sections(live, debug)?;
        output.add_symbols(globals, debug)?;
        output.relocate()?;
        output.add_frames(frames, live)?;
        Ok(output)
    }

    /// Adds `key=value` to what the module says of itself.
    pub fn add_information(&mut self, key: &str, value: &str) {
        let section = self.section(".modinfo", SectionKind::ReadOnlyData);
        self.object.append_section_data(section, format!("{key}={value}\0").as_bytes(), 1);
    }

    /// Adds a section that is not loaded, with these bytes.
    pub fn add_note(&mut self, name: &str, data: &[u8]) {
        let section = self.object.add_section(Vec::new(), name.into(), SectionKind::Other);
        self.object.append_section_data(section, data, 1);
    }

    /// The symbols that the kernel has to provide, in the order of their names.
    pub fn imports(&self) -> impl Iterator<Item = &'data str> {
        self.imports.keys().copied()
    }

    /// The object file.
    pub fn write(&self) -> Result<Vec<u8>> {
        Ok(self.object.write()?)
    }

    fn place_sections(&mut self, live: &Live, debug: bool) -> Result<()> {
        for (object, input) in self.inputs.objects.iter().enumerate() {
            let used = live.sections.iter().any(|key| key.object == object);
            for section in input.elf.sections() {
                let key = SectionKey { object, section: section.index().0 };
                let name = section.name()?;
                let (name, kind) = if live.sections.contains(&key) {
                    let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
                    if sh_flags.contains(elf::SHF_TLS) {
                        bail!("{} holds thread-local data, which a module can't have", self.inputs.describe(key));
                    }
                    destination(name, sh_flags, section.kind() == SectionKind::UninitializedData)
                } else if debug && used && name.starts_with(".debug_") {
                    (name, SectionKind::Debug)
                } else {
                    continue;
                };
                let destination = self.section(name, kind);
                let offset = if kind == SectionKind::UninitializedData {
                    self.object.append_section_bss(destination, section.size(), section.align())
                } else {
                    self.object.append_section_data(destination, section.data()?, section.align())
                };
                self.places.insert(key, (destination, offset));
            }
        }
        Ok(())
    }

    /// Keeps the names of functions for backtraces and, with `debug`, all other names and the marks that tell code from
    /// data ($x and $d; ELF for the Arm 64-bit Architecture, section 5.5.5).
    fn add_symbols(&mut self, globals: &BTreeSet<&str>, debug: bool) -> Result<()> {
        for (object, input) in self.inputs.objects.iter().enumerate() {
            for symbol in input.elf.symbols() {
                let Some(section) = symbol.section_index() else { continue };
                let Some(&(section, offset)) = self.places.get(&SectionKey { object, section: section.0 }) else {
                    continue;
                };
                let (name, kind) = (symbol.name()?, symbol.kind());
                let global = symbol.is_global() && globals.contains(name);
                let kept = match kind {
                    SymbolKind::Text => true,
                    SymbolKind::Section | SymbolKind::File => false,
                    _ => global || debug,
                };
                if kept {
                    self.object.add_symbol(Symbol {
                        name: name.into(),
                        value: offset + symbol.address(),
                        size: symbol.size(),
                        kind: if kind == SymbolKind::Unknown { SymbolKind::Label } else { kind },
                        scope: if global { SymbolScope::Dynamic } else { SymbolScope::Compilation },
                        weak: false,
                        section: SymbolSection::Section(section),
                        flags: SymbolFlags::None,
                    });
                }
            }
        }
        Ok(())
    }

    fn relocate(&mut self) -> Result<()> {
        for (key, (section, offset)) in self.places.clone() {
            for fixup in self.inputs.fixups(key)? {
                self.add_relocation(section, offset, &fixup)?;
            }
        }
        Ok(())
    }

    fn add_frames(&mut self, frames: &Frames<'data>, live: &Live) -> Result<()> {
        if live.records.is_empty() {
            return Ok(());
        }
        let section = self.section(".eh_frame", SectionKind::ReadOnlyData);
        let mut offsets = HashMap::new();
        // Objects from one compiler have the same CIE: one serves them all.
        let mut common = HashMap::new();
        for (index, record) in frames.records.iter().enumerate().filter(|(index, _)| live.records.contains(index)) {
            if record.cie.is_none()
                && let Some(&offset) = common.get(&(record.data, &record.fixups))
            {
                offsets.insert(index, offset);
                continue;
            }
            let offset = self.object.append_section_data(section, record.data, if offsets.is_empty() { 8 } else { 1 });
            offsets.insert(index, offset);
            match record.cie {
                None => {
                    common.insert((record.data, &record.fixups), offset);
                }
                Some(cie) => {
                    let distance = (offset + 4 - offsets[&cie]) as u32;
                    let field = offset as usize + 4;
                    self.object.section_mut(section).data_mut()[field..field + 4]
                        .copy_from_slice(&distance.to_le_bytes());
                }
            }
            for fixup in &record.fixups {
                self.add_relocation(section, offset, fixup)?;
            }
        }
        // A length of 0 ends the section for readers that know only its start.
        self.object.append_section_data(section, &[0; 4], 1);
        Ok(())
    }

    fn add_relocation(&mut self, section: SectionId, start: u64, fixup: &Fixup<'data>) -> Result<()> {
        let (symbol, addend) = match fixup.meaning {
            Meaning::Place(key, offset) => match self.places.get(&key) {
                Some(&(target, target_start)) => {
                    (self.object.section_symbol(target), fixup.addend + (target_start + offset) as i64)
                }
                // Only debugging information speaks of sections that are not linked.
                None => {
                    self.bury(section, start + fixup.offset);
                    return Ok(());
                }
            },
            Meaning::Import(name) => (self.import(name), fixup.addend),
        };
        let flags = RelocationFlags::Elf { r_type: fixup.kind };
        Ok(self.object.add_relocation(section, Relocation { offset: start + fixup.offset, symbol, addend, flags })?)
    }

    /// Writes an address for a function that was left out. In a list of ranges 0 would end the list, so there it is 1,
    /// for both ends of the range, as other linkers do.
    fn bury(&mut self, section: SectionId, offset: u64) {
        let section = self.object.section_mut(section);
        if matches!(section.name(), Some(".debug_ranges" | ".debug_loc")) {
            section.data_mut()[offset as usize] = 1;
        }
    }

    fn section(&mut self, name: &'data str, kind: SectionKind) -> SectionId {
        let object = &mut self.object;
        *self.sections.entry(name).or_insert_with(|| {
            let section = object.add_section(Vec::new(), name.into(), kind);
            if name.starts_with(".init_array") {
                let sh_flags = elf::SHF_ALLOC | elf::SHF_WRITE;
                object.section_mut(section).flags = SectionFlags::Elf { sh_type: elf::SHT_INIT_ARRAY, sh_flags };
            }
            section
        })
    }

    fn import(&mut self, name: &'data str) -> SymbolId {
        let object = &mut self.object;
        *self.imports.entry(name).or_insert_with(|| {
            object.add_symbol(Symbol {
                name: name.into(),
                value: 0,
                size: 0,
                kind: SymbolKind::Label,
                scope: SymbolScope::Dynamic,
                weak: false,
                section: SymbolSection::Undefined,
                flags: SymbolFlags::None,
            })
        })
    }
}

/// The section of the module that takes a section of an object file.
fn destination(name: &str, flags: elf::SectionFlags, uninitialized: bool) -> (&str, SectionKind) {
    // Constant once it is relocated, whatever its flags say.
    let constant = name.starts_with(".data.rel.ro") || name.starts_with(".data.DW.ref.");
    if flags.contains(elf::SHF_EXECINSTR) {
        (".text", SectionKind::Text)
    } else if name.starts_with(".gcc_except_table") {
        (".gcc_except_table", SectionKind::ReadOnlyData)
    } else if name == ".modinfo" {
        (".modinfo", SectionKind::ReadOnlyData)
    } else if name.starts_with(".init_array") {
        // The name says when they are called.
        (name, SectionKind::Data)
    } else if uninitialized {
        (".bss", SectionKind::UninitializedData)
    } else if flags.contains(elf::SHF_WRITE) && !constant {
        (".data", SectionKind::Data)
    } else {
        (".rodata", SectionKind::ReadOnlyData)
    }
}
