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

/// What a module is made of.
pub struct Request<'a> {
    /// What its code is in.
    pub archives: &'a [Archive],
    /// Whether a symbol is somebody else's: the kernel's, or that of a module which this one depends on.
    pub is_imported: &'a dyn Fn(&str) -> bool,
    /// The symbols that it defines for other modules.
    pub exports: &'a BTreeSet<String>,
    /// What to say of it in `.modinfo`, besides what it says itself.
    pub information: &'a [(&'a str, String)],
    /// Sections that are not loaded: names and contents.
    pub notes: &'a [(String, &'a [u8])],
}

/// A linked module.
pub struct Module {
    /// The object file with debugging information.
    pub full: Vec<u8>,
    /// The same without: what is loaded.
    pub stripped: Vec<u8>,
}

/// Links a module.
///
/// # Errors
///
/// When an archive is malformed, holds something that a module cannot have, or when a symbol is neither defined by the
/// archives nor imported.
pub fn link(request: &Request<'_>) -> Result<Module> {
    let inputs = Inputs::read(request.archives, request.is_imported)?;
    let frames = Frames::read(&inputs)?;
    let globals: BTreeSet<&str> = request.exports.iter().map(String::as_str).chain([ROOT]).collect();
    let live = live::mark(&inputs, &frames, &globals)?;
    let write = |debug| {
        let mut output = Output::new(&inputs, &frames, &live, &globals, debug)?;
        let missing: Vec<_> = output
            .imports()
            .filter(|name| !(request.is_imported)(name))
            .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
            .collect();
        if !missing.is_empty() {
            bail!(
                "it needs {}, which neither the kernel exports nor one of the module's crates defines",
                missing.join(", ")
            );
        }
        for (key, value) in request.information {
            output.add_information(key, value);
        }
        for (name, contents) in request.notes {
            output.add_note(name, contents);
        }
        output.write()
    };
    Ok(Module { full: write(true)?, stripped: write(false)? })
}
