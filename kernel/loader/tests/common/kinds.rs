//! The relocations that linkers apply, each with an instruction that has it.

use Base::{Entry, Page, Place, Zero};
use Linkers::{Both, Lld};

/// A relocation, and what it is applied to.
pub struct Kind {
    pub name: &'static str,
    pub number: u32,
    pub base: Base,
    /// How many bytes are relocated.
    pub size: usize,
    /// The bits that make the instruction, those that may be anything, and those that are replaced. Data has none.
    pub instruction: u32,
    pub free: u32,
    pub field: u32,
    pub linkers: Linkers,
}

/// What a relocation's value is counted from.
#[derive(Clone, Copy, PartialEq)]
pub enum Base {
    Zero,
    Place,
    Page,
    /// Nothing to choose: the value follows from where the global offset table is.
    Entry,
}

/// The linkers that know a relocation.
#[derive(Clone, Copy, PartialEq)]
pub enum Linkers {
    Both,
    Lld,
}

/// The fields that are replaced.
const IMMEDIATE_12: u32 = 0xfff << 10;
const IMMEDIATE_14: u32 = 0x3fff << 5;
const IMMEDIATE_16: u32 = 0xffff << 5;
const IMMEDIATE_19: u32 = 0x7_ffff << 5;
const IMMEDIATE_21: u32 = 3 << 29 | IMMEDIATE_19;
const IMMEDIATE_26: u32 = 0x3ff_ffff;

const fn data(name: &'static str, number: u32, base: Base, size: usize, linkers: Linkers) -> Kind {
    Kind { name, number, base, size, instruction: 0, free: u32::MAX, field: u32::MAX, linkers }
}

const fn code(name: &'static str, number: u32, base: Base, instruction: u32, field: u32) -> Kind {
    // The registers, and the bit to be tested.
    let free = match field {
        IMMEDIATE_26 => 0,
        IMMEDIATE_14 => 1 << 31 | 0x1f << 19 | 0x1f,
        IMMEDIATE_12 => 0x3ff,
        _ => 0x1f,
    };
    Kind { name, number, base, size: 4, instruction, free, field, linkers: Both }
}

const MOVZ: u32 = 0x5280_0000;
const MOVN: u32 = 0x1280_0000;
const MOVK: u32 = 0x7280_0000;
const LDRX: u32 = 0xf940_0000;

pub const KINDS: &[Kind] = &[
    data("ABS64", 257, Zero, 8, Both),
    data("ABS32", 258, Zero, 4, Both),
    data("ABS16", 259, Zero, 2, Both),
    data("PREL64", 260, Place, 8, Both),
    data("PREL32", 261, Place, 4, Both),
    data("PREL16", 262, Place, 2, Both),
    code("MOVW_UABS_G0", 263, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_UABS_G0_NC", 264, Zero, MOVK, IMMEDIATE_16),
    code("MOVW_UABS_G1", 265, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_UABS_G1_NC", 266, Zero, MOVK, IMMEDIATE_16),
    code("MOVW_UABS_G2", 267, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_UABS_G2_NC", 268, Zero, MOVK, IMMEDIATE_16),
    code("MOVW_UABS_G3", 269, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_SABS_G0", 270, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_SABS_G0", 270, Zero, MOVN, IMMEDIATE_16),
    code("MOVW_SABS_G1", 271, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_SABS_G1", 271, Zero, MOVN, IMMEDIATE_16),
    code("MOVW_SABS_G2", 272, Zero, MOVZ, IMMEDIATE_16),
    code("MOVW_SABS_G2", 272, Zero, MOVN, IMMEDIATE_16),
    code("LD_PREL_LO19", 273, Place, 0x5800_0000, IMMEDIATE_19),
    code("ADR_PREL_LO21", 274, Place, 0x1000_0000, IMMEDIATE_21),
    code("ADR_PREL_PG_HI21", 275, Page, 0x9000_0000, IMMEDIATE_21),
    code("ADR_PREL_PG_HI21_NC", 276, Page, 0x9000_0000, IMMEDIATE_21),
    code("ADD_ABS_LO12_NC", 277, Zero, 0x9100_0000, IMMEDIATE_12),
    code("LDST8_ABS_LO12_NC", 278, Zero, 0x3940_0000, IMMEDIATE_12),
    code("TSTBR14", 279, Place, 0x3600_0000, IMMEDIATE_14),
    code("CONDBR19", 280, Place, 0xb400_0000, IMMEDIATE_19),
    code("JUMP26", 282, Place, 0x1400_0000, IMMEDIATE_26),
    code("CALL26", 283, Place, 0x9400_0000, IMMEDIATE_26),
    code("LDST16_ABS_LO12_NC", 284, Zero, 0x7940_0000, IMMEDIATE_12),
    code("LDST32_ABS_LO12_NC", 285, Zero, 0xb940_0000, IMMEDIATE_12),
    code("LDST64_ABS_LO12_NC", 286, Zero, LDRX, IMMEDIATE_12),
    code("MOVW_PREL_G0", 287, Place, MOVZ, IMMEDIATE_16),
    code("MOVW_PREL_G0", 287, Place, MOVN, IMMEDIATE_16),
    code("MOVW_PREL_G0_NC", 288, Place, MOVK, IMMEDIATE_16),
    code("MOVW_PREL_G1", 289, Place, MOVZ, IMMEDIATE_16),
    code("MOVW_PREL_G1", 289, Place, MOVN, IMMEDIATE_16),
    code("MOVW_PREL_G1_NC", 290, Place, MOVK, IMMEDIATE_16),
    code("MOVW_PREL_G2", 291, Place, MOVZ, IMMEDIATE_16),
    code("MOVW_PREL_G2", 291, Place, MOVN, IMMEDIATE_16),
    code("MOVW_PREL_G2_NC", 292, Place, MOVK, IMMEDIATE_16),
    code("MOVW_PREL_G3", 293, Place, MOVZ, IMMEDIATE_16),
    code("MOVW_PREL_G3", 293, Place, MOVN, IMMEDIATE_16),
    code("LDST128_ABS_LO12_NC", 299, Zero, 0x3dc0_0000, IMMEDIATE_12),
    code("GOT_LD_PREL19", 309, Entry, 0x5800_0000, IMMEDIATE_19),
    code("ADR_GOT_PAGE", 311, Entry, 0x9000_0000, IMMEDIATE_21),
    code("LD64_GOT_LO12_NC", 312, Entry, LDRX, IMMEDIATE_12),
    // GNU ld reckons from an entry of its own at the start of the table.
    Kind { linkers: Lld, ..code("LD64_GOTPAGE_LO15", 313, Entry, LDRX, IMMEDIATE_12) },
    data("PLT32", 314, Place, 4, Lld),
    data("GOTPCREL32", 315, Entry, 4, Lld),
];
