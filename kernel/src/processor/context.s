// context_switch(x0: where to leave the old stack pointer, x1: the new one).
// What the procedure call standard preserves (AAPCS64, 6.1.1) is kept on the stack; the kernel uses no vector registers.
.section .text.context_switch, "ax"
.global context_switch
context_switch:
    .cfi_startproc
    sub     sp, sp, #96
    .cfi_def_cfa_offset 96
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x2, sp
    str     x2, [x0]
    mov     sp, x1
    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #96
    .cfi_def_cfa_offset 0
    ret
    .cfi_endproc

// Where a new thread comes to life: x19 its argument, x20 its entry. x29 is 0: here ends every backtrace.
.global context_start
context_start:
    .cfi_startproc
    .cfi_undefined x30
    mov     x0, x19
    blr     x20
    brk     #0
    .cfi_endproc
