// The first instructions, from the boot loader's hand to the upper half of the address space.
//
// Entered as the Linux arm64 boot protocol says (Documentation/arch/arm64/booting.rst): MMU off, interrupts masked,
// EL2 or EL1, the device tree's physical address in x0, this image at any multiple of 2 MiB. Position-independent until
// the MMU is on. The other processors come through `processor_entry` later.

.equ PAGE_SIZE,      4096
.equ BLOCK_SHIFT,    21
.equ BLOCK_SIZE,     1 << BLOCK_SHIFT
// Normal memory (attribute 0), inner shareable, accessed, not for EL0 to execute; what is for EL1 to execute is
// read-only (Arm ARM D8.3).
.equ NORMAL,         (1 << 54) | (1 << 10) | (3 << 8)
.equ READ_ONLY,      1 << 7
.equ NEVER_EXECUTE,  1 << 53
.equ BLOCK,          1
.equ PAGE,           3
.equ TABLE,          3

// Where the image is linked to be (`linker.ld`), and its indices in the tables of levels 0 and 1.
.equ LINKED,         0xffffffff80000000
.equ UPPER_L0,       511
.equ UPPER_L1,       510
// The index of the first of two blocks for the device tree, in the level-2 table that maps the image at first.
.equ TREE_WINDOW,    510
// How many level-3 tables there are for the image: 8 MiB (`xtask` checks it).
.equ IMAGE_TABLES,   4

// MAIR_EL1: attribute 0 normal write-back memory, 1 device-nGnRE, 2 normal non-cacheable.
.equ MEMORY_TYPES,   0x4404ff
// TCR_EL1: 48-bit halves of 4 KiB pages, write-back inner-shareable walks; the physical size is added below.
.equ TRANSLATION,    16 | (1 << 8) | (1 << 10) | (3 << 12) | (16 << 16) | (1 << 24) | (1 << 26) | (3 << 28) | (2 << 30)
// SCTLR_EL1 with everything off but the bits that are 1 in ARMv8.0.
.equ CONTROL_OFF,    0x30d00800
// ... and with MMU, stack alignment check and caches on; WXN: what can be written can't be executed, whatever a table says.
.equ CONTROL_ON,     CONTROL_OFF | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12) | (1 << 19)
// Taking an exception leaves PSTATE.PAN as it is; return addresses are signed with key A; PACIASP is no target of BR.
.equ CONTROL_SPAN,   1 << 23
.equ CONTROL_ENIA,   1 << 31
.equ CONTROL_BT1,    1 << 36
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
.equ START_ENTRY,       40
.equ START_SIZE,        64
.equ START_COUNT,       64

// `kernel::chance::CHOICE`.
.equ CHOICE_DISPLACEMENT, 0
.equ CHOICE_KEY,          8

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

