//! Instructions gone wrong, as memory and programmers make them go wrong.
//!
//! Encodings: Arm Architecture Reference Manual, C4.1.

/// A way for an instruction to go wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mutation {
    /// One bit of it is flipped.
    Bit,
    /// It is replaced by any word.
    Word,
    /// It is skipped: `nop` is in its place.
    Skip,
    /// It writes to another register, or stores another one.
    Destination,
    /// It reads another register, or uses it as an address.
    Source,
    /// The register that it writes to and the first one that it reads are swapped.
    Swap,
    /// A number in it, or how far it branches, is off by one.
    Immediate,
    /// Its condition is inverted.
    Condition,
}

const NOP: u32 = 0xd503_201f;

/// Some of an instruction's bits: the lowest one's number, and how many.
type Field = (u32, u32);

/// What it writes to, or loads or stores (Rd, Rt).
const DESTINATION: Field = (0, 5);
/// The first register that it reads (Rn).
const SOURCE: Field = (5, 5);

impl Mutation {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Bit,
        Self::Word,
        Self::Skip,
        Self::Destination,
        Self::Source,
        Self::Swap,
        Self::Immediate,
        Self::Condition,
    ];

    /// What it is called in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bit => "a bit flipped",
            Self::Word => "another word",
            Self::Skip => "skipped",
            Self::Destination => "another destination",
            Self::Source => "another source",
            Self::Swap => "source and destination swapped",
            Self::Immediate => "an immediate off by one",
            Self::Condition => "a condition inverted",
        }
    }

    /// What becomes of an instruction; nothing if it has no such part, or stays as it is.
    pub fn of(self, instruction: u32, random: &mut fastrand::Rng) -> Option<u32> {
        let replace = |field, random: &mut fastrand::Rng| set(instruction, field, random.u32(..));
        let changed = match self {
            Self::Bit => instruction ^ 1 << random.u32(..32),
            Self::Word => random.u32(..),
            Self::Skip => NOP,
            Self::Destination if !is_branch(instruction) => replace(DESTINATION, random),
            Self::Source if has_source(instruction) => replace(SOURCE, random),
            Self::Swap if has_source(instruction) => {
                set(set(instruction, SOURCE, get(instruction, DESTINATION)), DESTINATION, get(instruction, SOURCE))
            }
            Self::Immediate => {
                let field = immediate(instruction)?;
                let step = if random.bool() { 1 } else { u32::MAX };
                set(instruction, field, get(instruction, field).wrapping_add(step))
            }
            Self::Condition => instruction ^ 1 << condition(instruction)?,
            _ => return None,
        };
        (changed != instruction).then_some(changed)
    }
}

fn get(instruction: u32, (lowest, length): Field) -> u32 {
    instruction >> lowest & ((1 << length) - 1)
}

/// With other bits in a field; those that don't fit are lost.
fn set(instruction: u32, (lowest, length): Field, value: u32) -> u32 {
    let mask = ((1 << length) - 1) << lowest;
    instruction & !mask | value << lowest & mask
}

/// Branches, exceptions and system instructions.
fn is_branch(instruction: u32) -> bool {
    get(instruction, (26, 3)) == 0b101
}

/// The address of a label in a register (`adr`, `adrp`).
fn is_address(instruction: u32) -> bool {
    get(instruction, (24, 5)) == 0b10000
}

/// `movz`, `movn`, `movk`.
fn is_move_wide(instruction: u32) -> bool {
    get(instruction, (23, 6)) == 0b10_0101
}

fn has_source(instruction: u32) -> bool {
    !is_branch(instruction) && !is_address(instruction) && !is_move_wide(instruction)
}

/// Where the number in it is, or the distance that it branches.
fn immediate(instruction: u32) -> Option<Field> {
    let is = |field, value| get(instruction, field) == value;
    if is((26, 5), 0b00101) {
        Some((0, 26)) // b, bl
    } else if is((25, 6), 0b01_1011) {
        Some((5, 14)) // tbz, tbnz
    } else if is((25, 6), 0b01_1010) || is((24, 8), 0b0101_0100) || is_address(instruction) {
        Some((5, 19)) // cbz, cbnz, b.cond, adr, adrp
    } else if is_move_wide(instruction) {
        Some((5, 16))
    } else if is((23, 6), 0b10_0010) || (is((27, 3), 0b111) && is((24, 2), 0b01)) {
        Some((10, 12)) // add, sub, cmp; loads and stores with an offset that is scaled
    } else if is((27, 3), 0b111) && is((24, 2), 0b00) && is((21, 1), 0) {
        Some((12, 9)) // loads and stores with another offset
    } else if is((27, 3), 0b101) {
        Some((15, 7)) // ldp, stp
    } else {
        None
    }
}

