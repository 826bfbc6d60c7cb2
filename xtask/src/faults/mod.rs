//! `x faults`: hits instructions of running drivers, and counts what comes of it; `docs/fault-campaign.md` has the table.

mod fault;
mod guest;
mod mutation;
mod results;
mod table;
mod traffic;
mod trial;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::cargo::Workspace;
use fault::{Fault, Places};
use guest::Guest;
use results::{Record, Results};
use trial::{Finding, Outcome, trial};

/// How many faults a machine gets, one after the other, while all works afterwards.
const FAULTS_FOR_A_MACHINE: usize = 50;

/// How often a machine may fail to come up, before it is hurt.
const ATTEMPTS: usize = 3;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Options {
    /// Inject faults until there are `count` results, and write the table.
    Campaign { count: usize, seed: u64, jobs: usize },
    /// Write the table from the results that there are.
    Report,
    /// Inject this one, and show what the console shows.
    Replay(String),
}

impl Options {
    /// What these words of the command line ask for.
    pub fn parse(words: &[&str]) -> Result<Self> {
        match words {
            ["--report"] => return Ok(Self::Report),
            ["--replay", fault] => return Ok(Self::Replay((*fault).to_owned())),
            _ => {}
        }
        let (mut count, mut seed, mut jobs) = (1000, 1, 4);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().and_then(|value| value.parse().ok());
                value.with_context(|| format!("faults expects a number after `{word}`"))
            };
            match *word {
                "--count" => count = number()?,
                "--seed" => seed = number()? as u64,
                "--jobs" => jobs = number()?.max(1),
                _ => bail!("faults doesn't understand `{word}`; ./x help has its options"),
            }
        }
        Ok(Self::Campaign { count, seed, jobs })
    }
}

/// Does it with what was built.
pub fn faults(workspace: &Workspace, options: &Options) -> Result<()> {
    match options {
        Options::Campaign { count, seed, jobs } => {
            campaign(workspace, *count, *seed, *jobs)?;
            table::write(workspace, &Results::read(workspace)?)
        }
        Options::Report => table::write(workspace, &Results::read(workspace)?),
        Options::Replay(fault) => replay(&fault.parse()?),
    }
}

/// Injects faults, those of this seed that have no result yet.
fn campaign(workspace: &Workspace, count: usize, seed: u64, jobs: usize) -> Result<()> {
    eprintln!("   Looking for instructions that traffic executes");
    let places = Places::find(workspace)?;
    let results = Results::open(workspace, seed, &places)?;
    // Several were under way when the last run was ended, so that there may be gaps.
    let missing: Vec<usize> = (0..count).filter(|index| !results.records.contains_key(index)).collect();
    eprintln!("   Injecting {} of {count} faults, with seed {seed}", missing.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(results);
    let work = || {
        let mut machine = None;
        loop {
            let Some(&index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
            let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(index as u64));
            let (fault, mutation) = places.draw(&mut random);
            let (finding, is_late) = hit(&mut machine, &fault, &mut random)?;
            let record = Record { index, fault, mutation, finding, is_late };
            results.lock().map_err(|_| anyhow::anyhow!("another thread has failed"))?.add(&record)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Injects a fault into the machine that there is, or a new one. When all works afterwards, the machine gets the next fault
/// as well. Anything else in a machine that was hit before may be an earlier fault's doing: then what comes of it in a new
/// one counts. Also returns whether that is no effect.
fn hit(machine: &mut Option<(Guest, usize)>, fault: &Fault, random: &mut fastrand::Rng) -> Result<(Finding, bool)> {
    let is_whole = |finding: &Finding| matches!(finding.outcome, Outcome::NoEffect | Outcome::Recovered);
    let mut was_used = false;
    if let Some((guest, hits)) = machine.as_mut().filter(|(_, hits)| *hits < FAULTS_FOR_A_MACHINE) {
        *hits += 1;
        let finding = trial(guest, fault, random)?;
        if is_whole(&finding) {
            return Ok((finding, false));
        }
        was_used = true;
    }
    *machine = None;
    let mut guest = fresh("log=off")?;
    let finding = trial(&mut guest, fault, random)?;
    if is_whole(&finding) {
        *machine = Some((guest, 1));
    }
    let is_late = was_used && finding.outcome == Outcome::NoEffect;
    Ok((finding, is_late))
}

/// A new machine. Its ports may have been taken by somebody else just before it started.
fn fresh(boot_arguments: &str) -> Result<Guest> {
    let mut attempt = 1;
    loop {
        match Guest::boot(boot_arguments, &[]) {
            Err(_) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn replay(fault: &Fault) -> Result<()> {
    let mut guest = fresh("log=info")?;
    let finding = trial(&mut guest, fault, &mut fastrand::Rng::with_seed(0));
    print!("{}", guest.shown());
    let Finding { outcome, detail } = finding?;
    println!("\n{fault}: {}: {detail}", outcome.name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let parse = |text: &str| Options::parse(&text.split_whitespace().collect::<Vec<_>>()).ok();
        assert_eq!(parse(""), Some(Options::Campaign { count: 1000, seed: 1, jobs: 4 }));
        let all = parse("--count 20 --seed 7 --jobs 3");
        assert_eq!(all, Some(Options::Campaign { count: 20, seed: 7, jobs: 3 }));
        assert_eq!(parse("--replay virtio+0x10=0"), Some(Options::Replay("virtio+0x10=0".into())));
        assert_eq!(parse("--report"), Some(Options::Report));
        for wrong in ["--count", "--count many", "--jobs -1", "--replay", "--fast"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
