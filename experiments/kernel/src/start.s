// The first instructions, on QEMU's `virt`: an identity map, a stack, and off into Rust.
//
// Entered by QEMU's loader of ELF files at EL1, MMU off. Rust code is compiled for memory in which unaligned accesses
// are fine, which takes the MMU: 1 GiB of devices from 0, and 1 GiB of normal memory behind it.

// Level 1 blocks (Arm ARM D8.3): attribute index, inner shareable, accessed; what is in the device's is never executed.
.equ DEVICES,       (1 << 54) | (1 << 53) | (1 << 10) | (0 << 2) | 1
.equ MEMORY,        (1 << 10) | (3 << 8) | (1 << 2) | 1
// MAIR_EL1: attribute 0 device-nGnRE, 1 normal write-back memory.
.equ MEMORY_TYPES,  0xff04
// TCR_EL1: 39-bit addresses of 4 KiB pages in the lower half alone, write-back inner-shareable walks.
.equ TRANSLATION,   25 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23)
// SCTLR_EL1: the bits that are 1 in ARMv8.0, and MMU, stack alignment check and caches on.
.equ CONTROL,       0x30d00800 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12)

.section .text.head, "ax"
.global _start
_start:
    ldr     x0, =stack_end
    mov     sp, x0
    adrp    x0, tables
    ldr     x1, =DEVICES
    ldr     x2, =MEMORY | 0x40000000
    stp     x1, x2, [x0]
    ldr     x1, =MEMORY_TYPES
    msr     mair_el1, x1
    ldr     x1, =TRANSLATION
    msr     tcr_el1, x1
    msr     ttbr0_el1, x0
    adr     x1, vectors
    msr     vbar_el1, x1
    dsb     sy
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x1, =CONTROL
    msr     sctlr_el1, x1
    isb
    mov     x29, xzr
    mov     x30, xzr
    b       main

// No exception is expected, and none is returned from.
.balign 2048
vectors:
.rept 16
    b       exception
.balign 128
.endr

exception:
    ldr     x0, =stack_end
    mov     sp, x0
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       fault

.section .bss.tables, "aw", %nobits
.balign 4096
tables:
    .skip   4096
    .skip   262144
stack_end:
