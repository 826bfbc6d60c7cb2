//! Which symbols the kernel exports to modules.
//!
//! The choice depends on the kernel, `abi` and the standard library alone and never on the modules at hand: then a
//! module that was not in the tree when the kernel was built loads like any other, and a changed driver leaves the
//! kernel as it is. What of `core` and `alloc` is left out here is linked into each module that needs it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use loader::exports::arrange;
use rustc_demangle::demangle;

use crate::rlib::{Dependency, GlobalSymbol, global_symbols};

/// The crates of the standard library. They hold no state, so what is not exported may be linked into modules.
pub const STANDARD: [&str; 3] = ["core", "alloc", "compiler_builtins"];

/// Symbols that compiled code refers to without naming them in Rust.
const RUNTIME: [&str; 7] = ["rust_eh_personality", "_Unwind_Resume", "memcpy", "memmove", "memset", "memcmp", "bcmp"];

/// The parts of `core` and `alloc` that most modules use, by the beginning of their paths or of the type that they
/// belong to: panics, formatting, and what lies below strings, vectors and smart pointers.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "alloc::", "core::alloc::", "core::cell::", "core::fmt::", "core::option::", "core::panic", "core::result::",
    "core::slice::", "core::str::", "bool as ", "char as ", "str as ", "str>::",
    "i8 as ", "i16 as ", "i32 as ", "i64 as ", "isize as ", "u8 as ", "u16 as ", "u32 as ", "u64 as ", "usize as ",
];

/// Exceptions to these: paths with one of these words in them.
#[rustfmt::skip]
const UNCOMMON: &[&str] = &[
    // Numbers with an exponent or in octal, patterns, other encodings of text, upper and lower case, iterators.
    "Exp>", "Octal>", "core::pat::", "utf16", "wtf8", "c_str", "CStr", "case", "ascii", "iter",
    // Panics that only coroutines have.
    "async", "coroutine", "gen_fn",
    // The compiler's helpers for what the processor can't do.
    "compiler_builtins",
];

/// Chooses the names of the exports, given the kernel's symbols and the crates that it shares with modules: the
/// standard library, `abi`, and what `abi` is made of.
pub fn choose(kernel: &[GlobalSymbol], shared: &[Dependency]) -> Result<BTreeSet<String>> {
    let mut exports = BTreeSet::from(RUNTIME.map(str::to_owned));
    let mut standard = Vec::new();
    for dependency in shared {
        let symbols = global_symbols(&dependency.path)?;
        if STANDARD.contains(&dependency.name.as_str()) {
            standard.extend(symbols);
        } else {
            // A second copy of these crates' statics would be a second logger, registry, and so on.
            exports.extend(symbols.into_iter().filter(|symbol| symbol.defined).map(|symbol| symbol.name));
        }
    }
    let declared_by_abi = kernel.iter().filter(|symbol| symbol.defined && symbol.name.starts_with("lockstep_"));
    exports.extend(declared_by_abi.map(|symbol| symbol.name.clone()));
    for symbol in standard.iter().chain(kernel) {
        let path = format!("{:#}", demangle(&symbol.name));
        // The allocator's and the panic handler's entries, which rustc makes itself when it links the kernel.
        let entry = path.starts_with("__rustc::");
        let owner = path.trim_start_matches(['<', '&', '[']);
        let common = COMMON.iter().any(|start| owner.starts_with(start));
        if entry || common && symbol.defined && !UNCOMMON.iter().any(|word| path.contains(word)) {
            exports.insert(symbol.name.clone());
        }
    }
    Ok(exports)
}

/// The Rust source of a kernel's export table and of its stamp.
pub fn source(exports: &BTreeSet<String>, stamp: &str) -> Result<String> {
    let table = arrange(exports.iter().map(String::as_str)).map_err(|name| anyhow!("{name} is exported twice"))?;
    let mut declarations = String::new();
    let mut entries = String::new();
    for (index, name) in table.names.iter().enumerate() {
        // Functions as well: only their addresses matter.
        writeln!(declarations, "    #[link_name = {name:?}]\n    static EXPORT_{index}: u8;")?;
        writeln!(entries, "        loader::exports::Export {{ name: {name:?}, address: &raw const EXPORT_{index} }},")?;
    }
    Ok(format!(
        "// Made by the build from the crates that the kernel shares with modules.\n\
         unsafe extern \"C\" {{\n{declarations}}}\n\n\
         #[used]\n\
         pub static EXPORTS: loader::exports::ExportTable = loader::exports::ExportTable {{\n    \
         starts: &{:?},\n    exports: &[\n{entries}    ],\n}};\n\n\
         pub static STAMP: &str = {stamp:?};\n",
        table.starts
    ))
}
