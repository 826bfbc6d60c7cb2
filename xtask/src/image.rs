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

/// How large the image may be, in bytes: `start.s` has tables for so much.
const LARGEST: usize = 8 << 20;

/// The image of the kernel in this ELF file.
///
/// # Errors
///
/// When the file is no such kernel: it does not begin with an Image header, or its loaded parts do not end where
/// `__image_end` says, or is too large.
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
    ensure!(image.len() <= LARGEST, "the kernel's image has {} bytes, which is more than start.s can map", image.len());
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::process::Command;

    /// A kernel with code, constants behind a gap, and cleared memory at its end.
    const SOURCE: &str = r#"
        .section .text.head, "ax"
        .globl _start
        _start: b entry
        .word 0
        .quad 0, 0, 0, 0, 0, 0
        .ascii "ARM\x64"
        .word 0
        .type entry, %function
        entry: ret
        .type _RNvNtCs4fqI2P2rA04_6kernel5panic4halt, %function
        _RNvNtCs4fqI2P2rA04_6kernel5panic4halt: b .
        .section .rodata, "a"
        .quad 0x1122334455667788
        .bss
        .skip 5000
    "#;

    const SCRIPT: &str = "SECTIONS {
        . = 0xffffffff80000000;
        .text : { *(.text.head) *(.text) }
        . = ALIGN(4096);
        .rodata : { *(.rodata) }
        . = ALIGN(4096);
        .bss : { *(.bss) }
        . = ALIGN(4096);
        __image_end = .;
    }";

    fn run(tool: &str, arguments: &[&str], folder: &std::path::Path) {
        let output = Command::new(tool).args(arguments).current_dir(folder).output();
        let output = output.unwrap_or_else(|error| panic!("{tool}: {error}; ./x test installs it"));
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn the_image_is_the_memory_of_the_kernel_and_its_functions() {
        let folder = std::env::temp_dir().join(format!("lockstep-image-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("kernel.s"), SOURCE).unwrap();
        std::fs::write(folder.join("kernel.ld"), SCRIPT).unwrap();
        run("aarch64-linux-gnu-gcc", &["-c", "kernel.s", "-o", "kernel.o"], &folder);
        run("aarch64-linux-gnu-ld", &["-T", "kernel.ld", "kernel.o", "-o", "kernel.elf"], &folder);
        run("aarch64-linux-gnu-objcopy", &["-O", "binary", "kernel.elf", "kernel.bin"], &folder);
        let image = pack(&std::fs::read(folder.join("kernel.elf")).unwrap()).unwrap();
        let mut memory = std::fs::read(folder.join("kernel.bin")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();

        // objcopy ends where the cleared memory begins.
        memory.resize(4 * 4096, 0);
        memory[IMAGE_SIZE..IMAGE_SIZE + 8].copy_from_slice(&image.len().to_le_bytes());
        assert_eq!(&image[..memory.len()], memory);

        let functions = symbols::Symbols::parse(&image[memory.len()..]).unwrap();
        let place = |offset| functions.find(offset).map(|place| (place.function, place.offset));
        assert_eq!(place(64), Some(("entry", 0)));
        assert_eq!(place(70), Some(("kernel::panic::halt", 2)));
    }
}
