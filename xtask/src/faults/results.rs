//! The results of a campaign, a line of JSON for each in `out/faults.jsonl`, so that it can go on where it was ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::fault::{DRIVERS, Fault, Places};
use super::mutation::Mutation;
use super::trial::{Finding, Outcome};
use crate::cargo::Workspace;

const FILE: &str = "out/faults.jsonl";

/// What came of one fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its number within the campaign.
    pub index: usize,
    pub fault: Fault,
    pub mutation: Mutation,
    pub finding: Finding,
    /// It had an effect in a machine that was hit before, and none in a new one.
    pub is_late: bool,
}

impl Record {
    fn to_json(&self) -> Value {
        json!({
            "index": self.index,
            "fault": self.fault.to_string(),
            "mutation": self.mutation.name(),
            "outcome": self.finding.outcome.name(),
            "detail": self.finding.detail,
            "late": self.is_late,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value.get(key)?.as_str();
        let mutation = Mutation::ALL.into_iter().find(|mutation| Some(mutation.name()) == text("mutation"))?;
        Some(Self {
            index: value.get("index")?.as_u64()? as usize,
            fault: text("fault")?.parse().ok()?,
            mutation,
            finding: Finding { outcome: Outcome::named(text("outcome")?)?, detail: text("detail")?.to_owned() },
            is_late: value.get("late")?.as_bool()?,
        })
    }
}

/// All of them, by index.
pub struct Results {
    pub seed: u64,
    /// How many instructions of each driver can be hit.
    pub places: BTreeMap<String, u64>,
    pub records: BTreeMap<usize, Record>,
    file: File,
}

impl Results {
    /// Those of the last campaign.
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let path = workspace.root.join(FILE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}, which ./x faults writes"))?;
        // A line may have been cut off when the campaign was ended.
        let mut values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let header = values.next().with_context(|| format!("{FILE} is empty"))?;
        let seed = header.get("seed").and_then(Value::as_u64).with_context(|| format!("{FILE} has no seed"))?;
        let counts = header.get("places").and_then(Value::as_object).into_iter().flatten();
        let places = counts.filter_map(|(module, count)| Some((module.clone(), count.as_u64()?))).collect();
        let records = values.filter_map(|value| Record::from_json(&value)).map(|record| (record.index, record));
        let records = records.collect();
        let file = File::options().append(true).open(&path)?;
        Ok(Self { seed, places, records, file })
    }

    /// Those that there are of a campaign with this seed, to go on with it; none if the last was of another seed or of
    /// something else that was built.
    pub fn open(workspace: &Workspace, seed: u64, places: &Places) -> Result<Self> {
        let mut built = Sha256::new();
        for name in ["kernel.img", "initramfs.cpio"] {
            let path = workspace.out().join(name);
            built.update(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        let built: String = built.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = workspace.root.join(FILE);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let header = old.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let is_same = |header: &Value| {
            header.get("seed").and_then(Value::as_u64) == Some(seed)
                && header.get("built").and_then(Value::as_str) == Some(&built)
        };
        if !header.is_some_and(|header| is_same(&header)) {
            let counts: BTreeMap<_, _> = DRIVERS.into_iter().map(|module| (module, places.count(module))).collect();
            let header = json!({ "seed": seed, "built": built, "places": counts });
            std::fs::write(&path, format!("{header}\n"))?;
        }
        Self::read(workspace)
    }

    /// Adds one, and shows how far it is.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        writeln!(self.file, "{}", record.to_json()).context(FILE)?;
        let known = self.records.insert(record.index, record.clone());
        ensure!(known.is_none(), "fault {} has two results", record.index);
        let count = |outcome| self.records.values().filter(|record| record.finding.outcome == outcome).count();
        let counts: Vec<String> =
            Outcome::ALL.into_iter().map(|outcome| format!("{} {}", count(outcome), outcome.name())).collect();
        eprint!("\r   {}: {}", self.records.len(), counts.join(", "));
        Ok(())
    }
}
