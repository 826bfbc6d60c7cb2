// The exception vectors (Arm ARM D1.3.1). The kernel runs at EL1 on SP_EL1 and takes exceptions from itself only.
//
// Stacks are the upper half of a naturally aligned 128 KiB slot, with a guard in the lower half: bit 16 of the stack
// pointer tells an overflow before anything is written.

.equ FRAME,      272
.equ STACK_BIT,  16

.macro save
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    add     x0, sp, #FRAME
    stp     x30, x0, [sp, #240]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #256]
.endm

.macro vector handler
    .balign 0x80
    sub     sp, sp, #FRAME
    // Look at sp without a register to spare: sp' = sp + x0, x0' = sp.
    add     sp, sp, x0
    sub     x0, sp, x0
    tbz     x0, #STACK_BIT, exception_stack_overflow
    sub     x0, sp, x0
    sub     sp, sp, x0
    b       \handler
.endm

.macro unexpected kind
    .balign 0x80
    sub     sp, sp, #FRAME
    save
    mov     x0, sp
    mov     x1, #\kind
    bl      exception_unexpected
    b       .
.endm

.section .text.exception_vectors, "ax"
.balign 0x800
.global exception_vectors
exception_vectors:
    unexpected 0
    unexpected 1
    unexpected 2
    unexpected 3
    vector  synchronous
    vector  interrupt
    unexpected 6
    unexpected 7
    unexpected 8
    unexpected 9
    unexpected 10
    unexpected 11
    unexpected 12
    unexpected 13
    unexpected 14
    unexpected 15

synchronous:
    save
    mov     x19, sp
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{exception_stack}]    // its own stack may be what is short
    mov     sp, x0
    mov     x0, x19
    bl      exception_synchronous
    b       restore

interrupt:
    save
    mov     x19, sp
    tst     x19, #0xe000                    // less than 8 KiB are left
    b.eq    short_of_stack
serve:
    mov     x0, x19
    bl      exception_interrupt

// Goes on with the registers of the frame at x19, which may be others than those that were saved.
restore:
    ldp     x0, x1, [x19, #256]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldr     x2, [x19, #248]
    ldp     x0, x1, [x19]               // go below the new stack pointer until there is no need for another register
    stp     x0, x1, [x2, #-16]
    mov     x0, x19
    mov     sp, x2
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [sp, #-16]
    eret

// As for `synchronous`. If what was interrupted has been ended, the interrupt comes again where there is room.
short_of_stack:
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{exception_stack}]
    mov     sp, x0
    mov     x0, x19
    bl      exception_short_of_stack
    mov     sp, x19
    tbz     w0, #0, serve
    b       restore

// The stack is used up: report it from the processor's other one. x0 holds the stack pointer, sp its sum with the
// thread's x0. Only TPIDR_EL0 is there to keep something in.
exception_stack_overflow:
    sub     x0, sp, x0
    msr     tpidr_el0, x0               // the thread's x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{exception_stack}]
    // Swap x0 and sp.
    add     sp, sp, x0
    sub     x0, sp, x0
    sub     sp, sp, x0
    sub     sp, sp, #FRAME
    str     x1, [sp, #8]
    mrs     x1, tpidr_el0
    sub     x0, x0, x1
    msr     tpidr_el0, x0               // the thread's stack pointer
    mov     x0, x1
    ldr     x1, [sp, #8]
    save
    mrs     x0, tpidr_el0
    add     x0, x0, #FRAME
    str     x0, [sp, #248]
    mov     x19, sp
    mov     x0, sp
    bl      exception_stack_overflowed
    b       restore
.global exception_vectors_end
exception_vectors_end:

.section .bss.exception_stack, "aw", %nobits
.balign 4096
    .skip   16384
.global boot_exception_stack_end
boot_exception_stack_end:
    .skip   4096
