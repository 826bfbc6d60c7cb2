//! Computes addresses where a Cortex-A53 with erratum 843419 may go wrong: by an ADRP in the last two words of a page.
#![no_std]

use abi::prelude::*;

abi::service!(TestErratum, summary = "Computes addresses in the last two words of a page");

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".section .text.test_erratum, \"ax\", @progbits",
    ".balign 4096",
    ".space 0xff8",
    ".global test_erratum_near, test_erratum_far",
    "test_erratum_near:",
    "    adrp x0, test_erratum_near",
    "    b 1f",
    ".space 0xff8",
    "test_erratum_far:",
    "    adrp x0, memcpy",
    "    ldr x1, [sp]",
    "1:  ret",
);

unsafe extern "C" {
    safe fn test_erratum_near() -> usize;
    safe fn test_erratum_far() -> usize;
    fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8;
}

struct TestErratum;

impl Service for TestErratum {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let page = |address: *const ()| address.addr() & !0xfff;
        let expected = [page(test_erratum_near as *const ()), page(memcpy as *const ())];
        let found = [test_erratum_near(), test_erratum_far()];
        match found == expected {
            true => Ok(Self),
            false => Err(Error::Device(format!("expected {expected:x?}, found {found:x?}"))),
        }
    }
}
