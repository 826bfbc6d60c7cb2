//! Links a module: the object files of a driver's or service's crates, and what they need of `core` and `alloc` that
//! the kernel does not export, become one relocatable object file with a handful of sections.
//!
//! This is what `ld -r --gc-sections` is for, but the linkers at hand either drop `.eh_frame` when they collect
//! garbage, and with it the means to contain a panic, or keep all that it refers to, which is everything.

mod frames;
mod input;
mod live;
mod output;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use frames::Frames;
use input::Inputs;
use output::Output;

pub use input::Archive;

/// The symbol through which the kernel finds all else of a module; `abi`'s macros define it.
pub const ROOT: &str = "LOCKSTEP_MODULE";

/// A linked module.
pub struct Module {
    /// The object file with debugging information.
    pub full: Vec<u8>,
    /// The same without: what is loaded.
    pub stripped: Vec<u8>,
}

/// Links `archives` into a module with the given lockstep stamp.
///
/// # Errors
///
/// When an archive is malformed, holds something that a module cannot have, or when a symbol is neither defined by the
/// archives nor among `exports`.
pub fn link(archives: &[Archive], exports: &BTreeSet<String>, stamp: &str) -> Result<Module> {
    let inputs = Inputs::read(archives, |name| exports.contains(name))?;
    let frames = Frames::read(&inputs)?;
    let live = live::mark(&inputs, &frames, ROOT)?;
    let write = |debug| {
        let mut output = Output::new(&inputs, &frames, &live, ROOT, debug)?;
        let missing: Vec<_> = output
            .imports()
            .filter(|name| !exports.contains(*name))
            .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
            .collect();
        if !missing.is_empty() {
            bail!(
                "it needs {}, which neither the kernel exports nor one of the module's crates defines",
                missing.join(", ")
            );
        }
        output.add_note(stamp::SECTION, stamp.as_bytes());
        output.write()
    };
    Ok(Module { full: write(true)?, stripped: write(false)? })
}
