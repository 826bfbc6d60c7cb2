//! The contract of the experiments: what `abi` is to the real kernel and its modules, with one item for each question.
//!
//! `./x experiments` compiles this crate once for each experiment. The kernel of `experiments/kernel` and the modules
//! made of `experiments/module` are compiled against that one library, and each hands a [`Side`] to the other. What a
//! side is made of is one source text, `experiments/module/src/side`, which both compile for themselves: so whatever
//! the kernel does with a module's objects, the module does with the kernel's.
#![no_std]
#![feature(offset_of_enum)]

extern crate alloc;

mod functions;
mod shapes;
mod side;
mod traits;

pub use functions::{
    Apply, Ledger, Scale, Sum, address_of_static, checksum, for_modules_alone, next_called, next_generic, next_inlined,
};
pub use shapes::{Bits, Choice, Fault, Mixed, Node, Pair, Positions, layout_by_the_contract};
pub use side::{Fact, Module, Report, Side, Topic, Wrong};
pub use traits::{Counted, Device, Drops, Named, Ordered, boxed};
