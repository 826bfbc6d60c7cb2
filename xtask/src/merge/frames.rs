//! The records of `.eh_frame`: what an unwinder needs to know about each function (DWARF 5, section 6.4, as changed by
//! the Linux Standard Base, section 10.6).
//!
//! The section is a row of records, each a 32-bit length and that many bytes. A common information entry (CIE) has 0
//! in its next four bytes. A frame description entry (FDE) has there the distance back to its CIE, then a relocated
//! pointer to its function, and further relocations for what belongs to it: the table of landing pads.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

use super::input::{Fixup, Inputs, Meaning, SectionKey};

/// Where in an FDE the pointer to its function stands.
const FUNCTION: u64 = 8;

/// One record.
pub struct Record<'data> {
    /// The bytes, with the length in front.
    pub data: &'data [u8],
    /// The relocations, their offsets counted from the start of the record.
    pub fixups: Vec<Fixup<'data>>,
    /// The index of the CIE, for an FDE.
    pub cie: Option<usize>,
}

/// The records of all objects.
#[derive(Default)]
pub struct Frames<'data> {
    /// All records, objects one after the other, a CIE before its FDEs.
    pub records: Vec<Record<'data>>,
    /// The FDEs of the functions in a section.
    functions: HashMap<SectionKey, Vec<usize>>,
}

impl<'data> Frames<'data> {
    pub fn read(inputs: &Inputs<'data>) -> Result<Self> {
        let mut frames = Self::default();
        for (object, input) in inputs.objects.iter().enumerate() {
            for section in input.elf.sections().filter(|section| section.name() == Ok(".eh_frame")) {
                let key = SectionKey { object, section: section.index().0 };
                frames.read_section(inputs, key, section.data()?).with_context(|| inputs.describe(key))?;
            }
        }
        Ok(frames)
    }

    /// The FDEs of the functions in this section.
    pub fn of(&self, section: SectionKey) -> &[usize] {
        self.functions.get(&section).map_or(&[], Vec::as_slice)
    }

    fn read_section(&mut self, inputs: &Inputs<'data>, key: SectionKey, data: &'data [u8]) -> Result<()> {
        let fixups = inputs.fixups(key)?;
        let number = |at: usize| -> Result<u32> {
            let bytes = data.get(at..at + 4).with_context(|| format!("ends in the record at {at:#x}"))?;
            Ok(u32::from_le_bytes(bytes.try_into()?))
        };
        let mut cies = HashMap::new();
        let mut start = 0;
        while start < data.len() && number(start)? != 0 {
            let length = number(start)?;
            ensure!(length >= 4 && length != u32::MAX, "the record at {start:#x} has an unusual length");
            let end = start + 4 + length as usize;
            let record = data.get(start..end).with_context(|| format!("ends in the record at {start:#x}"))?;
            let first = fixups.partition_point(|fixup| fixup.offset < start as u64);
            let last = fixups.partition_point(|fixup| fixup.offset < end as u64);
            let fixups: Vec<_> = fixups[first..last]
                .iter()
                .map(|fixup| Fixup { offset: fixup.offset - start as u64, ..*fixup })
                .collect();
            let index = self.records.len();
            let cie = match number(start + 4)? {
                0 => {
                    cies.insert(start, index);
                    None
                }
                distance => {
                    let cie = (start + 4).checked_sub(distance as usize).and_then(|cie| cies.get(&cie));
                    let Some(function) = fixups.iter().find(|fixup| fixup.offset == FUNCTION) else {
                        bail!("the record at {start:#x} names no function");
                    };
                    if let Meaning::Place(section, _) = function.meaning {
                        self.functions.entry(section).or_default().push(index);
                    }
                    Some(*cie.with_context(|| format!("the record at {start:#x} has no CIE before it"))?)
                }
            };
            self.records.push(Record { data: record, fixups, cie });
            start = end;
        }
        Ok(())
    }
}
