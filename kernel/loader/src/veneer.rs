//! Veneers: where a branch cannot reach its target, it goes to one of these, which can reach any address.

/// The size of a veneer, in bytes.
pub(crate) const SIZE: usize = 24;

/// The instructions of a veneer that goes on to `target`.
///
/// A veneer may corrupt x16 and x17 (AAELF64, "Call and Jump relocations"). It begins with a landing pad, since the value of a PLT32
/// relocation may be used by an indirect branch, and it leaves through x16, which `bti c` at the target admits. The
/// target stands in instructions and not in a literal, so that text needs no permission but to be executed.
pub(crate) fn encode(target: u64) -> [u8; SIZE] {
    const BTI_C: u32 = 0xd503_245f;
    const MOVZ_X16: u32 = 0xd280_0010;
    const MOVK_X16: u32 = 0xf280_0010;
    const BR_X16: u32 = 0xd61f_0200;
    let group = |number: u32| number << 21 | ((target >> (16 * number)) as u32 & 0xffff) << 5;
    let instructions =
        [BTI_C, MOVZ_X16 | group(0), MOVK_X16 | group(1), MOVK_X16 | group(2), MOVK_X16 | group(3), BR_X16];
    let mut bytes = [0; SIZE];
    for (place, instruction) in bytes.chunks_exact_mut(4).zip(instructions) {
        place.copy_from_slice(&instruction.to_le_bytes());
    }
    bytes
}
