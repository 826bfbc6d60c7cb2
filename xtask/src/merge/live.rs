//! Which sections a module needs: all that can be reached from its global symbols, and what asks to be kept.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Result, bail};
use object::elf;
use object::{Object, ObjectSection, SectionFlags};

use super::frames::Frames;
use super::input::{Fixup, Inputs, Meaning, SectionKey};

/// What is kept.
pub struct Live {
    pub sections: HashSet<SectionKey>,
    /// Indices into [`Frames::records`].
    pub records: HashSet<usize>,
}

/// Follows the relocations from the symbols `globals`, and from each section of the module's own crates that is marked as
/// retained (`#[used]`) or lists initializers. A function's frame description entry lives with the function.
pub fn mark(inputs: &Inputs<'_>, frames: &Frames<'_>, globals: &BTreeSet<&str>) -> Result<Live> {
    let mut live = Live { sections: HashSet::new(), records: HashSet::new() };
    let mut pending = Vec::new();
    for global in globals {
        let Some(Meaning::Place(start, _)) = inputs.definition(global)? else {
            bail!("none of its object files defines the symbol {global}");
        };
        pending.push(start);
    }
    for (object, input) in inputs.objects.iter().enumerate().filter(|(_, input)| input.own) {
        for section in input.elf.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            // Functions that are to be called before any other have nobody who refers to them.
            let is_initializer = section.name()?.starts_with(".init_array");
            if sh_flags.contains(elf::SHF_GNU_RETAIN) || is_initializer {
                pending.push(SectionKey { object, section: section.index().0 });
            }
        }
    }
    while let Some(section) = pending.pop() {
        if !live.sections.insert(section) {
            continue;
        }
        pending.extend(targets(&inputs.fixups(section)?));
        for &entry in frames.of(section) {
            for record in [Some(entry), frames.records[entry].cie].into_iter().flatten() {
                if live.records.insert(record) {
                    pending.extend(targets(&frames.records[record].fixups));
                }
            }
        }
    }
    Ok(live)
}

fn targets(fixups: &[Fixup<'_>]) -> impl Iterator<Item = SectionKey> {
    fixups.iter().filter_map(|fixup| match fixup.meaning {
        Meaning::Place(section, _) => Some(section),
        Meaning::Import(_) => None,
    })
}
