//! `x bench`: counts the instructions that Lockstep, and Linux if asked, execute for the same things.
//!
//! `bench/README.md` says what each row counts, and how.

mod basics;
mod linux;
mod lockstep;
mod machine;
mod peer;
mod profile;
mod table;

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cargo::Workspace;
use basics::Basics;
use machine::Machine;
pub use machine::build_plugin;

/// How often each system is measured.
const RUNS: usize = 3;

/// Over how many pings and datagrams the price of one is averaged, and how many of each come before.
const EXCHANGES: u16 = 1000;
const WARM_UP: u16 = 20;

/// Over how many seconds the price of one is averaged.
const IDLE_SECONDS: u64 = 5;

/// What is to be measured.
#[derive(Default)]
pub struct Options {
    /// Fetch Debian's Linux and measure it as well.
    linux: bool,
    /// Say where Lockstep's instructions go.
    profile: bool,
}

impl Options {
    /// What these words of the command line ask for.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            match *word {
                "--linux" => options.linux = true,
                "--profile" => options.profile = true,
                _ => bail!("bench doesn't understand `{word}`; there are --linux and --profile"),
            }
        }
        Ok(options)
    }
}

/// What one boot of a system took: guest instructions, and bytes of memory.
#[derive(Clone, Debug)]
pub struct Figures {
    pub ready: u64,
    /// As `ready`, with what the system checks only if it is told to, or unless it is told not to.
    pub verified: u64,
    pub first_ping: u64,
    pub module: u64,
    pub ping: u64,
    pub udp_echo: u64,
    pub idle_second: u64,
    pub memory: u64,
    /// What the basics cost; of Lockstep's only.
    pub basics: Basics,
}

/// Measures what was built, and prints the figures.
pub fn bench(workspace: &Workspace, options: &Options) -> Result<()> {
    let scratch = workspace.root.join("target/bench");
    build_plugin(&workspace.root.join("bench/count.c"), &scratch)?;
    crate::build::build_bench_modules(workspace)?;
    let system = lockstep::System::find(workspace, &scratch)?;

    let mut runs = Vec::new();
    let mut memory = String::new();
    for run in 1..=RUNS {
        eprintln!("   Measuring Lockstep ({run} of {RUNS})");
        let (figures, free) = system.measure()?;
        runs.push(figures);
        memory = free;
    }
    let mut linux_runs = Vec::new();
    if options.linux {
        let linux = linux::System::fetch(workspace, &scratch)?;
        for run in 1..=RUNS {
            eprintln!("   Measuring Linux ({run} of {RUNS})");
            linux_runs.push(linux.measure()?);
        }
    }

    print!("{}", table::compare(&runs, &linux_runs));
    println!("\nMemory when idle, as `free` shows it in KiB:\n{memory}");
    if options.profile {
        eprintln!("   Profiling Lockstep");
        system.profile()?;
    }
    Ok(())
}

/// What a system that answers costs for a ping, a UDP echo and a second with nothing to do.
fn measure_exchanges(machine: &Machine) -> Result<(u64, u64, u64)> {
    let ping = average(machine, |sequence| machine.peer.ping(sequence))?;
    let udp_echo = average(machine, |sequence| machine.peer.udp_echo(sequence))?;
    let start = machine.settled_count()?;
    sleep(Duration::from_secs(IDLE_SECONDS));
    let idle_second = (machine.count()? - start) / IDLE_SECONDS;
    Ok((ping, udp_echo, idle_second))
}

/// The instructions of [`EXCHANGES`] pings, by address.
fn profile_pings(machine: &Machine) -> Result<HashMap<u64, u64>> {
    let ping = |sequence| machine.peer.ping(sequence);
    machine.peer.resolve()?;
    (0..WARM_UP).try_for_each(ping)?;
    machine.settled_count()?;
    let start = machine.profile()?;
    (0..EXCHANGES).try_for_each(ping)?;
    machine.settled_count()?;
    let mut counts = machine.profile()?;
    for (address, count) in &mut counts {
        *count -= start.get(address).copied().unwrap_or(0);
    }
    Ok(counts)
}

fn average(machine: &Machine, exchange: impl Fn(u16) -> Result<()>) -> Result<u64> {
    (0..WARM_UP).try_for_each(&exchange)?;
    let start = machine.settled_count()?;
    (0..EXCHANGES).try_for_each(&exchange)?;
    Ok((machine.settled_count()? - start) / u64::from(EXCHANGES))
}
