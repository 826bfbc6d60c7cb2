// memcpy, memmove, memset, memcmp and bcmp, for the kernel and all modules: what compiler_builtins has for this target
// works byte by byte. Unaligned accesses are fine: it's all ordinary memory, with the MMU on.
//
// Modules may call them through pointers, so each begins with a landing pad (which is `bti c` in an older processor's words).
//
// Short runs are read as a whole before anything is written: one block from the start, one that ends at the end.

.section .text.bytes, "ax"

// memcpy(x0 to, x1 from, x2 size), memmove likewise; both return x0.
.balign 16
.global memcpy
.global memmove
memcpy:
memmove:
    .cfi_startproc
    hint    #34                         // bti c
    add     x4, x1, x2                  // ends
    add     x5, x0, x2
    cmp     x2, #16
    b.lo    copy_below_16
    cmp     x2, #32
    b.hi    copy_above_32
    ldp     x6, x7, [x1]
    ldp     x8, x9, [x4, #-16]
    stp     x6, x7, [x0]
    stp     x8, x9, [x5, #-16]
    ret
copy_below_16:
    tbz     x2, #3, 1f
    ldr     x6, [x1]
    ldr     x7, [x4, #-8]
    str     x6, [x0]
    str     x7, [x5, #-8]
    ret
1:  tbz     x2, #2, 2f
    ldr     w6, [x1]
    ldr     w7, [x4, #-4]
    str     w6, [x0]
    str     w7, [x5, #-4]
    ret
2:  tbz     x2, #1, 3f
    ldrh    w6, [x1]
    ldrh    w7, [x4, #-2]
    strh    w6, [x0]
    strh    w7, [x5, #-2]
    ret
3:  cbz     x2, 4f
    ldrb    w6, [x1]
    strb    w6, [x0]
4:  ret
copy_above_32:
    cmp     x2, #64
    b.hi    copy_above_64
    ldp     x6, x7, [x1]
    ldp     x8, x9, [x1, #16]
    ldp     x10, x11, [x4, #-32]
    ldp     x12, x13, [x4, #-16]
    stp     x6, x7, [x0]
    stp     x8, x9, [x0, #16]
    stp     x10, x11, [x5, #-32]
    stp     x12, x13, [x5, #-16]
    ret
copy_above_64:
    sub     x6, x0, x1
    cmp     x6, x2
    b.lo    copy_backwards              // `to` lies within `from`
    mov     x3, x0
    ldp     x10, x11, [x4, #-32]        // the end, before it is overwritten
    ldp     x12, x13, [x4, #-16]
    sub     x2, x2, #32
5:  ldp     x6, x7, [x1]
    ldp     x8, x9, [x1, #16]
    add     x1, x1, #32
    stp     x6, x7, [x3]
    stp     x8, x9, [x3, #16]
    add     x3, x3, #32
    subs    x2, x2, #32
    b.hi    5b
    stp     x10, x11, [x5, #-32]
    stp     x12, x13, [x5, #-16]
    ret
copy_backwards:
    ldp     x10, x11, [x1]              // the start, before it is overwritten
    ldp     x12, x13, [x1, #16]
    sub     x2, x2, #32
6:  ldp     x6, x7, [x4, #-16]
    ldp     x8, x9, [x4, #-32]
    sub     x4, x4, #32
    stp     x6, x7, [x5, #-16]
    stp     x8, x9, [x5, #-32]
    sub     x5, x5, #32
    subs    x2, x2, #32
    b.hi    6b
    stp     x10, x11, [x0]
    stp     x12, x13, [x0, #16]
    ret
    .cfi_endproc

// memset(x0 to, w1 byte, x2 size) returns x0.
.balign 16
.global memset
memset:
    .cfi_startproc
    hint    #34                         // bti c
    add     x5, x0, x2
    and     x1, x1, #0xff
    mov     x6, #0x0101010101010101
    mul     x6, x1, x6
    cmp     x2, #16
    b.lo    set_below_16
    mov     x3, x0
    cbnz    x6, 1f
    cmp     x2, #256
    b.hs    zero_above_256
1:  subs    x2, x2, #32
    b.ls    3f
2:  stp     x6, x6, [x3]
    stp     x6, x6, [x3, #16]
    add     x3, x3, #32
    subs    x2, x2, #32
    b.hi    2b
3:  add     x2, x2, #32                 // 1 to 32 bytes are left, and at least 16 lie behind
    cmp     x2, #16
    b.ls    4f
    stp     x6, x6, [x3]
4:  stp     x6, x6, [x5, #-16]
    ret
set_below_16:
    tbz     x2, #3, 5f
    str     x6, [x0]
    str     x6, [x5, #-8]
    ret
5:  tbz     x2, #2, 6f
    str     w6, [x0]
    str     w6, [x5, #-4]
    ret
6:  cbz     x2, 7f
    strb    w6, [x0]
    strb    w6, [x5, #-1]
    tbz     x2, #1, 7f
    strb    w6, [x0, #1]
7:  ret
zero_above_256:                         // by whole cache lines, if they have 64 bytes (Arm ARM, DCZID_EL0)
    mrs     x7, dczid_el0
    cmp     x7, #4
    b.ne    1b
    stp     xzr, xzr, [x3]
    stp     xzr, xzr, [x3, #16]
    stp     xzr, xzr, [x3, #32]
    stp     xzr, xzr, [x3, #48]
    add     x3, x3, #64
    and     x3, x3, #~63
8:  dc      zva, x3
    add     x3, x3, #64
    sub     x7, x5, x3
    cmp     x7, #64
    b.hs    8b
    mov     x2, x7
    cbz     x2, 7b
    b       1b
    .cfi_endproc

// memcmp(x0 one, x1 other, x2 size): below, equal to or above 0; bcmp likewise.
.balign 16
.global memcmp
.global bcmp
memcmp:
bcmp:
    .cfi_startproc
    hint    #34                         // bti c
    subs    x2, x2, #8
    b.lo    2f
1:  ldr     x3, [x0], #8
    ldr     x4, [x1], #8
    cmp     x3, x4
    b.ne    5f
    subs    x2, x2, #8
    b.hs    1b
2:  adds    x2, x2, #8                  // 0 to 7 bytes are left
    b.eq    4f
3:  ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    subs    w3, w3, w4
    b.ne    6f
    subs    x2, x2, #1
    b.ne    3b
4:  mov     w0, #0
    ret
5:  rev     x3, x3                      // the first byte in memory decides
    rev     x4, x4
    cmp     x3, x4
    mov     w0, #1
    cneg    w0, w0, lo
    ret
6:  mov     w0, w3
    ret
    .cfi_endproc
