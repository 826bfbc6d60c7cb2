//! What of a stack is kept for the kernel.
//!
//! A module may use up its stack anywhere. The last 8 KiB are for interrupts: one that finds less ends a module's code there
//! (`exceptions.s`). What a module calls in the kernel asks for some more before it begins, since it can't be ended halfway.

use crate::memory::layout::{STACK_SIZE, STACK_SLOT, STACKS};
use crate::thread;
use core::ptr;

/// How much of the stack there has to be when a module calls the kernel: somewhat less than a landing pad has.
const CLAIM: usize = 10 << 10;

/// To be called first where a module enters the kernel: has a stack that is nearly used up overflow now, where that is the
/// module's failure, and not later, with interrupts masked or a lock of the kernel's held.
#[inline(always)]
pub fn claim_stack() {
    let stack_pointer = stack_pointer();
    if stack_pointer % STACK_SIZE < CLAIM {
        overflow(stack_pointer);
    }
}

#[inline(always)]
fn stack_pointer() -> usize {
    let stack_pointer: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, sp", out(reg) stack_pointer, options(nomem, nostack, preserves_flags)) }
    stack_pointer
}

/// The beginning of the stack that a stack pointer points into.
fn stack_of(stack_pointer: usize) -> usize {
    stack_pointer & !(STACK_SLOT - 1) | STACK_SIZE
}

/// Clears what functions that have returned, or were unwound, have left on a thread's stack. What is called next leaves places
/// in its frames as they are, and who looks for what is in use there would take that for addresses.
#[inline(never)]
pub fn clear_unused_stack() {
    let stack_pointer = stack_pointer();
    if STACKS.contains(&stack_pointer) {
        let start = stack_of(stack_pointer);
        // SAFETY: below its stack pointer nothing of the stack is in use, and what fills memory needs none. What an interrupt
        // leaves there meanwhile is over when this goes on.
        unsafe { ptr::with_exposed_provenance_mut::<u8>(start).write_bytes(0, stack_pointer - start) };
    }
}

#[cold]
#[inline(never)]
fn overflow(stack_pointer: usize) {
    // The kernel's own threads know what they do, handlers and who unwinds have what is kept for them, and exceptions have
    // other stacks.
    let is_modules = thread::owner().is_some() && !thread::serves_interrupt() && !thread::is_unwinding();
    if STACKS.contains(&stack_pointer) && is_modules {
        let guard: *const u64 = ptr::without_provenance(stack_of(stack_pointer) - size_of::<u64>());
        // SAFETY: nothing is mapped there, which is an exception that unwinds.
        unsafe { guard.read_volatile() };
    }
}
