//! Instructions by function.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use anyhow::Result;
use object::{Object, ObjectSection, ObjectSymbol, SectionKind};

/// How many functions are shown.
const SHOWN: usize = 25;

/// How many characters of a function's name are shown: those of generic ones have no end.
const LONGEST_NAME: usize = 120;

/// Where the functions of the kernel and its modules are.
#[derive(Default)]
pub struct Symbols {
    /// By address: the file's name and the function's.
    functions: BTreeMap<u64, (String, String)>,
}

impl Symbols {
    /// Adds the functions of an ELF file, whose addresses count from `base`, under a name for the file.
    pub fn add(&mut self, file_name: &str, file: &[u8], base: u64) -> Result<()> {
        let file = object::File::parse(file)?;
        for symbol in file.symbols() {
            let name = symbol.name()?;
            let section = symbol.section_index().map(|index| file.section_by_index(index)).transpose()?;
            let in_code = section.is_some_and(|section| section.kind() == SectionKind::Text);
            // Sections have a symbol without a name, and those that begin with $ tell code from data.
            if in_code && !name.is_empty() && !name.starts_with('$') {
                let function = format!("{:#}", rustc_demangle::demangle(name));
                self.functions.insert(base + symbol.address(), (file_name.to_owned(), function));
            }
        }
        Ok(())
    }

    fn find(&self, address: u64) -> (&str, &str) {
        match self.functions.range(..=address).next_back() {
            Some((_, (file, function))) => (file, function),
            None => ("kernel", "(before the upper half is mapped)"),
        }
    }
}

/// Where the instructions of one of `times` equal things went: the kernel and each module, and the functions with most.
pub fn report(profile: &HashMap<u64, u64>, times: u16, symbols: &Symbols) -> String {
    let (mut functions, mut files) = (HashMap::new(), HashMap::new());
    for (&address, &count) in profile.iter().filter(|(_, count)| **count > 0) {
        let (file, function) = symbols.find(address);
        *functions.entry(format!("{file:12} {function}")).or_insert(0) += count;
        *files.entry(file.to_owned()).or_insert(0) += count;
    }
    let total: u64 = profile.values().sum();
    let mut text = String::new();
    for (name, count) in most(files, usize::MAX).into_iter().chain([("total".to_owned(), total)]) {
        line(&mut text, &name, (count, total), times);
    }
    text.push('\n');
    for (name, count) in most(functions, SHOWN) {
        line(&mut text, &name, (count, total), times);
    }
    text
}

fn line(text: &mut String, name: &str, (count, total): (u64, u64), times: u16) {
    let share = 100.0 * count as f64 / total.max(1) as f64;
    let count = count / u64::from(times);
    // Writing to a string doesn't fail.
    let _ = writeln!(text, "{count:>10} {share:5.1} %  {name:.LONGEST_NAME$}");
}

/// The greatest counts first.
fn most(counts: HashMap<String, u64>, shown: usize) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    counts.truncate(shown);
    counts
}
