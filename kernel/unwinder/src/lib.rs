//! Unwinding: from the point of a failure, frame by frame, to whoever catches it.
//!
//! A [`Walk`] follows the frames of a stack by the tables that the compiler made (`.eh_frame`: DWARF 5, section 6.4, in
//! the form of the Linux Standard Base 5.0, "Exception Frames"; register numbers as in DWARF for the Arm 64-bit
//! Architecture), and tells what each wants done when it is unwound (`.gcc_except_table`: Itanium C++ ABI, "Exception
//! Handling Tables"). It starts at a call or at any instruction, as a hardware exception does.
//!
//! On top of it, [`search`] tells whether the way to a [`Landing`] is free, and [`advance`] the next code to run on it: a
//! frame's landing pad, which ends in `_Unwind_Resume`, from where the next [`advance`] starts. There is one language and
//! one kind of exception, so no personality function is called. No frame catches: who goes on has noted the landing.
//!
//! Nothing here allocates, locks or trusts: tables are read within their bounds, the stack through [`System::word`], and a
//! walk ends, because the stack does and each caller's frame lies above its callee's.
#![no_std]
#![deny(clippy::indexing_slicing)]

mod actions;
mod error;
mod tables;
mod unwinding;
mod walk;

pub use actions::Action;
pub use error::Error;
pub use tables::{Section, Tables};
pub use unwinding::{Landing, advance, search};
pub use walk::{Frame, Place, Registers, Walk};

/// The machine whose stack is unwound.
pub trait System {
    /// The tables of the code at an address; `None` if there is no code.
    fn tables(&self, address: u64) -> Option<Tables<'_>>;

    /// The word at an address of the stack, a multiple of 8; `None` if that is not on the stack.
    fn word(&self, address: u64) -> Option<u64>;

    /// Whether the function with this instruction may be left without its consent: a frame that must not be unwound is then
    /// passed over.
    fn is_expendable(&self, address: u64) -> bool;

    /// Whether there is enough stack below this stack pointer for a landing pad to run.
    fn has_room(&self, stack_pointer: u64) -> bool;
}
