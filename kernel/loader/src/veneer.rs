//! Veneers: instructions that stand behind a module's own and do what one instruction of its cannot do where it is.
//!
//! All addresses stand in instructions and not in literals, so that text needs no permission but to be executed.

/// The size of a veneer that goes on to another address, in bytes.
pub(crate) const ONWARD: usize = 24;

/// The size of a veneer that stands for an ADRP, in bytes.
pub(crate) const ADDRESS: usize = 20;

/// A veneer for a branch that cannot reach `target`: it goes on to there.
///
/// It may corrupt x16 and x17 (AAELF64, "Call and Jump relocations"). It begins with a landing pad, since the value of
/// a PLT32 relocation may be used by an indirect branch, and it leaves through x16, which `bti c` at the target admits.
pub(crate) fn onward(target: u64) -> [u8; ONWARD] {
    const BTI_C: u32 = 0xd503_245f;
    const BR_X16: u32 = 0xd61f_0200;
    let [first, second, third, fourth] = moves(16, target);
    bytes([BTI_C, first, second, third, fourth, BR_X16])
}

/// A veneer at `place` for an ADRP: it writes `address` to the register and goes back to `next`. Both ways are direct
/// branches, which need no landing pad.
pub(crate) fn address(register: u32, address: u64, place: u64, next: u64) -> [u8; ADDRESS] {
    let [first, second, third, fourth] = moves(register, address);
    bytes([first, second, third, fourth, branch(place + 16, next)])
}

/// The branch at `place` to `target`, at most 128 MiB from there.
pub(crate) fn branch(place: u64, target: u64) -> u32 {
    0x1400_0000 | (target.wrapping_sub(place) >> 2) as u32 & 0x3ff_ffff
}

/// The MOVZ and three MOVK that write `value` to a register.
fn moves(register: u32, value: u64) -> [u32; 4] {
    const MOVZ: u32 = 0xd280_0000;
    const MOVK: u32 = 0xf280_0000;
    let group = |number: u32| number << 21 | ((value >> (16 * number)) as u32 & 0xffff) << 5 | register;
    [MOVZ | group(0), MOVK | group(1), MOVK | group(2), MOVK | group(3)]
}

/// Instructions as they stand in memory.
fn bytes<const WORDS: usize, const BYTES: usize>(instructions: [u32; WORDS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (place, instruction) in bytes.chunks_exact_mut(4).zip(instructions) {
        place.copy_from_slice(&instruction.to_le_bytes());
    }
    bytes
}
