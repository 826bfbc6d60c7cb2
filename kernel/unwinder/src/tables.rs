//! From an address to the table entry of its function.

use crate::Error;
use gimli::{BaseAddresses, EhFrame, EndianSlice, LittleEndian, UnwindSection, Vendor};

pub type Bytes<'a> = EndianSlice<'a, LittleEndian>;
pub type Description<'a> = gimli::FrameDescriptionEntry<Bytes<'a>>;

/// Bytes, and where they are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// The first byte's address.
    pub address: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> Section<'a> {
    /// All from `address` on.
    pub(crate) fn from(&self, address: u64) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(address.checked_sub(self.address)?).ok()?..)
    }
}

/// The tables of a piece of code that was linked as one.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// `.eh_frame`: how to unwind each function.
    pub frames: Section<'a>,
    /// `.eh_frame_hdr`: where each function's entry is, sorted. Without it the entries are searched one by one.
    pub index: Option<Section<'a>>,
    /// Memory with `.gcc_except_table`: what each function wants done.
    pub actions: Section<'a>,
}

/// The encoding of addresses in `.eh_frame` that compilers use for this processor: four bytes, signed, relative to their own
/// place (`DW_EH_PE_pcrel | DW_EH_PE_sdata4`).
const RELATIVE: usize = 4;
/// How the index begins that linkers make for this processor: its version, where the entries begin (as above), how many
/// there are (`DW_EH_PE_udata4`), and pairs of where a function and its entry begin, relative to the index
/// (`DW_EH_PE_datarel | DW_EH_PE_sdata4`).
const INDEX_FORMAT: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

impl<'a> Tables<'a> {
    pub(crate) fn bases(&self) -> BaseAddresses {
        BaseAddresses::default().set_eh_frame(self.frames.address)
    }

    pub(crate) fn section(&self) -> EhFrame<Bytes<'a>> {
        let mut section = EhFrame::new(self.frames.bytes, LittleEndian);
        section.set_address_size(8);
        section.set_vendor(Vendor::AArch64);
        section
    }

    /// The entry of the function with the instruction at `address`.
    pub(crate) fn entry(&self, address: u64) -> Result<Description<'a>, Error> {
        let offset = match &self.index {
            Some(index) => self.look_up(index, address),
            None => self.scan(address),
        };
        let (section, bases) = (self.section(), self.bases());
        let entry = section
            .fde_from_offset(&bases, offset.ok_or(Error::NoEntry(address))?.into(), EhFrame::cie_from_offset)
            .map_err(|reason| Error::BadTables { address, reason })?;
        if entry.contains(address) { Ok(entry) } else { Err(Error::NoEntry(address)) }
    }

    /// The offset of the entry of the last function that begins at or before `address`, by the index (Linux Standard Base
    /// 5.0, "The .eh_frame_hdr section"). Who calls this checks what it has found.
    fn look_up(&self, index: &Section<'a>, address: u64) -> Option<usize> {
        let rows = index.bytes.strip_prefix(&INDEX_FORMAT)?.get(4..)?;
        let (count, rows) = rows.split_first_chunk()?;
        let rows = rows.as_chunks::<8>().0.get(..u32::from_le_bytes(*count) as usize)?;
        let number = |bytes: [u8; 4]| index.address.wrapping_add_signed(i64::from(i32::from_le_bytes(bytes)));
        let is_before = |[a, b, c, d, ..]: &[u8; 8]| number([*a, *b, *c, *d]) <= address;
        let [.., a, b, c, d] = rows.get(rows.partition_point(is_before).checked_sub(1)?)?;
        usize::try_from(number([*a, *b, *c, *d]).checked_sub(self.frames.address)?).ok()
    }

    /// The offset of the first entry whose function holds `address`. Reads no more of the others than where their functions
    /// begin and end: who calls this checks what it has found.
    fn scan(&self, address: u64) -> Option<usize> {
        let bytes = self.frames.bytes;
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let mut at = 0;
        loop {
            // A record: its length, 0 for a CIE, then where the function begins, and its size.
            let length = word(at)?;
            if length == 0 {
                return None;
            }
            if word(at + RELATIVE)? != 0 {
                let place = at + 2 * RELATIVE;
                let start = (self.frames.address + place as u64).wrapping_add_signed(i64::from(word(place)? as i32));
                if address.wrapping_sub(start) < u64::from(word(place + RELATIVE)?) {
                    return Some(at);
                }
            }
            at += RELATIVE + length as usize;
        }
    }
}
