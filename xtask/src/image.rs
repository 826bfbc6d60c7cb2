//! Makes the kernel's bootable image from its ELF file.
//!
//! The image is the memory of the kernel as it will stand, from the first loaded byte (the Linux arm64 Image header)
//! through the end of `.bss`, and behind it the table of function names for backtraces.

use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSegment, ObjectSymbol, SymbolKind};

/// Where in the header the size of the image in memory stands, and the magic number (Linux,
/// Documentation/arch/arm64/booting.rst).
const IMAGE_SIZE: usize = 16;
const MAGIC: (usize, &[u8]) = (56, b"ARM\x64");

/// The image of the kernel in this ELF file.
///
/// # Errors
///
/// When the file is no such kernel: it does not begin with an Image header, or its loaded parts do not end where
/// `__image_end` says.
pub fn pack(elf: &[u8]) -> Result<Vec<u8>> {
    let elf = ElfFile64::<LittleEndian>::parse(elf)?;
    let base = elf.segments().map(|segment| segment.address()).min().context("the kernel has nothing to load")?;
    let mut image = Vec::new();
    for segment in elf.segments() {
        let start = usize::try_from(segment.address() - base)?;
        let end = start + usize::try_from(segment.size())?;
        image.resize(image.len().max(end), 0);
        let data = segment.data()?;
        image[start..start + data.len()].copy_from_slice(data);
    }
    let (offset, magic) = MAGIC;
    ensure!(
        image.get(offset..offset + magic.len()) == Some(magic),
        "the kernel does not begin with an arm64 Image header"
    );
    let end = elf.symbol_by_name("__image_end").context("the kernel has no symbol __image_end")?.address();
    let end = usize::try_from(end.checked_sub(base).context("__image_end lies before the kernel")?)?;
    ensure!(image.len() <= end, "the kernel's loaded parts reach beyond __image_end");
    image.resize(end, 0);
    image.extend(symbols::write(functions(&elf, base)?));
    let size = image.len() as u64;
    image[IMAGE_SIZE..IMAGE_SIZE + 8].copy_from_slice(&size.to_le_bytes());
    Ok(image)
}

fn functions(elf: &ElfFile64<'_, LittleEndian>, base: u64) -> Result<Vec<(u32, String)>> {
    let mut functions = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition()) {
        let name = format!("{:#}", rustc_demangle::demangle(symbol.name()?));
        functions.push((u32::try_from(symbol.address() - base)?, name));
    }
    Ok(functions)
}
