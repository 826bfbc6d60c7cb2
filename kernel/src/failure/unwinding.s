// What a landing pad calls when it is done (Itanium C++ ABI, "Exception Handling", 1.5.3): x0 the exception.
.section .text.unwinding, "ax"
.global _Unwind_Resume
_Unwind_Resume:
    .cfi_startproc
    hint    #34                         // bti c
    adrp    x1, failure_resume
    add     x1, x1, :lo12:failure_resume
    b       failure_with_registers
    .cfi_endproc

// failure_with_registers(x0, x1: function) calls function(x0, the caller's registers as `unwinder::Registers`), as far as a
// call preserves them, and goes on with what that makes of them. Nothing below the new stack pointer is needed any more.
.equ REGISTERS, 272
.global failure_with_registers
failure_with_registers:
    .cfi_startproc
    sub     sp, sp, #REGISTERS
    .cfi_def_cfa_offset REGISTERS
    stp     x19, x20, [sp, #152]
    stp     x21, x22, [sp, #168]
    stp     x23, x24, [sp, #184]
    stp     x25, x26, [sp, #200]
    stp     x27, x28, [sp, #216]
    stp     x29, x30, [sp, #232]
    .cfi_offset x29, -40
    .cfi_offset x30, -32
    add     x2, sp, #REGISTERS
    stp     x2, x30, [sp, #248]
    mov     x2, x1
    mov     x1, sp
    blr     x2
    ldp     x19, x20, [sp, #152]
    ldp     x21, x22, [sp, #168]
    ldp     x23, x24, [sp, #184]
    ldp     x25, x26, [sp, #200]
    ldp     x27, x28, [sp, #216]
    ldr     x29, [sp, #232]
    ldp     x2, x16, [sp, #248]
    ldp     x0, x1, [sp]
    mov     sp, x2
    ret     x16                         // neither a landing pad nor a landing is marked as a branch target
    .cfi_endproc

// Where a failure goes on when it has come to its landing: x0 the exception, sp and x19 the landing's, x20 the end of the
// stack. Clears all that the failed code has left on the stack and in registers, since whatever is called next may keep it, and
// who looks for what is in use would take that for addresses.
.global failure_land
failure_land:
    .cfi_startproc
    .cfi_undefined x30
    mov     x21, x0
    mov     x0, x20
    mov     w1, #0
    mov     x2, sp
    sub     x2, x2, x20
    bl      memset                      // which uses no stack
    mov     x0, x21
    mov     x16, x19
    mov     x19, #0
    mov     x20, #0
    mov     x21, #0
    mov     x22, #0
    mov     x23, #0
    mov     x24, #0
    mov     x25, #0
    mov     x26, #0
    mov     x27, #0
    mov     x28, #0
    ret     x16
    .cfi_endproc
