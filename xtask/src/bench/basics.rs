//! What the most frequent things cost, by the module `bench/modules/bench-basics`.

use std::collections::HashMap;

use anyhow::{Context, Result};

use super::machine::{EventKind, Machine};

/// How often the module does each thing.
const TIMES: u64 = 1000;

/// The last of its marks.
const LAST_MARK: u64 = 0x66;

/// What one of many equal things takes, in guest instructions.
#[derive(Clone, Debug, Default)]
pub struct Basics {
    /// A call through a handle, less a bare one.
    pub call: u64,
    /// Two threads wake each other.
    pub round_trip: u64,
    /// 64 bytes are allocated and freed.
    pub allocation: u64,
}

impl Basics {
    /// Waits for all marks of the module, two of which are around each thing.
    pub fn measure(machine: &mut Machine) -> Result<Self> {
        let mut marks = HashMap::new();
        while !marks.contains_key(&LAST_MARK) {
            let event = machine.event()?;
            if let EventKind::Mark(number) = event.kind {
                marks.insert(number, event.count);
            }
        }
        let between = |from: u64| -> Result<u64> {
            let at = |number| marks.get(&number).with_context(|| format!("the module set no mark {number:#x}"));
            Ok((at(from + 1)? - at(from)?) / TIMES)
        };
        Ok(Self {
            call: between(0x61)?.saturating_sub(between(0x60)?),
            round_trip: between(0x63)?,
            allocation: between(0x65)?,
        })
    }
}