// Register use: x19 device tree, x20 physical start of the image, x21 its size; in the upper half x19 the
// device tree in its window, x22 its physical address, x24 how far the image is moved.
entry:
    msr     daifset, #0xf
    mov     x19, x0
    adr     x20, _start
    ldr     x21, [x20, #16]
    cbz     x19, stop                   // nothing to go by, and nowhere to say so
    bl      enter_el1

    // Lower half: this image's first block at its physical address, to live through the MMU coming on.
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
    ldr     x4, =NORMAL | READ_ONLY | BLOCK
    orr     x4, x4, x20
    str     x4, [x2, x3, lsl #3]

    // Upper half: the image where it was linked to be, page by page: its text, and all else.
    adrp    x5, boot_upper_l0
    adrp    x1, boot_upper_l1
    adrp    x2, boot_upper_l2
    adrp    x6, boot_upper_l3
    orr     x4, x1, #TABLE
    str     x4, [x5, #(UPPER_L0 * 8)]
    orr     x4, x2, #TABLE
    str     x4, [x1, #(UPPER_L1 * 8)]
    orr     x4, x6, #TABLE
    .irp    index, 0, 1, 2, 3
    str     x4, [x2, #(\index * 8)]
    add     x4, x4, #PAGE_SIZE
    .endr
    mov     x8, x20
    ldr     x9, =NORMAL | READ_ONLY | PAGE
    adrp    x7, __text_end
1:  orr     x4, x8, x9
    str     x4, [x6], #8
    add     x8, x8, #PAGE_SIZE
    cmp     x8, x7
    b.lo    1b
    ldr     x9, =NORMAL | NEVER_EXECUTE | PAGE
    add     x7, x20, x21
1:  orr     x4, x8, x9
    str     x4, [x6], #8
    add     x8, x8, #PAGE_SIZE
    cmp     x8, x7
    b.lo    1b

    // ... and a window on the device tree: one block, or two if it crosses a boundary.
    ldr     w4, [x19, #4]               // totalsize, big-endian (Devicetree Specification 0.4, section 5.2)
    rev     w4, w4
    add     x4, x19, x4
    sub     x4, x4, #1
    lsr     x3, x19, #BLOCK_SHIFT
    lsr     x6, x4, #BLOCK_SHIFT
    ldr     x9, =NORMAL | READ_ONLY | NEVER_EXECUTE | BLOCK
    orr     x4, x9, x3, lsl #BLOCK_SHIFT
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
    ldr     x30, =LINKED
    adr     x4, upper
    sub     x4, x4, x20
    add     x30, x30, x4
    b       enable_mmu

upper:
    adrp    x1, __boot_stack_end
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    ldr     x0, =LINKED + (TREE_WINDOW << BLOCK_SHIFT)
    and     x1, x19, #(BLOCK_SIZE - 1)
    mov     x22, x19
    add     x19, x0, x1
    mov     x0, x19
    bl      chance_choose
    adrp    x0, CHOICE
    add     x0, x0, :lo12:CHOICE
    ldr     x24, [x0, #CHOICE_DISPLACEMENT]
    cbz     x24, moved

    // Add the displacement to all addresses that the image holds (System V ABI, "Relative Relocation Table"): words
    // with the address of one, and bitmaps of those among the 63 words behind.
    adrp    x0, __relocations_start
    add     x0, x0, :lo12:__relocations_start
    adrp    x1, __relocations_end
    add     x1, x1, :lo12:__relocations_end
1:  cmp     x0, x1
    b.hs    5f
    ldr     x2, [x0], #8
    tbnz    x2, #0, 2f
    ldr     x4, [x2]
    add     x4, x4, x24
    str     x4, [x2], #8
    mov     x3, x2
    b       1b
2:  mov     x5, x3
    add     x3, x3, #(63 * 8)
3:  lsr     x2, x2, #1
    cbz     x2, 1b
    tbz     x2, #0, 4f
    ldr     x4, [x5]
    add     x4, x4, x24
    str     x4, [x5]
4:  add     x5, x5, #8
    b       3b

    // Map it a second time, at the new place, by the same level-3 tables, and go on there. The kernel's own tables will
    // have that place alone.
5:  ldr     x0, =LINKED
    add     x1, x0, x24
    adrp    x2, boot_moved_l2
    sub     x3, x2, x0
    add     x3, x3, x20
    orr     x3, x3, #TABLE
    adrp    x4, boot_upper_l1
    ubfx    x5, x1, #30, #9
    str     x3, [x4, x5, lsl #3]
    adrp    x4, boot_upper_l2
    ubfx    x5, x1, #BLOCK_SHIFT, #9
    add     x2, x2, x5, lsl #3
    ldp     x5, x6, [x4]
    stp     x5, x6, [x2]
    ldp     x5, x6, [x4, #16]
    stp     x5, x6, [x2, #16]
    dsb     ishst
    isb
    adr     x0, moved
    add     x0, x0, x24
    br      x0

moved:
    adrp    x1, __boot_stack_end
    mov     sp, x1
    bl      harden
    mov     x0, x19
    mov     x1, x22
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
    ldr     x30, [x19, #START_ENTRY]
    b       enable_mmu

.global processor_upper
processor_upper:
    mov     sp, x21
    bl      harden
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      processor_main
    b       stop

// Switches on what this processor has to keep the kernel to its own ways. Uses x0 to x2.
harden:
    mrs     x2, sctlr_el1
    mrs     x0, id_aa64mmfr1_el1
    ubfx    x0, x0, #20, #4             // PAN: no access to what EL0 may access, from now on and in exceptions
    cbz     x0, 1f
    bic     x2, x2, #CONTROL_SPAN
    .inst   0xd500419f                  // msr pan, #1
1:  mrs     x0, id_aa64isar1_el1
    mrs     x1, S3_0_C0_C6_2            // ID_AA64ISAR2_EL1
    and     x0, x0, #0xff0              // API, APA: signed addresses
    and     x1, x1, #0xf000             // APA3
    orr     x0, x0, x1
    cbz     x0, 2f
    adrp    x0, CHOICE
    add     x0, x0, :lo12:CHOICE
    ldp     x0, x1, [x0, #CHOICE_KEY]
    msr     S3_0_C2_C1_0, x0            // APIAKeyLo_EL1
    msr     S3_0_C2_C1_1, x1            // APIAKeyHi_EL1
    orr     x2, x2, #CONTROL_ENIA
2:  mrs     x0, id_aa64pfr1_el1
    and     x0, x0, #0xf                // BT: branch targets
    cbz     x0, 3f
    orr     x2, x2, #CONTROL_BT1
3:  msr     sctlr_el1, x2
    isb
    ret

// Goes on at x30 at EL1, with the MMU off and nothing trapped or left over. Uses x1 and x2.
enter_el1:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.lo    2f
    b.hi    stop                        // EL3 is for firmware

    // EL2: give EL1 all it needs, then leave for good.
    ldr     x1, =(1 << 31) | (3 << 40)  // HCR_EL2.RW: EL1 is AArch64; API, APK: it may sign addresses
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
boot_moved_l2: .skip 4096
boot_upper_l3: .skip 4096 * IMAGE_TABLES
boot_tables_end:
