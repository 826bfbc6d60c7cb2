//! The ELF file header and the table of section headers that it leads to.

use xmas_elf::{
    P64,
    header::{self, Class, Data, HeaderPt2, Machine, Type},
    sections::{SHN_XINDEX, SectionHeader, SectionHeader_},
};
use zero::{Pod, read_array};

use crate::Error;

/// The size of the ELF64 file header, in bytes.
const FILE_HEADER_SIZE: usize = 64;

/// The size of an ELF64 section header, in bytes.
const SECTION_HEADER_SIZE: usize = size_of::<SectionHeader_<P64>>();

/// The table of section headers of an AArch64 relocatable object.
#[derive(Clone, Copy)]
pub(crate) struct SectionTable<'a> {
    headers: &'a [SectionHeader_<P64>],
    bytes: &'a [u8],
    /// The number of the section that holds the sections' names.
    pub names: usize,
}

impl<'a> SectionTable<'a> {
    /// Reads and checks the file header of an object at an address that is a multiple of eight.
    pub(crate) fn read(object: &'a [u8]) -> Result<Self, Error> {
        let unacceptable = |expected, found| Error::Unacceptable { what: "the ELF header".into(), expected, found };
        let out_of_bounds = |what: &str, end| Error::OutOfBounds { what: what.into(), end, size: object.len() as u64 };

        let Some((start, _)) = object.split_first_chunk::<FILE_HEADER_SIZE>() else {
            return Err(out_of_bounds("the ELF header", FILE_HEADER_SIZE as u64));
        };
        let [magic @ .., class, data] = *start.first_chunk::<6>().unwrap_or(&[0; 6]);
        if magic != header::MAGIC {
            return Err(unacceptable("the magic number 0x7f E L F", u32::from_be_bytes(magic).into()));
        }
        let file = header::parse_header(start).ok().filter(|file| file.pt1.class() == Class::SixtyFour);
        let (pt1, file) = match file {
            Some(header::Header { pt1, pt2: HeaderPt2::Header64(pt2) }) => (pt1, pt2),
            _ => return Err(unacceptable("the 64-bit class, ELFCLASS64 (2)", class.into())),
        };
        if pt1.data() != Data::LittleEndian {
            return Err(unacceptable("little-endian data, ELFDATA2LSB (1)", data.into()));
        }
        if file.machine.as_machine() != Machine::AArch64 {
            return Err(unacceptable("the machine AArch64 (183)", u16::from_le_bytes([start[18], start[19]]).into()));
        }
        if file.type_.as_type() != Type::Relocatable {
            return Err(unacceptable("a relocatable object, ET_REL (1)", file.type_.0.into()));
        }
        if file.version != 1 {
            return Err(unacceptable("version 1", file.version.into()));
        }
        if usize::from(file.sh_entry_size) != SECTION_HEADER_SIZE {
            return Err(unacceptable("section headers of 64 bytes", file.sh_entry_size.into()));
        }
        let table = |count: u64| {
            let end = file.sh_offset.saturating_add(count.saturating_mul(SECTION_HEADER_SIZE as u64));
            let range = usize::try_from(file.sh_offset).ok()..usize::try_from(end).ok();
            let bytes = range.start.zip(range.end).and_then(|(start, end)| object.get(start..end));
            let bytes = bytes.ok_or_else(|| out_of_bounds("the table of section headers", end))?;
            let misaligned = || unacceptable("section headers at a multiple of eight", file.sh_offset);
            Ok((records(bytes).ok_or_else(misaligned)?, bytes))
        };
        // Numbers too large for the file header's fields stand in the first section header (System V ABI, "ELF Header").
        let (first, _) = table(1)?;
        let first = |field: fn(&SectionHeader<'a>) -> u64| {
            first.first().map_or(0, |header| field(&SectionHeader::Sh64(header)))
        };
        let count = match file.sh_count {
            0 => first(SectionHeader::size),
            count => count.into(),
        };
        let names = match file.sh_str_index {
            SHN_XINDEX => first(|header| header.link().into()) as usize,
            names => names.into(),
        };
        let (headers, bytes) = table(count)?;
        Ok(Self { headers, bytes, names })
    }

    /// How many sections there are, the null section included.
    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }

    /// The header of the section with this number.
    pub(crate) fn get(&self, index: usize) -> Option<SectionHeader<'a>> {
        self.headers.get(index).map(SectionHeader::Sh64)
    }

    /// The number of a section's type, the second word of its header, which `xmas-elf` does not give.
    pub(crate) fn type_number(&self, index: usize) -> u64 {
        let bytes = self.bytes.get(index * SECTION_HEADER_SIZE + 4..).and_then(<[u8]>::first_chunk);
        u32::from_le_bytes(bytes.copied().unwrap_or_default()).into()
    }
}

/// Bytes as records of one type, if there is a whole number of them at an address that suits them.
pub(crate) fn records<T: Pod>(bytes: &[u8]) -> Option<&[T]> {
    let aligned = bytes.as_ptr().addr().is_multiple_of(align_of::<T>());
    (aligned && bytes.len().is_multiple_of(size_of::<T>())).then(|| read_array(bytes))
}
