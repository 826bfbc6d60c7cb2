//! Objects of one side in the hands of the other, at all optimization levels, with every kind of LTO in the kernel.

use std::collections::BTreeMap;

use anyhow::Result;

use super::contract::{Contract, Exports};
use super::machine::{Direction, Transcript, boot};
use super::table::Row;
use super::workshop::Module;

/// What comes of it when one side looks at the other and all is as it should be.
pub const ALL_RIGHT: &str = "245 values, all right";

/// What a kernel can be linked with.
pub const LTO: [&str; 3] = ["off", "thin", "fat"];

/// rustc's optimization levels.
const LEVELS: [&str; 6] = ["0", "1", "2", "3", "s", "z"];

/// Flags for a module alone, beside those that all has, and what comes of them. The real loader refuses a module with
/// any other flag: not all of them go together, and nobody needs one.
const FLAGS: [(&[&str], &str); 15] = [
    (&["-Ccodegen-units=16"], ALL_RIGHT),
    (&["-Cdebuginfo=2"], ALL_RIGHT),
    (&["-Cdebug-assertions=yes"], ALL_RIGHT),
    (&["-Coverflow-checks=yes"], ALL_RIGHT),
    (&["-Cforce-frame-pointers=no"], ALL_RIGHT),
    (&["-Csymbol-mangling-version=legacy"], ALL_RIGHT),
    (&["-Cno-prepopulate-passes"], ALL_RIGHT),
    (&["-Crelocation-model=pic"], ALL_RIGHT),
    (&["-Ccode-model=large"], ALL_RIGHT),
    (&["-Zmir-opt-level=4"], ALL_RIGHT),
    (&["-Zrandomize-layout", "-Zlayout-seed=1"], ALL_RIGHT),
    (&["-Zshare-generics=yes"], ALL_RIGHT),
    // The processor has no such instructions.
    (&["-Ctarget-feature=+lse"], "stopped by an undefined instruction"),
    (
        &["-Zbranch-protection=bti"],
        "rustc refuses: mixing `-Zbranch-protection` will cause an ABI mismatch in crate `module`",
    ),
    (&["-Zfixed-x18"], "rustc refuses: mixing `-Zfixed-x18` will cause an ABI mismatch in crate `module`"),
];

/// Kernels with each kind of LTO, and kernels at each optimization level, with modules at each level; and what was
/// looked at in all these cells.
pub fn rows(contract: &Contract<'_>) -> Result<(Vec<Row>, Vec<Row>)> {
    let mut modules = Vec::new();
    for level in LEVELS {
        modules.push(contract.module(&format!("O{level}"), &[&format!("-Copt-level={level}")])?);
    }
    let others = LEVELS.into_iter().filter(|level| *level != "2").map(|level| ("fat", level));
    let mut rows = Vec::new();
    let mut transcripts = Vec::new();
    for (lto, level) in LTO.into_iter().map(|lto| (lto, "2")).chain(others) {
        let flag = format!("-Copt-level={level}");
        let kernel = contract.kernel(&format!("{lto}-O{level}"), lto, &[&flag], Exports::Table)?;
        let transcript = boot(&kernel, &modules)?;
        for direction in Direction::BOTH {
            let outcomes =
                modules.iter().map(|module| (module.name.clone(), transcript.outcome(&module.name, direction)));
            let experiment =
                format!("kernel at O{level} with LTO {lto}, modules at O0, O1, O2, O3, Os, Oz: {direction}");
            rows.push(Row::all(experiment, ALL_RIGHT, &outcomes.collect::<Vec<_>>()));
        }
        transcripts.push(transcript);
    }
    Ok((rows, topic_rows(&transcripts, &modules)))
}

/// In how many cells each topic was looked at, and in how many of them values were wrong.
fn topic_rows(transcripts: &[Transcript], modules: &[Module]) -> Vec<Row> {
    let cells = transcripts.len() * modules.len() * Direction::BOTH.len();
    let mut counts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for transcript in transcripts {
        for module in modules {
            for direction in Direction::BOTH {
                for (topic, count) in transcript.topics(&module.name, direction) {
                    counts.entry(topic).or_default().push(count);
                }
            }
        }
    }
    let row = |(topic, counts): (&str, Vec<u64>)| {
        Row::new(topic, format!("looked at in {cells} cells"), format!("looked at in {} cells", counts.len()))
            .with_detail(format!("values in each: {}", counts.first().copied().unwrap_or_default()))
    };
    counts.into_iter().map(row).collect()
}

/// Modules with other flags than the kernel.
pub fn flag_rows(contract: &Contract<'_>) -> Result<Vec<Row>> {
    let kernel = contract.kernel("flags", "fat", &[], Exports::Table)?;
    let mut rows = Vec::new();
    for (flags, expected) in FLAGS {
        let experiment = format!("module with `{}`", flags.join(" "));
        rows.push(match contract.module(&flags.join(""), flags) {
            Ok(module) => {
                let module = [module];
                Row::all(experiment, expected, &boot(&kernel, &module)?.outcomes(&module))
            }
            Err(error) => Row::new(experiment, expected, error.to_string()),
        });
    }
    Ok(rows)
}
