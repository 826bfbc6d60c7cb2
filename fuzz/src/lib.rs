//! Fuzz targets: any bytes at all, for whatever in the kernel reads bytes that it did not write itself.
//!
//! A [`Target`] hands bytes to one of the tree's readers, asks it all that it can be asked, and panics unless what holds
//! for every input holds: nothing panics or hangs, memory stays within the bound that the target states, what is refused
//! is refused with a sentence, and what is accepted makes sense (most targets compare it with a second opinion).
//! [`TARGETS`] lists them; a new one is a file in `targets` and a line there.
//!
//! Inputs come from three places:
//!
//! - `fuzz/corpus/NAME` holds small inputs that reach different places in the reader, kept in version control. What
//!   once failed is added there, under a name that says what it is.
//! - [`Target::real_inputs`] finds what the build and the machine have: modules, archives, device trees.
//! - `./x fuzz NAME` looks for more with libFuzzer (`src/bin/coverage.rs`), guided by which code an input reaches, and
//!   keeps them in `target/fuzz/NAME`. Where libFuzzer can't be built, and in `./x test`, the place is taken by a
//!   [`mutant`] of the others after another: without guidance, but always the same.

pub mod heap;
mod mutation;
mod real;
mod runner;
mod target;
mod targets;

pub use mutation::{Input, mutant};
pub use runner::{Counts, run_all};
pub use target::{TIME_LIMIT, Target};
pub use targets::TARGETS;
