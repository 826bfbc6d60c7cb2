// The first instructions, from the boot loader's hand to the upper half of the address space.
//
// Entered as the Linux arm64 boot protocol says (Documentation/arch/arm64/booting.rst): MMU off, interrupts masked,
// EL2 or EL1, the device tree's physical address in x0, this image at any multiple of 2 MiB. Position-independent until
// the MMU is on. The other processors come through `processor_entry` later.

.equ BLOCK_SHIFT,    21
.equ BLOCK_SIZE,     1 << BLOCK_SHIFT
// A block of normal memory (attribute 0), inner shareable, accessed: Arm ARM D8.3.
.equ BLOCK_NORMAL,   (1 << 10) | (3 << 8) | 1
.equ READ_ONLY,      1 << 7
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
// TCR_EL1.EPD0: no walks of the lower half.
.equ LOWER_OFF,      1 << 7

// The affinity fields of MPIDR_EL1.
.equ AFFINITY,       0xff00ffffff
// `kernel::processor::start::Start`, of which there are START_COUNT from PROCESSOR_STARTS on.
.equ START_IDENTIFIER,  0
.equ START_STACK_END,   8
.equ START_TABLES,      16
.equ START_TRANSLATION, 24
.equ START_CONTROL,     32
.equ START_SIZE,        64
.equ START_COUNT,       64

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

// Register use: x19 device tree, x20 physical start of the image, x21 its size, x22 the tables' attributes.
entry:
    msr     daifset, #0xf
    mov     x19, x0
    adr     x20, _start
    ldr     x21, [x20, #16]
    cbz     x19, stop                   // nothing to go by, and nowhere to say so
    bl      enter_el1

    // Lower half: this image's first block at its physical address, to live through the MMU coming on. Read-only, so
    // that processors whose SCTLR_EL1.WXN is set from the start can execute it.
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
    orr     x4, x4, #READ_ONLY
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

    ldr     x2, =TRANSLATION
    mrs     x3, id_aa64mmfr0_el1
    and     x3, x3, #0xf                // physical address size, 48 bits at most with 4 KiB pages
    mov     x4, #5
    cmp     x3, x4
    csel    x3, x3, x4, lo
    orr     x2, x2, x3, lsl #32
    mov     x1, x5
    ldr     x3, =CONTROL_ON
    ldr     x30, =upper
    b       enable_mmu

upper:
    ldr     x1, =__boot_stack_end
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
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

// Where the other processors are sent, in the state that the boot protocol prescribes for the first. What PSCI leaves in
// x0 a spin table doesn't, so each finds what it has to know by its own number.
// Register use: x19 the processor's `Start`, x20 its place among them, x21 its stack.
.global processor_entry
processor_entry:
    msr     daifset, #0xf
    bl      enter_el1
    mrs     x0, mpidr_el1
    ldr     x1, =AFFINITY
    and     x0, x0, x1
    adrp    x19, PROCESSOR_STARTS
    add     x19, x19, :lo12:PROCESSOR_STARTS
    mov     x20, xzr
1:  ldr     x1, [x19, #START_IDENTIFIER]
    cmp     x1, x0
    b.eq    2f
    add     x19, x19, #START_SIZE
    add     x20, x20, #1
    cmp     x20, #START_COUNT
    b.lo    1b
    b       stop                        // nobody has asked for this one

    // The final tables in the upper half; in the lower one those that the first processor came up with.
2:  ldr     x21, [x19, #START_STACK_END]
    adrp    x0, boot_lower_l0
    ldr     x1, [x19, #START_TABLES]
    ldr     x2, [x19, #START_TRANSLATION]
    bic     x2, x2, #LOWER_OFF          // processor_main sets it again
    ldr     x3, [x19, #START_CONTROL]
    ldr     x30, =processor_upper
    b       enable_mmu

processor_upper:
    mov     sp, x21
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      processor_main
    b       stop

// Goes on at x30 at EL1, with the MMU off and nothing trapped or left over. Uses x1 and x2.
enter_el1:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.lo    2f
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
    adr     x1, 2f
    msr     elr_el2, x1
    eret

2:  ldr     x1, =CONTROL_OFF
    msr     sctlr_el1, x1
    msr     cpacr_el1, xzr              // floating point is trapped
    msr     cntkctl_el1, xzr            // EL0 has no counter or timer
    msr     tpidr_el1, xzr
    isb
    ret

// Goes on at x30, in whichever half that is, with the MMU on: x0 and x1 the tables of the lower and the upper half,
// x2 TCR_EL1, x3 SCTLR_EL1. Uses x4.
enable_mmu:
    ldr     x4, =MEMORY_TYPES
    msr     mair_el1, x4
    msr     tcr_el1, x2
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x1
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x3
    isb
    ret

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
