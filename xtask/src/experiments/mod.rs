//! `x experiments`: answers the questions of `docs/experiments.md` by trying, and writes down there what came of it.
//!
//! The kernel and the modules that are tried stand in `experiments/`. They are compiled by rustc itself, since what
//! cargo would do about other flags, compile everything again, is what must not happen here.

mod abi;
mod contract;
mod effects;
mod layouts;
mod machine;
mod refusals;
mod table;
mod vtables;
mod workshop;

use anyhow::{Result, ensure};

use crate::cargo::Workspace;
use contract::Contract;
use table::Table;
use workshop::Workshop;

/// Runs all experiments and writes the table.
///
/// # Errors
///
/// When an experiment can't be made, or when one had another outcome than expected: then the rows are named.
pub fn experiments(workspace: &Workspace) -> Result<()> {
    let workshop = Workshop::new(workspace)?;
    let plain = Contract::new(&workshop, "plain", &[], &[])?;
    let (vtables, topics) = vtables::rows(&plain)?;
    let tables = [
        Table { heading: "Layout", rows: layouts::rows(&workshop, &plain)? },
        Table { heading: "Objects and functions", rows: vtables },
        Table { heading: "What is looked at in each of these cells", rows: topics },
        Table { heading: "Exports", rows: effects::export_rows(&plain)? },
        Table { heading: "Virtual function elimination", rows: effects::elimination_rows(&workshop, &plain)? },
        Table { heading: "Statics", rows: effects::static_rows(&plain)? },
        Table { heading: "Two contracts", rows: effects::contract_rows(&workshop, &plain)? },
        Table { heading: "Flags of a module alone", rows: vtables::flag_rows(&plain)? },
        Table { heading: "Refusals", rows: refusals::rows(&workshop)? },
    ];
    table::write(&workspace.root.join("docs/experiments.md"), &tables)?;
    let wrong = tables.iter().flat_map(|table| &table.rows).filter(|row| !row.holds());
    let wrong: Vec<_> = wrong.map(ToString::to_string).collect();
    ensure!(wrong.is_empty(), "these experiments had another outcome than expected:\n  {}", wrong.join("\n  "));
    Ok(())
}
