//! The tables in the book.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;

use super::fault::DRIVERS;
use super::mutation::Mutation;
use super::results::{Record, Results};
use super::trial::Outcome;
use crate::cargo::Workspace;
use crate::files;

const MARKS: (&str, &str) =
    ("<!-- `./x faults` writes what follows -->\n", "<!-- `./x faults` has written what precedes -->\n");

/// Puts the tables into the page, in place of those that it has.
pub fn write(workspace: &Workspace, results: &Results) -> Result<()> {
    files::update_between(&workspace.root.join("docs/fault-campaign.md"), MARKS, &markdown(results))?;
    Ok(())
}

fn markdown(results: &Results) -> String {
    let records: Vec<&Record> = results.records.values().collect();
    let late = records.iter().filter(|record| record.is_late).count();
    let mut text = format!(
        "\n{} faults, `--seed {}`. {late} of them had an effect only in a machine that was hit before.\n",
        records.len(),
        results.seed
    );
    text += "\n### By driver\n\n";
    text += &heading("driver", "| instructions ");
    for module in DRIVERS {
        let own: Vec<_> = records.iter().copied().filter(|record| record.fault.module == module).collect();
        let places = results.places.get(module).copied().unwrap_or(0);
        text += &row(&format!("`{module}` | {places}"), &own);
    }
    text += &row(&format!("all | {}", results.places.values().sum::<u64>()), &records);
    text += "\n### By kind of fault\n\n";
    text += &heading("instruction", "");
    for mutation in Mutation::ALL {
        let own: Vec<_> = records.iter().copied().filter(|record| record.mutation == mutation).collect();
        text += &row(mutation.name(), &own);
    }
    text += "\n### How the kernel was lost\n\n| times | what was seen | one of them |\n| --- | --- | --- |\n";
    let mut reasons = BTreeMap::<String, Vec<&Record>>::new();
    for record in records {
        let outcome = record.finding.outcome;
        if matches!(outcome, Outcome::Fatal | Outcome::Hang | Outcome::Damaged) {
            let what = format!("{}: {}", outcome.name(), summary(&record.finding.detail));
            reasons.entry(what).or_default().push(record);
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, records)| std::cmp::Reverse(records.len()));
    let once = reasons.iter().filter(|(_, records)| records.len() == 1).count();
    for (what, records) in reasons.iter().filter(|(_, records)| records.len() > 1) {
        if let Some(first) = records.first() {
            // Writing to a string never fails.
            let _ = writeln!(text, "| {} | {} | `{}` |", records.len(), what.replace('|', "\\|"), first.fault);
        }
    }
    if once > 0 {
        let _ = writeln!(text, "| {once} | something else, once each | |");
    }
    text + "\n"
}

fn heading(first: &str, more: &str) -> String {
    let names: String = Outcome::ALL.iter().map(|outcome| format!("| {} ", outcome.name())).collect();
    let columns = 2 + Outcome::ALL.len() + usize::from(!more.is_empty());
    format!("| {first} {more}| faults {names}|\n|{}\n", " --- |".repeat(columns))
}

fn row(name: &str, records: &[&Record]) -> String {
    let count = |outcome| records.iter().filter(|record| record.finding.outcome == outcome).count();
    let cells: String = Outcome::ALL.into_iter().map(|outcome| format!("| {} ", count(outcome))).collect();
    format!("| {name} | {} {cells}|\n", records.len())
}

/// So that what differs only in an address or a command's arguments is one, and wherever sources were.
fn summary(text: &str) -> String {
    let word = |word: &str| {
        let is_number = word.trim_start_matches(['(', '-']).starts_with(|first: char| first.is_ascii_digit());
        let source = word.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
        let source = source.or(word.split_once("/lib/rustlib/src/rust/"));
        match source {
            _ if is_number => "N".to_owned(),
            Some((_, source)) => format!("({source}"),
            None => word.to_owned(),
        }
    };
    let text = text.split(" (ESR_EL1 ").next().unwrap_or_default();
    let text = match text.split('`').collect::<Vec<_>>()[..] {
        [before, command, after] => {
            format!("{before}`{}`{after}", command.split(' ').next().unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_only_in_numbers_and_places_is_one() {
        let expected = "data access, read from N nothing is mapped there";
        for address in ["0x0000000000000012:", "0xffff0000443b2000:"] {
            let text = format!("data access, read from {address} nothing is mapped there (ESR_EL1 0x96000004)");
            assert_eq!(summary(&text), expected);
        }
        let text =
            "panicked: too short (/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/a-0.1.0/src/b.rs:9)";
        assert_eq!(summary(text), "panicked: too short (a-0.1.0/src/b.rs:9)");
        assert_eq!(summary("no answer to `dd if=vda of=vda skip=3`"), "no answer to `dd`");
        let text = "panicked: full (/home/me/toolchains/1/lib/rustlib/src/rust/library/alloc/src/vec.rs:1)";
        assert_eq!(summary(text), "panicked: full (library/alloc/src/vec.rs:1)");
    }
}
