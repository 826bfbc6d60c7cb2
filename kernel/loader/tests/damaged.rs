//! Each field of a header or table with which an object cannot be loaded: refused, with the part and the field.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Module, compile};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// A whole object, and where in it the parts are.
struct Whole {
    bytes: Vec<u8>,
}

impl Whole {
    fn new() -> Self {
        let source = ".global f; f: bl g; .comm c, 8, 8; .data; .8byte f; .section .rodata, \"a\"; .8byte 1";
        Self { bytes: compile("whole.s", source, &[]) }
    }

    /// Where the header of a section is.
    fn header(&self, name: &str) -> usize {
        let file = object::File::parse(&*self.bytes).unwrap();
        let headers = u64::from_le_bytes(self.bytes[40..48].try_into().unwrap()) as usize;
        headers + 64 * file.section_by_name(name).unwrap().index().0
    }

    /// Where the contents of a section are.
    fn contents(&self, name: &str) -> usize {
        let header = self.header(name);
        u64::from_le_bytes(self.bytes[header + 24..header + 32].try_into().unwrap()) as usize
    }

    /// Where a symbol is.
    fn symbol(&self, name: &str) -> usize {
        let file = object::File::parse(&*self.bytes).unwrap();
        self.contents(".symtab") + 24 * file.symbol_by_name(name).unwrap().index().0
    }

    /// What the loader says of it with other bytes at `place`.
    fn refusal(&self, place: usize, bytes: &[u8]) -> String {
        let mut damaged = self.bytes.clone();
        damaged[place..place + bytes.len()].copy_from_slice(bytes);
        Module::load(&damaged, |_| Some(0xffff_8000_1000_0000)).unwrap_err().to_string()
    }
}

#[test]
fn what_is_damaged_is_named_with_what_was_expected_and_found() {
    let whole = Whole::new();
    assert!(Module::load(&whole.bytes, |_| Some(0xffff_8000_1000_0000)).is_ok());
    let (text, data, relocations) = (whole.header(".text"), whole.header(".data"), whole.header(".rela.text"));
    let (table, names) = (whole.header(".symtab"), whole.header(".strtab"));
    let (f, c) = (whole.symbol("f"), whole.symbol("c"));
    let strings = whole.contents(".strtab") + whole.bytes[names + 32] as usize - 1;
    let relocation = whole.contents(".rela.text");
    for (place, bytes, expected) in [
        // The file header.
        (4, &[1][..], "the ELF header: expected the 64-bit class, ELFCLASS64 (2), found 0x1"),
        (5, &[2], "the ELF header: expected little-endian data, ELFDATA2LSB (1), found 0x2"),
        (16, &[2, 0], "the ELF header: expected a relocatable object, ET_REL (1), found 0x2"),
        (18, &[62, 0], "the ELF header: expected the machine AArch64 (183), found 0x3e"),
        (20, &[2], "the ELF header: expected version 1, found 0x2"),
        (58, &[40, 0], "the ELF header: expected section headers of 64 bytes, found 0x28"),
        (
            60,
            &[0, 1],
            &format!(
                "the table of section headers ends at byte {}, but",
                whole.bytes.len() + 64 * (256 - usize::from(whole.bytes[60]))
            ),
        ),
        (62, &[1, 0], "the ELF header: expected the number of its string table, found 0x1"),
        // Section headers.
        (text, &[0xff, 0xff], "section `section 1`: expected a name inside the table of section names, found 0xffff"),
        (text + 4, &[3], "section `.text`: expected a loaded section to hold program data, found 0x3"),
        (text + 4, &[0x99, 0x99], "section `.text`: expected a loaded section to hold program data, found 0x9999"),
        (text + 24, &[0xff; 8], "section `.text` ends at byte 18446744073709551615, but the object file has only"),
        (text + 32, &[0, 0, 1], "section `.text` ends at byte 65600, but the object file has only"),
        (text + 48, &[3], "section `.text`: expected an alignment that is a power of two, found 0x3"),
        (
            data + 9,
            &[8],
            "section `.data`: expected no compression of a loaded section (flag SHF_COMPRESSED), found 0x803",
        ),
        // Relocations.
        (relocations + 4, &[9], "section `.rela.text`: expected relocations with addends (SHT_RELA), found 0x9"),
        (relocations + 40, &[1], "section `.rela.text`: expected to refer to this object's symbol table, found 0x1"),
        (relocations + 44, &[99], "section `.rela.text`: expected to apply to a section of this object, found 0x63"),
        (relocations + 56, &[16], "section `.rela.text`: expected a table of 24-byte relocations, found 0x10"),
        (relocations + 32, &[23], "section `.rela.text`: expected a table of 24-byte relocations, found 0x17"),
        (
            relocation + 12,
            &[99],
            "relocation CALL26 of `symbol 99` at .text+0x0: expected the number of a symbol, found 0x63",
        ),
        // Symbols.
        (table + 40, &[1], "section `.symtab`: expected the number of its string table, found 0x1"),
        (table + 44, &[99], "section `.symtab`: expected no more local symbols than symbols, found 0x63"),
        (table + 56, &[16], "section `.symtab`: expected a table of 24-byte symbols, found 0x10"),
        (strings, &[1], "section `.strtab`: expected a string table that ends with a zero byte, found 0x1"),
        (f, &[0, 1], "symbol `.text`: expected a name inside the table of symbol names, found 0x100"),
        (f + 6, &[99], "symbol `f`: expected a section number below the number of sections, found 0x63"),
        (f + 6, &[0, 0xff], "symbol `f`: expected a section number of the System V ABI, found 0xff00"),
        (f + 6, &[0xff, 0xff], "symbol `f`: expected a section number of the System V ABI, found 0xffff"),
        (f + 8, &[5], "symbol `f`: expected a value inside its section, found 0x5"),
        (c + 8, &[0], "symbol `c`: expected an alignment that is a power of two of at most 2 MiB, found 0x0"),
        (
            c + 8,
            &[0, 0, 64],
            "symbol `c`: expected an alignment that is a power of two of at most 2 MiB, found 0x400000",
        ),
    ] {
        let refusal = whole.refusal(place, bytes);
        assert!(refusal.starts_with(expected), "{refusal}, expected {expected}");
    }
}
