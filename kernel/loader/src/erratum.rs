//! Erratum 843419 of the Cortex-A53: an ADRP in one of the last two words of a 4 KiB page can leave a wrong address to
//! the loads and stores behind it (Arm Cortex-A53 MPCore Software Developers Errata Notice).
//!
//! As in Linux, no such ADRP stays, whatever follows it: an ADR takes its place if that reaches the page meant, and
//! else a branch to a veneer that writes the same address with moves and branches back. Only an ADRP with a relocation
//! is seen; compilers and assemblers write no other into an object.

/// What to do about faults of the processors that will run the module.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Workarounds {
    /// Leave no ADRP where a Cortex-A53 can fail to run it (erratum 843419). The executable segment's alignment is then
    /// at least 4096.
    pub erratum_843419: bool,
}

/// The size of a page in the sense of ADRP, in bytes.
pub(crate) const PAGE_SIZE: u64 = 4096;

/// How many bytes ADR reaches, forwards and backwards.
const REACH: i64 = 1 << 20;

/// Whether an ADRP at this distance from the start of a page can fail.
pub(crate) fn is_at_risk(place: u64) -> bool {
    place % PAGE_SIZE >= PAGE_SIZE - 8
}

/// The register that the instruction at `place` writes and the address that it writes to it, if it is an ADRP.
pub(crate) fn decode_adrp(instruction: u32, place: u64) -> Option<(u32, u64)> {
    let pages = (instruction >> 5 & 0x7_ffff) << 2 | instruction >> 29 & 3;
    // The field has 21 bits with the sign.
    let pages = i64::from((pages << 11).cast_signed() >> 11);
    let address = (place - place % PAGE_SIZE).wrapping_add_signed(pages * PAGE_SIZE as i64);
    (instruction & 0x9f00_0000 == 0x9000_0000).then_some((instruction & 0x1f, address))
}

/// The ADR that writes `address` to a register, if it reaches that far from `place`.
pub(crate) fn encode_adr(register: u32, address: u64, place: u64) -> Option<u32> {
    let distance = address.wrapping_sub(place).cast_signed();
    let field = distance as u32;
    let instruction = 0x1000_0000 | (field & 3) << 29 | (field >> 2 & 0x7_ffff) << 5 | register;
    (-REACH..REACH).contains(&distance).then_some(instruction)
}
