//! What of a stack is kept for the kernel.
//!
//! A module may use up its stack anywhere. The last 8 KiB are for interrupts: one that finds less ends a module's code there
//! (`exceptions.s`). What a module calls in the kernel asks for some more before it begins, since it can't be ended halfway.

use crate::memory::layout::{STACK_SIZE, stack_of};
use crate::thread::{self, calls};
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

/// Clears what functions that have returned, or were unwound, have left on a thread's stack. What is called next leaves places
/// in its frames as they are, and who looks for what is in use there would take that for addresses.
#[inline(never)]
pub fn clear_unused_stack() {
    let stack_pointer = stack_pointer();
    if let Some(stack) = stack_of(stack_pointer) {
        let unused = ptr::with_exposed_provenance_mut::<u8>(stack.start);
        // SAFETY: below its stack pointer nothing of the stack is in use, and what fills memory needs none. What an interrupt
        // leaves there meanwhile is over when this goes on.
        unsafe { unused.write_bytes(0, stack_pointer - stack.start) };
    }
}

#[cold]
#[inline(never)]
fn overflow(stack_pointer: usize) {
    // The kernel's own threads know what they do, handlers and who unwinds have what is kept for them, and exceptions have
    // other stacks.
    let is_modules = thread::owner().is_some() && !calls::serves_interrupt() && !calls::is_unwinding();
    if let Some(stack) = stack_of(stack_pointer).filter(|_| is_modules) {
        let guard: *const u64 = ptr::without_provenance(stack.start - size_of::<u64>());
        // SAFETY: nothing is mapped there, which is an exception that unwinds.
        unsafe { guard.read_volatile() };
    }
}
