//! What linker flags, virtual function elimination, copies of statics and a second contract really do.

use std::collections::BTreeSet;

use anyhow::Result;
use object::read::elf::{ElfFile64, ElfSymbol64};
use object::{LittleEndian, Object, ObjectSymbol};

use super::contract::{Contract, Exports};
use super::machine::{Direction, UNCHECKED, boot};
use super::table::Row;
use super::vtables::{ALL_RIGHT, LTO};
use super::workshop::{Module, Workshop};

/// What is said of the symbols that a module needs.
const ALL: &str = "all are there";
const SOME: &str = "some are missing";

/// In a position-independent program: what `-export-dynamic` does in another depends on the linker's version. Nobody
/// runs it, so symbols may be missing that are kept for nothing.
const EXPORT_DYNAMIC: &[&str] = &[
    "-Clink-arg=-export-dynamic",
    "-Clink-arg=-pie",
    "-Clink-arg=-znotext",
    "-Clink-arg=--unresolved-symbols=ignore-all",
];

/// Ways to keep in a kernel what only modules need, and what comes of it with each kind of LTO.
const WAYS: [(&str, &[&str], Exports, [&str; 3]); 4] = [
    ("nothing", &[], Exports::Nothing, [SOME, SOME, SOME]),
    ("`-export-dynamic`", EXPORT_DYNAMIC, Exports::Nothing, [ALL, SOME, SOME]),
    ("`-Zexport-executable-symbols`", &["-Zexport-executable-symbols"], Exports::Nothing, [SOME, SOME, SOME]),
    ("a generated table with `#[used]`", &[], Exports::Table, [ALL, ALL, ALL]),
];

/// How many of the symbols that a module needs are in a kernel.
pub fn export_rows(contract: &Contract<'_>) -> Result<Vec<Row>> {
    let needed = symbols(&contract.module("exports", &[])?.object, |symbol| symbol.is_undefined())?;
    let mut rows = Vec::new();
    for (number, (way, flags, exports, expected)) in WAYS.into_iter().enumerate() {
        for (lto, expected) in LTO.into_iter().zip(expected) {
            let kernel = contract.kernel(&format!("exports{number}-{lto}"), lto, flags, exports)?;
            let there = symbols(&std::fs::read(kernel)?, |symbol| !symbol.is_undefined())?;
            let there = there.intersection(&needed).count();
            let observed = if there == needed.len() { ALL } else { SOME };
            let row = Row::new(format!("{way}, kernel with LTO {lto}"), expected, observed);
            rows.push(row.with_detail(format!("{there} of {}", needed.len())));
        }
    }
    Ok(rows)
}

/// The names of the symbols in an ELF file for which a condition holds.
fn symbols(file: &[u8], condition: impl Fn(&ElfSymbol64<'_, '_, LittleEndian>) -> bool) -> Result<BTreeSet<String>> {
    let elf = ElfFile64::<LittleEndian>::parse(file)?;
    let names = elf.symbols().filter(condition).map(|symbol| Ok(symbol.name()?.to_owned()));
    names.filter(|name| !matches!(name, Ok(name) if name.is_empty())).collect()
}

/// A kernel with virtual function elimination, of all of it and of the crate `order` alone.
pub fn elimination_rows(workshop: &Workshop<'_>, plain: &Contract<'_>) -> Result<Vec<Row>> {
    let flags = ["-Clto=fat", "-Zvirtual-function-elimination"];
    let whole = match plain.kernel("eliminated", "fat", &flags, Exports::Table) {
        Ok(_) => Row::new("the whole kernel with it", "rustc fails", "rustc compiles it"),
        Err(error) => Row::new("the whole kernel with it", "rustc fails", "rustc fails").with_detail(error.to_string()),
    };
    // As bitcode alone: before the kernel is linked, there can be no machine code for it.
    let part = Contract::new(workshop, "eliminated", &[], &[&flags[..], &["-Clinker-plugin-lto"]].concat())?;
    let module = [plain.module("eliminated", &[])?];
    let mut rows = vec![whole];
    for (how, contract, methods, module_calls_kernel) in [
        ("without it", plain, "8", ALL_RIGHT),
        ("the crate of one object with it", &part, "1", "stopped by an instruction abort"),
    ] {
        let transcript = boot(&contract.kernel("order", "fat", &[], Exports::Table)?, &module)?;
        let found = transcript.facts().find(|(what, _)| *what == "methods in a vtable").map_or("", |(_, value)| value);
        rows.push(Row::new(format!("{how}: methods left of 8 in the vtable"), methods, found));
        let outcome = transcript.outcome("eliminated", Direction::ModuleCallsKernel);
        let detail = outcome.detail.clone();
        let row = Row::of(format!("{how}: module calls kernel"), module_calls_kernel, outcome);
        rows.push(row.with_detail(detail));
    }
    Ok(rows)
}

