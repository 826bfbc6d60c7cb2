// The first instructions, from the boot loader's hand to the upper half of the address space.
//
// Entered as the Linux arm64 boot protocol says (Documentation/arch/arm64/booting.rst): MMU off, interrupts masked,
// EL2 or EL1, the device tree's physical address in x0, this image at any multiple of 2 MiB. Position-independent until
// the MMU is on.
//
// Register use: x19 device tree, x20 physical start of the image, x21 its size, x22 the tables' attributes.

.equ BLOCK_SHIFT,    21
.equ BLOCK_SIZE,     1 << BLOCK_SHIFT
// A block of normal memory (attribute 0), inner shareable, accessed: Arm ARM D8.3.
.equ BLOCK_NORMAL,   (1 << 10) | (3 << 8) | 1
.equ TABLE,          3
// Where `kernel::memory::layout` expects them, as indices into the last level-2 table but one.
.equ TREE_WINDOW,    510
.equ UPPER_L0,       511
.equ UPPER_L1,       510

// MAIR_EL1: attribute 0 normal write-back memory, 1 device-nGnRE, 2 normal non-cacheable.
.equ MEMORY_TYPES,   0x4404ff
// TCR_EL1: 48-bit halves of 4 KiB pages, write-back inner-shareable walks; the physical size is added below.
.equ TRANSLATION,    16 | (1 << 8) | (1 << 10) | (3 << 12) | (16 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30)
// SCTLR_EL1 with everything off but the bits that are 1 in ARMv8.0.
.equ CONTROL_OFF,    0x30d00800
// ... and with MMU, stack alignment check and caches on.
.equ CONTROL_ON,     CONTROL_OFF | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12)

.section .text.head, "ax"
.global _start
_start:
    b       entry                       // code0
    .long   0                           // code1
    .quad   0                           // text_offset
    .quad   __image_size                // image_size; `./x build` adds what it appends
    .quad   0xa                         // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

entry:
    msr     daifset, #0xf
    mov     x19, x0
    adr     x20, _start
    ldr     x21, [x20, #16]
    cbz     x19, stop                   // nothing to go by, and nowhere to say so

    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.lo    at_el1
    b.hi    stop                        // EL3 is for firmware

    // EL2: give EL1 all it needs, then leave for good.
    mov     x1, #(1 << 31)              // HCR_EL2.RW: EL1 is AArch64
    msr     hcr_el2, x1
    mov     x1, #3                      // CNTHCTL_EL2: EL1 may use counter and timer
    msr     cnthctl_el2, x1
    msr     cntvoff_el2, xzr
    mov     x1, #0x33ff                 // CPTR_EL2: no traps
    msr     cptr_el2, x1
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mrs     x1, midr_el1
    msr     vpidr_el2, x1
    mrs     x1, mpidr_el1
    msr     vmpidr_el2, x1
    mrs     x1, id_aa64pfr0_el1
    ubfx    x1, x1, #24, #4             // GIC system registers?
    cbz     x1, 1f
    mrs     x1, S3_4_C12_C9_5           // ICC_SRE_EL2: use them, and let EL1 use them
    mov     x2, #0x9
    orr     x1, x1, x2
    msr     S3_4_C12_C9_5, x1
    isb
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
    mov     x1, #1
    msr     S3_0_C12_C12_5, x1          // ICC_SRE_EL1
1:  ldr     x1, =CONTROL_OFF
    msr     sctlr_el1, x1
    mov     x1, #0x3c5                  // EL1 with its own stack, all masked
    msr     spsr_el2, x1
    adr     x1, at_el1
    msr     elr_el2, x1
    eret

at_el1:
    ldr     x1, =CONTROL_OFF
    msr     sctlr_el1, x1
    isb

    // Lower half: this image's first block at its physical address, to live through the MMU coming on.
    ldr     x22, =BLOCK_NORMAL
    adrp    x0, boot_lower_l0
    adrp    x1, boot_lower_l1
    adrp    x2, boot_lower_l2
    ubfx    x3, x20, #39, #9
    orr     x4, x1, #TABLE
    str     x4, [x0, x3, lsl #3]
    ubfx    x3, x20, #30, #9
    orr     x4, x2, #TABLE
    str     x4, [x1, x3, lsl #3]
    ubfx    x3, x20, #BLOCK_SHIFT, #9
    orr     x4, x20, x22
    str     x4, [x2, x3, lsl #3]

    // Upper half: the whole image where it was linked to be.
    adrp    x5, boot_upper_l0
    adrp    x1, boot_upper_l1
    adrp    x2, boot_upper_l2
    orr     x4, x1, #TABLE
    str     x4, [x5, #(UPPER_L0 * 8)]
    orr     x4, x2, #TABLE
    str     x4, [x1, #(UPPER_L1 * 8)]
    orr     x4, x20, x22
    add     x6, x20, x21
    mov     x3, x2
1:  str     x4, [x3], #8
    add     x4, x4, #BLOCK_SIZE
    cmp     x4, x6
    b.lo    1b

    // ... and a window on the device tree: one block, or two if it crosses a boundary.
    ldr     w4, [x19, #4]               // totalsize, big-endian (Devicetree Specification 0.4, section 5.2)
    rev     w4, w4
    add     x4, x19, x4
    sub     x4, x4, #1
    lsr     x3, x19, #BLOCK_SHIFT
    lsr     x6, x4, #BLOCK_SHIFT
    lsl     x4, x3, #BLOCK_SHIFT
    orr     x4, x4, x22
    str     x4, [x2, #(TREE_WINDOW * 8)]
    cmp     x3, x6
    b.eq    1f
    add     x4, x4, #BLOCK_SIZE
    str     x4, [x2, #(TREE_WINDOW * 8 + 8)]

    // The tables were written past the caches: no stale line may hide them.
1:  adrp    x1, boot_tables_start
    adrp    x2, boot_tables_end
    dmb     sy
2:  dc      ivac, x1
    add     x1, x1, #16                 // no cache line is shorter
    cmp     x1, x2
    b.lo    2b
    dsb     sy

    ldr     x1, =MEMORY_TYPES
    msr     mair_el1, x1
    ldr     x1, =TRANSLATION
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf                // physical address size, 48 bits at most with 4 KiB pages
    mov     x3, #5
    cmp     x2, x3
    csel    x2, x2, x3, lo
    orr     x1, x1, x2, lsl #32
    msr     tcr_el1, x1
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x5
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x1, =CONTROL_ON
    msr     sctlr_el1, x1
    isb
    ldr     x1, =upper
    br      x1

upper:
    ldr     x1, =__boot_stack_end
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    msr     tpidr_el1, xzr
    // The window starts at index 510 of the level-2 table that maps the image.
    ldr     x0, =__image_start + (TREE_WINDOW << BLOCK_SHIFT)
    and     x1, x19, #(BLOCK_SIZE - 1)
    add     x0, x0, x1
    mov     x1, x19
    mov     x2, x20
    bl      boot_main

stop:
    wfi
    b       stop

.section .bss.boot_tables, "aw", %nobits
.balign 4096
boot_tables_start:
boot_lower_l0: .skip 4096
boot_lower_l1: .skip 4096
boot_lower_l2: .skip 4096
boot_upper_l0: .skip 4096
boot_upper_l1: .skip 4096
boot_upper_l2: .skip 4096
boot_tables_end:
