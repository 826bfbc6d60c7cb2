//! The static relocations of AArch64 ELF64 (AAELF64, "Static AArch64 relocations"), as one table.

use object::elf::{self, RelocationType};

/// How one type of relocation is computed, checked and written.
pub(crate) struct Relocation {
    /// The name without `R_AARCH64_`.
    pub name: &'static str,
    /// What to compute.
    pub formula: Formula,
    /// The lowest value allowed.
    pub minimum: i64,
    /// The highest value allowed.
    pub maximum: i64,
    /// Where the value goes.
    pub field: Field,
}

/// What a relocation computes, in AAELF64's letters: the symbol's address S, the addend A, the place P, the global
/// offset table GOT, the symbol's entry in that table G, and the 4 KiB page of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Formula {
    /// S + A
    Absolute,
    /// S + A - P
    Relative,
    /// S + A - P of a branch, which may go by a veneer, and to a missing weak symbol goes on to the next instruction.
    Branch,
    /// S + A - P of a function, which may be represented by a veneer.
    Function,
    /// Page(S + A) - Page(P)
    Page,
    /// S + A - GOT
    FromTable,
    /// G
    Entry,
    /// G - P
    EntryRelative,
    /// G - P + A
    EntryRelativePlus,
    /// Page(G) - Page(P)
    EntryPage,
    /// G - GOT
    EntryFromTable,
    /// G - Page(GOT)
    EntryFromTablePage,
}

/// Where a relocation's value goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Two bytes of data.
    Data16,
    /// Four bytes of data.
    Data32,
    /// Eight bytes of data.
    Data64,
    /// An instruction's field of `width` bits at bit `position`, which counts in units of 1 << `scale` bytes.
    Scaled { scale: u8, width: u8, position: u8 },
    /// The 12-bit field of ADD, or of a load or store of 1 << `scale` bytes, which counts in units of as many: the low
    /// 12 bits of the value.
    Low { scale: u8 },
    /// The 21-bit field of ADR and ADRP, split in two: bits 20 to 0 of the value shifted right by `shift`.
    Address { shift: u8 },
    /// The 16-bit field of MOVZ, MOVN and MOVK: bits 15 to 0 of the value shifted right by `shift`.
    Move { shift: u8 },
    /// The same of a signed value: where the instruction is MOVZ or MOVN, the value's sign decides between them.
    SignedMove { shift: u8 },
}

/// Why a value cannot be written into a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misfit {
    /// The value is outside the relocation's range.
    Overflow,
    /// The value is not a multiple of this.
    Misaligned(u64),
    /// The field reaches beyond the bytes given.
    OutOfBounds,
}

/// Why a type of relocation is not in the table.
pub(crate) struct Unsupported {
    /// The name without `R_AARCH64_`, where the type has one.
    pub name: Option<&'static str>,
    /// The reason, as the end of a sentence.
    pub reason: &'static str,
}

impl Relocation {
    /// The relocation with this number; `None` for the one that does nothing.
    pub(crate) fn find(number: RelocationType) -> Result<Option<&'static Self>, Unsupported> {
        if let Some(Some(relocation)) = number.0.checked_sub(FIRST).and_then(|index| TABLE.get(index as usize)) {
            return Ok(Some(relocation));
        }
        let reason = match number.0 {
            // 256 is an older number of the same.
            0 | 256 => return Ok(None),
            512..=573 => "modules have no thread-local storage",
            580..=594 => "modules have no signed pointers",
            1024..=1032 => "it belongs into files that have already been linked",
            _ => return Err(Unsupported { name: None, reason: "no static relocation of AArch64 has this number" }),
        };
        let name = elf::NAMES_R_AARCH64.name(number).and_then(|name| name.strip_prefix("R_AARCH64_"));
        Err(Unsupported { name, reason })
    }

    /// Whether `value` is in the relocation's range.
    pub(crate) fn fits(&self, value: i64) -> bool {
        (self.minimum..=self.maximum).contains(&value)
    }

    /// Checks `value` and writes it to the start of `place`.
    pub(crate) fn write(&self, place: &mut [u8], value: i64) -> Result<(), Misfit> {
        if !self.fits(value) {
            return Err(Misfit::Overflow);
        }
        match self.field {
            Field::Data16 => *chunk(place)? = (value as u16).to_le_bytes(),
            Field::Data32 => *chunk(place)? = (value as u32).to_le_bytes(),
            Field::Data64 => *chunk(place)? = value.to_le_bytes(),
            Field::Scaled { scale, width, position } => {
                let mask = (1 << width) - 1;
                edit(place, mask << position, (in_units(value, scale)? as u32 & mask) << position)?;
            }
            Field::Low { scale } => edit(place, 0xfff << 10, (in_units(value & 0xfff, scale)? as u32) << 10)?,
            Field::Address { shift } => {
                let value = (value >> shift) as u32;
                edit(place, 0x60ff_ffe0, (value & 3) << 29 | (value >> 2 & 0x7_ffff) << 5)?;
            }
            Field::Move { shift } => edit(place, MOVE_FIELD, ((value >> shift) as u32 & 0xffff) << 5)?,
            Field::SignedMove { shift } => {
                let instruction = u32::from_le_bytes(*chunk(place)?);
                let (mask, opcode) = match instruction & MOVE_KEEP {
                    0 if value < 0 => (MOVE_FIELD | MOVE_ZERO, 0),
                    0 => (MOVE_FIELD | MOVE_ZERO, MOVE_ZERO),
                    _ => (MOVE_FIELD, 0),
                };
                let value = if mask & MOVE_ZERO != 0 && value < 0 { !value } else { value };
                edit(place, mask, opcode | ((value >> shift) as u32 & 0xffff) << 5)?;
            }
        }
        Ok(())
    }
}

/// The immediate field of MOVZ, MOVN and MOVK.
const MOVE_FIELD: u32 = 0xffff << 5;

/// The bit that tells MOVK from MOVZ and MOVN.
const MOVE_KEEP: u32 = 1 << 29;

/// The bit that tells MOVZ from MOVN.
const MOVE_ZERO: u32 = 1 << 30;

/// A value in units of 1 << `scale` bytes.
fn in_units(value: i64, scale: u8) -> Result<i64, Misfit> {
    let unit = 1 << scale;
    if value & (unit - 1) != 0 { Err(Misfit::Misaligned(unit as u64)) } else { Ok(value >> scale) }
}

/// The first bytes of `place`.
fn chunk<const N: usize>(place: &mut [u8]) -> Result<&mut [u8; N], Misfit> {
    place.first_chunk_mut().ok_or(Misfit::OutOfBounds)
}

/// Replaces the bits of `mask` in the instruction at the start of `place`.
fn edit(place: &mut [u8], mask: u32, bits: u32) -> Result<(), Misfit> {
    let place = chunk(place)?;
    *place = (u32::from_le_bytes(*place) & !mask | bits).to_le_bytes();
    Ok(())
}

impl Formula {
    /// Whether a symbol that is weak and nowhere counts as being at the place (AAELF64, "Weak References").
    pub(crate) fn is_relative(self) -> bool {
        matches!(self, Self::Relative | Self::Function | Self::Page)
    }

    /// Whether the formula asks for an entry in the global offset table.
    pub(crate) fn needs_entry(self) -> bool {
        use Formula::*;
        matches!(self, Entry | EntryRelative | EntryRelativePlus | EntryPage | EntryFromTable | EntryFromTablePage)
    }
}

impl Field {
    /// The field of ADRP.
    pub(crate) const PAGE: Self = Self::Address { shift: 12 };

    /// Whether the field is one of an instruction, and so has to be at a multiple of four.
    pub(crate) fn is_instruction(self) -> bool {
        !matches!(self, Self::Data16 | Self::Data32 | Self::Data64)
    }
}

/// A range of values: lowest and highest.
type Range = (i64, i64);

/// No check.
const ANY: Range = (i64::MIN, i64::MAX);

