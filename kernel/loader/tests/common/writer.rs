//! Writes objects with relocations that no assembler would write.

use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection},
};

/// An object in the making, with all that it has in its section `.text`.
pub struct Writer {
    object: Object<'static>,
    text: SectionId,
    /// The names and addresses of the symbols outside that are somewhere.
    pub symbols: Vec<(String, u64)>,
}

impl Writer {
    pub fn new() -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        let text = object.add_section(vec![], b".text".to_vec(), SectionKind::Text);
        Self { object, text, symbols: Vec::new() }
    }

    /// A new symbol that is outside, at `address`.
    pub fn external(&mut self, address: u64) -> SymbolId {
        let name = format!("external{}", self.symbols.len());
        self.symbols.push((name.clone(), address));
        self.undefined(name, false)
    }

    /// A weak symbol that is nowhere.
    pub fn missing(&mut self) -> SymbolId {
        self.undefined("missing".into(), true)
    }

    fn undefined(&mut self, name: String, weak: bool) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.into_bytes(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Unknown,
            weak,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        })
    }

    /// Appends `bytes`, aligned to eight, and gives the offset.
    pub fn append(&mut self, bytes: &[u8]) -> u64 {
        self.object.append_section_data(self.text, bytes, 8)
    }

    /// Adds a relocation.
    pub fn relocate(&mut self, offset: u64, number: u32, symbol: SymbolId, addend: i64) {
        let flags = RelocationFlags::Elf { r_type: object::elf::RelocationType(number) };
        self.object.add_relocation(self.text, Relocation { offset, symbol, addend, flags }).unwrap();
    }

    /// Appends `bytes` with a relocation of a new symbol, whose address follows from the offset, and gives the offset.
    pub fn relocated(&mut self, number: u32, bytes: &[u8], address: impl FnOnce(u64) -> u64) -> u64 {
        let offset = self.append(bytes);
        let symbol = self.external(address(offset));
        self.relocate(offset, number, symbol, 0);
        offset
    }

    /// The object.
    pub fn write(&self) -> Vec<u8> {
        self.object.write().unwrap()
    }

    /// Looks a symbol up.
    pub fn resolve(&self, name: &str) -> Option<u64> {
        let number: usize = name.strip_prefix("external")?.parse().ok()?;
        Some(self.symbols.get(number)?.1)
    }
}