/// The bit that inverts its condition.
fn condition(instruction: u32) -> Option<u32> {
    let is = |field, value| get(instruction, field) == value;
    if is((24, 8), 0b0101_0100) {
        Some(0) // b.cond
    } else if is((26, 5), 0b01101) {
        Some(24) // cbz, cbnz, tbz, tbnz
    } else if is((21, 8), 0b1101_0100) || is((21, 8), 0b1101_0010) {
        Some(12) // csel, csinc, csinv, csneg; ccmp, ccmn
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that can become of an instruction in this way, or at least what comes up in 1000 attempts.
    fn all(mutation: Mutation, instruction: u32) -> std::collections::BTreeSet<u32> {
        let mut random = fastrand::Rng::with_seed(1);
        (0..1000).filter_map(|_| mutation.of(instruction, &mut random)).collect()
    }

    // The encodings are what `aarch64-linux-gnu-as` makes of the comments.

    #[test]
    fn conditions_are_inverted() {
        for (one, other) in [
            (0x5400_0041, 0x5400_0040), // b.ne 8; b.eq 8
            (0xb400_0043, 0xb500_0043), // cbz x3, 8; cbnz x3, 8
            (0x3618_0042, 0x3718_0042), // tbz w2, #3, 8; tbnz w2, #3, 8
            (0x9a82_0020, 0x9a82_1020), // csel x0, x1, x2, eq; csel x0, x1, x2, ne
            (0xfa42_1820, 0xfa42_0820), // ccmp x1, #2, #0, ne; ccmp x1, #2, #0, eq
        ] {
            assert_eq!(all(Mutation::Condition, one), [other].into(), "{one:08x}");
            assert_eq!(all(Mutation::Condition, other), [one].into(), "{other:08x}");
        }
    }

    #[test]
    fn immediates_are_off_by_one() {
        for (instruction, less, more) in [
            (0x9100_4020, 0x9100_3c20, 0x9100_4420), // add x0, x1, #16; #15; #17
            (0xf940_0820, 0xf940_0420, 0xf940_0c20), // ldr x0, [x1, #16]; [x1, #8]; [x1, #24]
            (0xf840_1020, 0xf840_0020, 0xf840_2020), // ldur x0, [x1, #1]; [x1]; [x1, #2]
            (0xa941_07e0, 0xa940_87e0, 0xa941_87e0), // ldp x0, x1, [sp, #16]; [sp, #8]; [sp, #24]
            (0xd280_0100, 0xd280_00e0, 0xd280_0120), // mov x0, #8; #7; #9
            (0x9400_0002, 0x9400_0001, 0x9400_0003), // bl 8; bl 4; bl 12
            (0x5400_0041, 0x5400_0021, 0x5400_0061), // b.ne 8; b.ne 4; b.ne 12
            (0x3618_0042, 0x3618_0022, 0x3618_0062), // tbz w2, #3, 8; 4; 12
        ] {
            assert_eq!(all(Mutation::Immediate, instruction), [less, more].into(), "{instruction:08x}");
        }
    }

    #[test]
    fn registers_are_replaced_and_swapped() {
        let add = 0x8b02_0020; // add x0, x1, x2
        let destinations: std::collections::BTreeSet<u32> = (1..32).map(|register| add | register).collect();
        assert_eq!(all(Mutation::Destination, add), destinations);
        assert_eq!(all(Mutation::Source, add).len(), 31);
        assert_eq!(all(Mutation::Swap, add), [0x8b02_0001].into()); // add x1, x0, x2
        assert_eq!(all(Mutation::Swap, 0xf940_0820), [0xf940_0801].into()); // ldr x0, [x1, #16]; ldr x1, [x0, #16]
    }

    #[test]
    fn what_an_instruction_does_not_have_is_not_changed() {
        let ret = 0xd65f_03c0;
        for mutation in [Mutation::Destination, Mutation::Source, Mutation::Swap, Mutation::Immediate] {
            assert!(all(mutation, ret).is_empty(), "{mutation:?}");
        }
        assert!(all(Mutation::Condition, 0x1400_0002).is_empty()); // b 8
        assert!(all(Mutation::Source, 0xd280_0100).is_empty()); // mov x0, #8
        assert!(all(Mutation::Skip, NOP).is_empty());
        assert_eq!(all(Mutation::Bit, ret).len(), 32);
    }
}