/// -2^(bits - 1) <= X < 2^(bits - 1)
const fn signed(bits: u32) -> Range {
    (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
}

/// 0 <= X < 2^bits
const fn unsigned(bits: u32) -> Range {
    (0, (1 << bits) - 1)
}

/// -2^(bits - 1) <= X < 2^bits: a value that is read as signed or as unsigned.
const fn either(bits: u32) -> Range {
    (signed(bits).0, unsigned(bits).1)
}

/// The 12-bit field of a load of eight bytes, which holds bits 14 to 3 of an offset.
const LOW15: Field = Field::Scaled { scale: 3, width: 12, position: 10 };

/// A branch's or literal load's field of `width` bits at bit `position`, which counts instructions.
const fn words(width: u8, position: u8) -> Field {
    Field::Scaled { scale: 2, width, position }
}

/// The number of the first relocation in the table.
const FIRST: u32 = 257;

/// The relocations by number, less [`FIRST`].
static TABLE: [Option<Relocation>; 316 - FIRST as usize] = {
    use Field::{Address, Data16, Data32, Data64, Low, Move, SignedMove};
    use Formula::*;

    const NONE: Option<Relocation> = None;
    const fn new(name: &'static str, formula: Formula, range: Range, field: Field) -> Option<Relocation> {
        Some(Relocation { name, formula, minimum: range.0, maximum: range.1, field })
    }
    [
        // 257: data
        new("ABS64", Absolute, ANY, Data64),
        new("ABS32", Absolute, either(32), Data32),
        new("ABS16", Absolute, either(16), Data16),
        new("PREL64", Relative, ANY, Data64),
        new("PREL32", Relative, signed(32), Data32),
        new("PREL16", Relative, signed(16), Data16),
        // 263: groups of moves, absolute
        new("MOVW_UABS_G0", Absolute, unsigned(16), Move { shift: 0 }),
        new("MOVW_UABS_G0_NC", Absolute, ANY, Move { shift: 0 }),
        new("MOVW_UABS_G1", Absolute, unsigned(32), Move { shift: 16 }),
        new("MOVW_UABS_G1_NC", Absolute, ANY, Move { shift: 16 }),
        new("MOVW_UABS_G2", Absolute, unsigned(48), Move { shift: 32 }),
        new("MOVW_UABS_G2_NC", Absolute, ANY, Move { shift: 32 }),
        new("MOVW_UABS_G3", Absolute, ANY, Move { shift: 48 }),
        new("MOVW_SABS_G0", Absolute, signed(17), SignedMove { shift: 0 }),
        new("MOVW_SABS_G1", Absolute, signed(33), SignedMove { shift: 16 }),
        new("MOVW_SABS_G2", Absolute, signed(49), SignedMove { shift: 32 }),
        // 273: addresses relative to the place, and their low bits
        new("LD_PREL_LO19", Relative, signed(21), words(19, 5)),
        new("ADR_PREL_LO21", Relative, signed(21), Address { shift: 0 }),
        new("ADR_PREL_PG_HI21", Page, signed(33), Field::PAGE),
        new("ADR_PREL_PG_HI21_NC", Page, ANY, Field::PAGE),
        new("ADD_ABS_LO12_NC", Absolute, ANY, Low { scale: 0 }),
        new("LDST8_ABS_LO12_NC", Absolute, ANY, Low { scale: 0 }),
        // 279: control flow
        new("TSTBR14", Relative, signed(16), words(14, 5)),
        new("CONDBR19", Relative, signed(21), words(19, 5)),
        NONE,
        new("JUMP26", Branch, signed(28), words(26, 0)),
        new("CALL26", Branch, signed(28), words(26, 0)),
        // 284: low bits of addresses
        new("LDST16_ABS_LO12_NC", Absolute, ANY, Low { scale: 1 }),
        new("LDST32_ABS_LO12_NC", Absolute, ANY, Low { scale: 2 }),
        new("LDST64_ABS_LO12_NC", Absolute, ANY, Low { scale: 3 }),
        // 287: groups of moves, relative to the place
        new("MOVW_PREL_G0", Relative, signed(17), SignedMove { shift: 0 }),
        new("MOVW_PREL_G0_NC", Relative, ANY, Move { shift: 0 }),
        new("MOVW_PREL_G1", Relative, signed(33), SignedMove { shift: 16 }),
        new("MOVW_PREL_G1_NC", Relative, ANY, Move { shift: 16 }),
        new("MOVW_PREL_G2", Relative, signed(49), SignedMove { shift: 32 }),
        new("MOVW_PREL_G2_NC", Relative, ANY, Move { shift: 32 }),
        new("MOVW_PREL_G3", Relative, ANY, SignedMove { shift: 48 }),
        NONE,
        NONE,
        NONE,
        NONE,
        NONE,
        new("LDST128_ABS_LO12_NC", Absolute, ANY, Low { scale: 4 }),
        // 300: the global offset table
        new("MOVW_GOTOFF_G0", EntryFromTable, signed(17), SignedMove { shift: 0 }),
        new("MOVW_GOTOFF_G0_NC", EntryFromTable, ANY, Move { shift: 0 }),
        new("MOVW_GOTOFF_G1", EntryFromTable, signed(33), SignedMove { shift: 16 }),
        new("MOVW_GOTOFF_G1_NC", EntryFromTable, ANY, Move { shift: 16 }),
        new("MOVW_GOTOFF_G2", EntryFromTable, signed(49), SignedMove { shift: 32 }),
        new("MOVW_GOTOFF_G2_NC", EntryFromTable, ANY, Move { shift: 32 }),
        new("MOVW_GOTOFF_G3", EntryFromTable, ANY, SignedMove { shift: 48 }),
        new("GOTREL64", FromTable, ANY, Data64),
        new("GOTREL32", FromTable, signed(32), Data32),
        new("GOT_LD_PREL19", EntryRelative, signed(21), words(19, 5)),
        new("LD64_GOTOFF_LO15", EntryFromTable, unsigned(15), LOW15),
        new("ADR_GOT_PAGE", EntryPage, signed(33), Field::PAGE),
        new("LD64_GOT_LO12_NC", Entry, ANY, Low { scale: 3 }),
        new("LD64_GOTPAGE_LO15", EntryFromTablePage, unsigned(15), LOW15),
        // 314: data again
        new("PLT32", Function, signed(32), Data32),
        new("GOTPCREL32", EntryRelativePlus, signed(32), Data32),
    ]
};
