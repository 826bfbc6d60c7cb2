//! One fault, and what comes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::fault::Fault;
use super::guest::Guest;
use super::traffic::{self, Round, Trouble};

/// How long a system may take to work again: some failures, each noticed after `budget=`, or after the 5 s that a disk may
/// take, and the pauses between restarts.
const RECOVERY: Duration = Duration::from_secs(9);

/// What came of a fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// All traffic came back as it should, and nobody noticed a failure.
    NoEffect,
    /// Something was late, lost or refused, and later traffic was well; nobody noticed a failure.
    Disturbed,
    /// A failure was noticed, and the module started again: all works.
    Recovered,
    /// A failure was noticed. The device doesn't work; all else does, and loading the module by hand brings it back.
    Down,
    /// The same without anybody having noticed a failure.
    Silent,
    /// Other data than was sent or stored came back or was written. Loading the module by hand ends that.
    Wrong,
    /// The kernel reported a fatal error.
    Fatal,
    /// Neither the shell nor the network answers.
    Hang,
    /// The rest answers, but loading the module by hand doesn't bring it back.
    Damaged,
}

impl Outcome {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::NoEffect,
        Self::Disturbed,
        Self::Recovered,
        Self::Down,
        Self::Silent,
        Self::Wrong,
        Self::Fatal,
        Self::Hang,
        Self::Damaged,
    ];

    /// What it is called in results and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEffect => "no effect",
            Self::Disturbed => "disturbed",
            Self::Recovered => "recovered",
            Self::Down => "left down",
            Self::Silent => "left down, unnoticed",
            Self::Wrong => "wrong data",
            Self::Fatal => "fatal error",
            Self::Hang => "hang",
            Self::Damaged => "damaged",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// An outcome, and what was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub outcome: Outcome,
    pub detail: String,
}

/// What the rounds after a fault have shown together.
#[derive(Default)]
struct Seen {
    /// What was noticed first.
    failure: Option<String>,
    wrong: Option<String>,
    trouble: Option<Trouble>,
}

impl Seen {
    fn add(&mut self, round: &Round) {
        self.failure = self.failure.take().or_else(|| round.failures.first().cloned());
        self.wrong = self.wrong.take().or_else(|| round.wrong().map(str::to_owned));
        self.trouble = self.trouble.take().or_else(|| round.troubles.first().cloned());
    }

    fn detail(&self) -> String {
        let trouble = match &self.trouble {
            Some(Trouble::Missing(what) | Trouble::Wrong(what)) => Some(what.clone()),
            None => None,
        };
        [self.failure.clone(), self.wrong.clone().or(trouble)].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Puts a fault into a machine that works, and has traffic go through it. If all works afterwards, the fault
/// is gone.
pub fn trial(guest: &mut Guest, fault: &Fault, random: &mut fastrand::Rng) -> Result<Finding> {
    let modules = guest.modules().ok().context("the machine doesn't list its modules")?;
    let (start, _) = modules.get(&fault.module).with_context(|| format!("module {} isn't loaded", fault.module))?;
    let address = start + fault.offset;
    let instruction = guest.read(address, 1)?[0];
    guest.write(address, fault.word)?;

    guest.forget_failures();
    let mut seen = Seen::default();
    let deadline = Instant::now() + RECOVERY;
    let mut round = traffic::round(guest, random);
    seen.add(&round);
    if round.is_well() && seen.failure.is_none() {
        guest.write(address, instruction)?;
        return Ok(Finding { outcome: Outcome::NoEffect, detail: String::new() });
    }
    loop {
        if let Some(detail) = guest.fatal_error() {
            return Ok(Finding { outcome: Outcome::Fatal, detail });
        }
        round = traffic::round(guest, random);
        seen.add(&round);
        if round.is_well() || Instant::now() > deadline {
            break;
        }
    }
    let outcome = match (round.is_well(), &seen.failure) {
        _ if guest.fatal_error().is_some() => Outcome::Fatal,
        _ if round.shell_is_silent && round.network_is_silent => Outcome::Hang,
        _ if seen.wrong.is_some() => Outcome::Wrong,
        (true, Some(_)) => Outcome::Recovered,
        (true, None) => Outcome::Disturbed,
        (false, Some(_)) => Outcome::Down,
        (false, None) => Outcome::Silent,
    };
    let detail = guest.fatal_error().unwrap_or_else(|| seen.detail());
    if outcome == Outcome::Recovered {
        // It is still there if another module has failed than its own.
        take_back(guest, fault, address, instruction)?;
    }
    let is_left = matches!(outcome, Outcome::Wrong | Outcome::Down | Outcome::Silent);
    if is_left && !mend(guest, fault, address, instruction, random)? {
        let outcome = if guest.fatal_error().is_some() { Outcome::Fatal } else { Outcome::Damaged };
        return Ok(Finding { outcome, detail });
    }
    Ok(Finding { outcome, detail })
}

/// Puts the instruction back if the fault is still there.
fn take_back(guest: &mut Guest, fault: &Fault, address: u64, instruction: u32) -> Result<()> {
    if guest.read(address, 1).is_ok_and(|words| words == [fault.word]) {
        guest.write(address, instruction)?;
    }
    Ok(())
}

/// Ends a fault by hand: loads its module again. Whether all works after that, or as much as can be tried without a shell.
fn mend(guest: &mut Guest, fault: &Fault, address: u64, instruction: u32, random: &mut fastrand::Rng) -> Result<bool> {
    // What was written wrongly stays so.
    guest.image = guest.stored_image()?;
    take_back(guest, fault, address, instruction)?;
    // What the shell or the kernel itself needs can't be loaded again.
    let modules: &[&str] = match fault.module.as_str() {
        "virtio" => &["virtio-net", "virtio-blk"],
        "virtio-net" => &["virtio-net"],
        "virtio-blk" => &["virtio-blk"],
        "arm-pl031" => &["arm-pl031"],
        _ => &[],
    };
    for module in modules {
        // Without an answer the rounds will tell.
        let _ = guest.ask(&format!("rmmod {module}"));
        let _ = guest.ask(&format!("insmod {module}"));
    }
    let deadline = Instant::now() + RECOVERY;
    loop {
        let round = traffic::round(guest, random);
        let can_be_tried = !round.shell_is_silent;
        if round.is_well() || (!can_be_tried && !round.network_is_silent) {
            return Ok(true);
        }
        if Instant::now() > deadline || guest.fatal_error().is_some() {
            return Ok(false);
        }
    }
}
