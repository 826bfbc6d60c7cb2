//! The ELF file header and the table of section headers that it leads to.

use object::{
    LittleEndian as LE,
    elf::{self, FileHeader64, SectionHeader64},
    pod::{Pod, from_bytes, slice_from_all_bytes},
};

use crate::{Error, LARGEST_OBJECT};

/// The table of section headers of an AArch64 relocatable object.
#[derive(Clone, Copy)]
pub(crate) struct SectionTable<'a> {
    /// The headers, that of the null section included.
    pub headers: &'a [SectionHeader64<LE>],
    /// The number of the section that holds the sections' names.
    pub names: usize,
}

impl<'a> SectionTable<'a> {
    /// Reads and checks the file header of an object.
    pub(crate) fn read(object: &'a [u8]) -> Result<Self, Error> {
        let size = object.len() as u64;
        let unacceptable = |expected, found| Error::Unacceptable { what: "the ELF header".into(), expected, found };
        let out_of_bounds = |what: &str, end| Error::OutOfBounds { what: what.into(), end, size };

        if object.len() > LARGEST_OBJECT {
            return Err(Error::TooLarge { what: "the object file", size, limit: LARGEST_OBJECT as u64 });
        }
        let Ok((file, _)) = from_bytes::<FileHeader64<LE>>(object) else {
            return Err(out_of_bounds("the ELF header", size_of::<FileHeader64<LE>>() as u64));
        };
        let identity = file.e_ident;
        if identity.magic != elf::ELFMAG {
            return Err(unacceptable("the magic number 0x7f E L F", u32::from_be_bytes(identity.magic).into()));
        }
        if identity.class != elf::ELFCLASS64 {
            return Err(unacceptable("the 64-bit class, ELFCLASS64 (2)", identity.class.0.into()));
        }
        if identity.data != elf::ELFDATA2LSB {
            return Err(unacceptable("little-endian data, ELFDATA2LSB (1)", identity.data.0.into()));
        }
        if file.e_machine.get(LE) != elf::EM_AARCH64 {
            return Err(unacceptable("the machine AArch64 (183)", file.e_machine.get(LE).0.into()));
        }
        if file.e_type.get(LE) != elf::ET_REL {
            return Err(unacceptable("a relocatable object, ET_REL (1)", file.e_type.get(LE).0.into()));
        }
        if file.e_version.get(LE) != elf::EV_CURRENT.0.into() {
            return Err(unacceptable("version 1", file.e_version.get(LE).into()));
        }
        let header_size = size_of::<SectionHeader64<LE>>();
        if usize::from(file.e_shentsize.get(LE)) != header_size {
            return Err(unacceptable("section headers of 64 bytes", file.e_shentsize.get(LE).into()));
        }
        let start = file.e_shoff.get(LE);
        let table = |count: u64| {
            let end = start.saturating_add(count.saturating_mul(header_size as u64));
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let bytes = range.and_then(|(start, end)| object.get(start..end));
            bytes.and_then(records).ok_or_else(|| out_of_bounds("the table of section headers", end))
        };
        // Numbers too large for the file header's fields stand in the first section header (System V ABI, "ELF Header").
        let first: Option<&SectionHeader64<LE>> = table(1)?.first();
        let count = match file.e_shnum.get(LE) {
            0 => first.map_or(0, |header| header.sh_size.get(LE)),
            count => count.into(),
        };
        let names = match file.e_shstrndx.get(LE) {
            elf::SHN_XINDEX => first.map_or(0, |header| header.sh_link.get(LE)) as usize,
            names => names.0.into(),
        };
        Ok(Self { headers: table(count)?, names })
    }
}

/// Bytes as records of one type, if there is a whole number of them. `object`'s records may be at any address.
pub(crate) fn records<T: Pod>(bytes: &[u8]) -> Option<&[T]> {
    slice_from_all_bytes(bytes).ok()
}
