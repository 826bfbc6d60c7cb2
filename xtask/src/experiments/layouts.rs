//! Whether kernel and module agree on the layout of the contract's types, whatever the compiler has made of them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::contract::{Contract, Exports};
use super::machine::boot;
use super::table::Row;
use super::vtables::ALL_RIGHT;
use super::workshop::Workshop;

/// Seeds for the contract's types.
const SEEDS: [u64; 6] = [1, 2, 3, 5, 8, 13];

/// What a kernel has settled about layouts.
type Facts = BTreeMap<String, String>;

/// The contract as it is, and one for each seed.
pub fn rows(workshop: &Workshop<'_>, plain: &Contract<'_>) -> Result<Vec<Row>> {
    let (row, ordinary) = agreement("contract as it is, a module with a seed: do all agree?", plain, &[])?;
    let mut rows = vec![row];
    let is_anonymous = |what: &str| what.contains(" a tuple") || what.contains(" a closure");
    let is_field = |what: &str| what.starts_with("offset of ") && !is_anonymous(what);
    for seed in SEEDS {
        let flags = ["-Zrandomize-layout", &format!("-Zlayout-seed={seed}")];
        let name = format!("contract with `{}`", flags.join(" "));
        let contract = Contract::new(workshop, &format!("seed{seed}"), &flags, &[])?;
        // Kernel and module have seeds of their own, which must make no difference.
        let seeds = ["-Zrandomize-layout", &format!("-Zlayout-seed={}", seed + 100)];
        let agree = format!("{name}, kernel and a module with other seeds: do all agree?");
        let (row, shuffled) = agreement(&agree, &contract, &seeds)?;
        rows.push(row);
        rows.push(moved(
            &format!("{name}: have the fields of its types moved?"),
            "yes",
            &ordinary,
            &shuffled,
            is_field,
        ));
        rows.push(moved(
            &format!("{name}: have a tuple's fields or a closure moved?"),
            "no",
            &ordinary,
            &shuffled,
            is_anonymous,
        ));
    }
    Ok(rows)
}

/// A kernel and modules with these flags, and what they agree upon.
fn agreement(experiment: &str, contract: &Contract<'_>, flags: &[&str]) -> Result<(Row, Facts)> {
    let kernel = contract.kernel("layout", "fat", flags, Exports::Table)?;
    let other = ["-Copt-level=0", "-Zrandomize-layout", "-Zlayout-seed=200"];
    let modules = [contract.module("plain", &[])?, contract.module("shuffled", &other)?];
    let transcript = boot(&kernel, &modules)?;
    let facts = transcript.facts().map(|(what, value)| (what.to_owned(), value.to_owned())).collect();
    Ok((Row::all(experiment, ALL_RIGHT, &transcript.outcomes(&modules)), facts))
}

/// How many of some facts are others than without a seed.
fn moved(experiment: &str, expected: &str, before: &Facts, now: &Facts, about: impl Fn(&str) -> bool) -> Row {
    let facts: Vec<_> = now.iter().filter(|(what, _)| about(what)).collect();
    let moved = facts.iter().filter(|(what, value)| before.get(*what) != Some(*value)).count();
    let row = Row::new(experiment, expected, if moved > 0 { "yes" } else { "no" });
    row.with_detail(format!("{moved} of {}", facts.len()))
}