/// Statics of the contract, exported by the kernel or linked into the module.
pub fn static_rows(contract: &Contract<'_>) -> Result<Vec<Row>> {
    let kernel = contract.kernel("statics", "fat", &[], Exports::Table)?;
    let ways = [
        ("the kernel exports the contract's code and statics", [contract.module("shared", &[])?], ALL_RIGHT, "yes"),
        (
            "the module has its own copy of the contract",
            [contract.module_with_contract("copied")?],
            "7 of 245 values wrong",
            "no",
        ),
    ];
    let mut rows = Vec::new();
    for (way, module, outcome, one) in ways {
        let transcript = boot(&kernel, &module)?;
        rows.push(Row::all(way, outcome, &transcript.outcomes(&module)));
        let [module] = module;
        let is_address = |(what, _): (&str, &str)| what == "address of a static in an inlined function";
        let same = !transcript.differences(&module.name).any(is_address);
        rows.push(Row::new(format!("{way}: has a static in an inlined function one address?"), one, yes(same)));
        for kind in ["inlined", "generic", "called"] {
            let start = format!("steps of the static in a function that is {kind}: ");
            let is_kind = |direction| transcript.wrong(&module.name, direction).any(|wrong| wrong.starts_with(&start));
            let counts = !Direction::BOTH.into_iter().any(is_kind);
            let experiment = format!("{way}: does a static in a function that is {kind} count for both?");
            rows.push(Row::new(experiment, one, yes(counts)));
        }
    }
    Ok(rows)
}

/// What is said of a module with another contract.
const REFUSAL: &str =
    "it is out of lockstep: the module was built against contract HASH, this kernel against contract OTHER HASH";

fn yes(condition: bool) -> &'static str {
    if condition { "yes" } else { "no" }
}

/// A kernel and modules whose contracts were compiled separately.
pub fn contract_rows(workshop: &Workshop<'_>, plain: &Contract<'_>) -> Result<Vec<Row>> {
    let again = Contract::new(workshop, "again", &[], &[])?;
    let changed = Contract::new(workshop, "changed", &["--cfg", "feature=\"changed\""], &[])?;
    let shuffled = Contract::new(workshop, "shuffled", &["-Zrandomize-layout"], &[])?;
    let renamed = Contract::new(workshop, "renamed", &["-Cmetadata=renamed"], &[])?;
    let modules = [
        again.module("again", &[])?,
        changed.module("changed", &[])?,
        changed.module(&format!("{UNCHECKED}changed"), &[])?,
        renamed.module(&format!("{UNCHECKED}renamed"), &[])?,
    ];
    let transcript = boot(&plain.kernel("contracts", "fat", &[], Exports::Table)?, &modules)?;
    let [again_module, checked, unchecked, renamed_module] = &modules;
    let outcome = |module: &Module| transcript.outcome(&module.name, Direction::KernelCallsModule);

    let needed = |module: &Module| symbols(&module.object, |symbol| symbol.is_undefined());
    let same_names = needed(&plain.module("contracts", &[])?)? == needed(unchecked)?;
    let same_type = !transcript.differences(&unchecked.name).any(|(what, _)| what == "type of Node");
    let is_size = |(what, _): (&str, &str)| what == "size of Node";
    let garbage = transcript.wrong(&unchecked.name, Direction::KernelCallsModule);
    let garbage = garbage.filter_map(|wrong| wrong.strip_prefix("a struct's fields: ")).collect::<String>();
    let refusal = outcome(checked).detail.replace(changed.hash(), "HASH").replace(plain.hash(), "OTHER HASH");
    let missing =
        outcome(renamed_module).detail.ends_with(", which neither the kernel exports nor a module that it depends on");
    Ok(vec![
        Row::new("same source, compiled again: has the crate the same hash?", "yes", yes(again.hash() == plain.hash())),
        Row::of("same source, compiled again", ALL_RIGHT, outcome(again_module)),
        Row::new(
            "same source with `-Zrandomize-layout`: has the crate the same hash?",
            "no",
            yes(shuffled.hash() == plain.hash()),
        ),
        Row::new(
            "`Node::interrupt` is u32, was u64: has the crate the same hash?",
            "no",
            yes(changed.hash() == plain.hash()),
        ),
        Row::new("... does the module need symbols of the same names?", "yes", yes(same_names)),
        Row::new("... has `Node` the same `TypeId`?", "yes", yes(same_type)),
        Row::new("... has `Node` the same size?", "no", yes(!transcript.differences(&unchecked.name).any(is_size))),
        Row::new(
            "... what the module reads in a `Node` of the kernel's, loaded in spite of its stamp",
            "expected [287454020, 1432778632, 2], found [287454020, 0, 1432778632]",
            garbage,
        ),
        Row::new("... what the loader says", REFUSAL, refusal),
        Row::new("another `-C metadata`: is a symbol missing?", "yes", yes(missing)),
    ])
}
