//! The functions and source lines of the kernel or of a module.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use anyhow::{Context as _, Result};
use loader::{Layout, Permission, Workarounds};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};
use rustc_demangle::demangle;

use super::line::{Line, NO_FUNCTION};
use super::read;

/// Where a module's instructions are taken to be. Not at 0: there debugging information has functions that were left
/// out.
const TEXT: u64 = 1 << 32;

/// The kernel, or a module.
pub struct Image {
    /// What to add to an address outside, to get one of the debugging information.
    base: u64,
    /// Functions by address, demangled, with those of the same address.
    functions: Vec<(u64, String)>,
    lines: addr2line::Context<EndianSlice<'static, LittleEndian>>,
}

impl Image {
    /// The kernel in an ELF file. Addresses are those of the running system.
    pub fn kernel(path: &Path) -> Result<Self> {
        Self::new(path, 0, |_| Ok(HashMap::new()))
    }

    /// A module in an object file. Addresses count from the start of its instructions.
    pub fn module(path: &Path) -> Result<Self> {
        Self::new(path, TEXT, |bytes| {
            let object = loader::Object::parse(bytes)?;
            let layout = Layout::new(&object, Workarounds::default())?;
            let executed = layout.sections().filter(|section| section.permission == Permission::Execute);
            Ok(executed.map(|section| (section.number, TEXT + section.offset as u64)).collect())
        })
    }

    fn new(path: &Path, base: u64, places: impl FnOnce(&[u8]) -> Result<HashMap<usize, u64>>) -> Result<Self> {
        let bytes = read(path)?;
        let build = || -> Result<Self> {
            let places = places(&bytes)?;
            let elf = ElfFile64::<object::LittleEndian>::parse(bytes.as_slice())?;
            let place = |section: Option<SectionIndex>| section.and_then(|index| places.get(&index.0)).unwrap_or(&0);
            let mut functions = Vec::new();
            for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition()) {
                let address = place(symbol.section_index()) + symbol.address();
                functions.push((address, format!("{:#}", demangle(symbol.name()?))));
            }
            functions.sort();
            let load = |id: SectionId| -> Result<_> {
                // Needed until the program ends.
                let data = section(&elf, id.name(), |section| *place(section))?.leak();
                Ok(EndianSlice::new(data, LittleEndian))
            };
            Ok(Self { base, functions, lines: addr2line::Context::from_dwarf(Dwarf::load(load)?)? })
        };
        build().with_context(|| format!("cannot read {}", path.display()))
    }

    /// Finds out how far the kernel was from where it was linked for, by what most of these lines say.
    pub fn find_place<'l>(&mut self, lines: impl Iterator<Item = &'l Line<'l>>) {
        let mut distances: HashMap<u64, usize> = HashMap::new();
        for (line, (name, offset)) in lines.filter_map(|line| Some((line, line.function?))) {
            for (address, _) in self.functions.iter().filter(|(_, other)| other == name) {
                *distances.entry((address + offset).wrapping_sub(line.address)).or_default() += 1;
            }
        }
        self.base = distances.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(distance, _)| distance);
    }

    /// Whether a line names the function that is there.
    pub fn agrees(&self, address: u64, line: &Line<'_>) -> bool {
        let Some((name, offset)) = line.function.filter(|(name, _)| *name != NO_FUNCTION) else { return true };
        let start = self.base.wrapping_add(address).wrapping_sub(offset);
        self.functions.binary_search_by(|(other, function)| (*other, function.as_str()).cmp(&(start, name))).is_ok()
    }

    /// The functions that an instruction belongs to, each inlined into the next.
    pub fn frames(&self, address: u64) -> Result<Vec<Frame>> {
        let mut found = self.lines.find_frames(self.base.wrapping_add(address)).skip_all_loads()?;
        let mut frames = Vec::new();
        while let Some(frame) = found.next()? {
            let function = frame.function.as_ref().map(|function| function.demangle().map(Cow::into_owned));
            let location = frame.location.as_ref();
            frames.push(Frame {
                function: function.transpose()?.unwrap_or_else(|| "?".to_owned()),
                file: location.and_then(|location| location.file).unwrap_or("?").to_owned(),
                line: location.and_then(|location| location.line).unwrap_or(0),
            });
        }
        Ok(frames)
    }
}

/// The contents of a section, relocated; empty when there is none.
fn section(
    elf: &ElfFile64<'_, object::LittleEndian>,
    name: &str,
    place: impl Fn(Option<SectionIndex>) -> u64,
) -> Result<Vec<u8>> {
    let Some(section) = elf.section_by_name(name) else { return Ok(Vec::new()) };
    let mut data = section.uncompressed_data()?.into_owned();
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
        let symbol = elf.symbol_by_index(symbol)?;
        let value = (place(symbol.section_index()) + symbol.address()).wrapping_add_signed(relocation.addend());
        let size = usize::from(relocation.size() / 8);
        let field = data.get_mut(offset as usize..).and_then(|data| data.get_mut(..size));
        let field = field.with_context(|| format!("a relocation of {name} is outside of it"))?;
        field.copy_from_slice(&value.to_le_bytes()[..size]);
    }
    Ok(data)
}

/// A place in the source.
pub struct Frame {
    function: String,
    file: String,
    line: u32,
}

impl Frame {
    /// The place in words; files below `root` are named from there.
    pub fn within(&self, root: &Path) -> impl fmt::Display {
        let file = Path::new(&self.file);
        format!("{} at {}:{}", self.function, file.strip_prefix(root).unwrap_or(file).display(), self.line)
    }
}
