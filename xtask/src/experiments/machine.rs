//! Boots a kernel of the experiments with some modules, and reads what it writes.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::workshop::Module;
use crate::files;

/// Seconds that a run may take. It takes less than one when nothing else runs here.
const PATIENCE: &str = "120";

/// Where the kernel reads its archive (`experiments/kernel/src/machine.rs`).
const ARCHIVE: u64 = 0x4c00_0000;

/// Modules whose names begin like this are loaded whatever their stamp says (`experiments/kernel/src/lib.rs`).
pub const UNCHECKED: &str = "unchecked/";

/// Which side looks at the other.
#[derive(Clone, Copy)]
pub enum Direction {
    KernelCallsModule,
    ModuleCallsKernel,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::KernelCallsModule, Self::ModuleCallsKernel];

    /// As the kernel writes it.
    fn word(self) -> &'static str {
        match self {
            Self::KernelCallsModule => "kernel-calls-module",
            Self::ModuleCallsKernel => "module-calls-kernel",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.word().replace('-', " "))
    }
}

/// What came of an experiment.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// In few words, the same each time.
    pub summary: String,
    /// What else is known of it.
    pub detail: String,
}

/// What a kernel has written: a line for each thing that came out, its kind first.
pub struct Transcript(String);

/// Boots a kernel, and waits until it has tried all modules or has ended otherwise.
pub fn boot(kernel: &Path, modules: &[Module]) -> Result<Transcript> {
    let mut archive = initramfs::Writer::default();
    for module in modules {
        archive.file(&module.name, &module.object)?;
    }
    let path = kernel.with_extension("cpio");
    files::write(&path, &archive.finish())?;
    let mut qemu = Command::new("timeout");
    qemu.args([PATIENCE, "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "512M", "-nographic"]);
    qemu.args(["-nic", "none", "-kernel"]).arg(kernel).arg("-device");
    qemu.arg(format!("loader,file={},addr={ARCHIVE:#x},force-raw=on", path.display()));
    let output = qemu.output().context("cannot start qemu-system-aarch64")?;
    let (kernel, complaints) = (kernel.display(), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{kernel} did not come to an end ({}): {complaints}", output.status);
    Ok(Transcript(String::from_utf8_lossy(&output.stdout).into_owned()))
}

impl Transcript {
    /// What came of both directions with each module.
    pub fn outcomes(&self, modules: &[Module]) -> Vec<(String, Outcome)> {
        let both = |module: &Module| {
            let name = module.name.clone();
            Direction::BOTH.map(|direction| (format!("{name}, {direction}"), self.outcome(&name, direction)))
        };
        modules.iter().flat_map(both).collect()
    }

    /// What came of one direction.
    pub fn outcome(&self, module: &str, direction: Direction) -> Outcome {
        let outcome = |summary: String, detail: &str| Outcome { summary, detail: detail.to_owned() };
        if let Some(sentence) = self.lines("refused", module).next() {
            return outcome("refused".to_owned(), sentence);
        }
        if !self.lines("ends", module).any(|ended| ended == direction.word()) {
            let last = self.0.lines().last().unwrap_or_default();
            let (cause, place) = last.split_once(": ").unwrap_or((last, ""));
            return outcome(format!("stopped by {cause}"), place);
        }
        let count: u64 = self.topics(module, direction).into_iter().map(|(_, count)| count).sum();
        match self.wrong(module, direction).collect::<Vec<_>>().as_slice() {
            [] => outcome(format!("{count} values, all right"), ""),
            wrong => outcome(format!("{} of {count} values wrong", wrong.len()), &wrong.join("; ")),
        }
    }

    /// The values that were not as expected in one direction: what each is, and what was expected and found.
    pub fn wrong(&self, module: &str, direction: Direction) -> impl Iterator<Item = &str> {
        self.directed("wrong", module, direction)
    }

    /// How many values were compared in one direction, for each topic.
    pub fn topics(&self, module: &str, direction: Direction) -> Vec<(&str, u64)> {
        let counts = self.directed("compared", module, direction).filter_map(|line| line.split_once(' '));
        counts.filter_map(|(count, topic)| Some((topic, count.parse().ok()?))).collect()
    }

    /// Facts that the kernel has settled: what each is, and its value.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        let facts = self.0.lines().filter_map(|line| line.strip_prefix("fact ")?.split_once(' '));
        facts.map(|(value, what)| (what, value))
    }

    /// Facts that the module has settled otherwise than the kernel: what each is, and both values.
    pub fn differences(&self, module: &str) -> impl Iterator<Item = (&str, &str)> {
        self.lines("differs", module).filter_map(|line| line.split_once(": "))
    }

    /// The rest of the lines of one kind about one module in one direction.
    fn directed(&self, kind: &str, module: &str, direction: Direction) -> impl Iterator<Item = &str> {
        self.lines(kind, module).filter_map(move |line| line.strip_prefix(direction.word())?.strip_prefix(' '))
    }

    /// The rest of the lines of one kind about one module.
    fn lines(&self, kind: &str, module: &str) -> impl Iterator<Item = &str> {
        let start = format!("{kind} {module} ");
        self.0.lines().filter_map(move |line| line.strip_prefix(&start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
fact 8 offset of A.b
differs one size of A: 8 in the kernel, 4 in the module
compared one kernel-calls-module 3 drop through `Box<dyn _>`
compared one kernel-calls-module 4 statics
wrong one kernel-calls-module a static: expected 1, found 2
ends one kernel-calls-module
compared one module-calls-kernel 7 statics
ends one module-calls-kernel
refused two it has no stamp
a data abort: at 0x40, address 0x0
";

    fn outcome(module: &str, direction: Direction) -> (String, String) {
        let outcome = Transcript(TEXT.to_owned()).outcome(module, direction);
        (outcome.summary, outcome.detail)
    }

    fn words(summary: &str, detail: &str) -> (String, String) {
        (summary.to_owned(), detail.to_owned())
    }

    #[test]
    fn an_outcome_is_what_the_lines_about_the_module_say() {
        let [kernel, module] = Direction::BOTH;
        assert_eq!(outcome("one", kernel), words("1 of 7 values wrong", "a static: expected 1, found 2"));
        assert_eq!(outcome("one", module), words("7 values, all right", ""));
        assert_eq!(outcome("two", kernel), words("refused", "it has no stamp"));
    }

    #[test]
    fn a_module_that_never_came_to_an_end_has_what_came_last() {
        assert_eq!(
            outcome("three", Direction::KernelCallsModule),
            words("stopped by a data abort", "at 0x40, address 0x0")
        );
    }

    #[test]
    fn facts_and_differences_are_named() {
        let transcript = Transcript(TEXT.to_owned());
        assert!(transcript.facts().eq([("offset of A.b", "8")]));
        assert!(transcript.differences("one").eq([("size of A", "8 in the kernel, 4 in the module")]));
    }
}
