//! A module of the experiments.
#![no_std]
#![feature(offset_of_enum)]

extern crate alloc;

mod side;

use contract::{Module, Report, Side, for_modules_alone};

/// What the loader looks for.
#[unsafe(no_mangle)]
pub static LOCKSTEP_MODULE: Module = Module { side: &side::Own, examine };

fn examine(kernel: &dyn Side, report: &mut Report) {
    // Called here and nowhere else. Without it nothing is compared, which the table notices.
    if for_modules_alone(20) == 41 {
        side::examine(kernel, report);
    }
}
