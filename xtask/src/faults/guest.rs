//! The machine that is hurt.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tests::{Debugger, Machine, PROMPT, Setup};

use super::traffic::PATIENCE;

/// How long booting may take, on a host that has other things to do.
const BOOT: Duration = Duration::from_secs(30);

/// How long to wait before looking for a fatal error.
const GLANCE: Duration = Duration::from_millis(100);

/// What a fatal error begins with.
const FATAL: &str = "lockstep: fatal error";

/// The size of the disk, in bytes.
const DISK: usize = 1 << 20;

/// The address is static so that the network is there at once. Calls that don't end are stopped sooner than usual, and
/// failures forgotten sooner, since one machine gets many faults.
pub const ARGUMENTS: &str = "ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off budget=300 restart.period=3";

/// Nothing comes where an answer should.
pub struct Silence {
    /// What was typed.
    pub command: String,
    /// Not even Ctrl-C brings the prompt back.
    pub is_dead: bool,
}

/// A machine with a network card, a disk, and a debugger attached.
pub struct Guest {
    machine: Machine,
    debugger: Debugger,
    /// What should be on the disk.
    pub image: Vec<u8>,
    /// Where that isn't known.
    pub unsure: Vec<Range<usize>>,
    /// When the last failure happened that was shown, and the last that was forgotten, in seconds.
    last_failure: f64,
    forgotten: f64,
    folder: TempDir,
}

impl Guest {
    /// Boots, with more arguments for the kernel and for QEMU.
    pub fn boot(boot_arguments: &str, more: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let path = image_path(folder.path());
        let mut image = vec![0; DISK];
        fastrand::Rng::with_seed(0).fill(&mut image);
        std::fs::write(&path, &image).with_context(|| format!("cannot write {}", path.display()))?;
        let mut setup = Setup::virt("virt", "cortex-a72", "128M")
            .argument("-smp", "2")
            .reachable_network_card()
            .debuggable()
            .argument("-drive", &format!("if=none,id=d0,format=raw,file={}", path.display()))
            .argument("-device", "virtio-blk-device,drive=d0")
            .boot_arguments(&format!("{ARGUMENTS} {boot_arguments}"));
        for (option, value) in more {
            setup = setup.argument(option, value);
        }
        let mut machine = setup.start();
        let port = machine.ports().get(1).copied().context("the machine has no port for a debugger")?;
        let debugger = Debugger::connect(port).context("cannot attach to QEMU");
        let mut guest = match (debugger, machine.wait_at_most(PROMPT, BOOT)) {
            (Ok(debugger), Some(_)) => {
                Self { machine, debugger, image, unsure: Vec::new(), last_failure: 0.0, forgotten: 0.0, folder }
            }
            (Err(error), _) => return Err(error.context(machine.shown())),
            (_, None) => bail!("no prompt after {} s:\n{}", BOOT.as_secs(), machine.shown()),
        };
        let deadline = Instant::now() + BOOT;
        while !guest.ask("ip").is_ok_and(|shown| shown.contains("inet ")) {
            if Instant::now() > deadline {
                bail!("the network didn't come up:\n{}", guest.shown());
            }
        }
        Ok(guest)
    }

    /// The port of this host that leads to the machine's echo services.
    pub fn echo_port(&self) -> u16 {
        self.machine.ports().first().copied().unwrap_or_default()
    }

    /// What the host has on the disk.
    pub fn stored_image(&self) -> std::io::Result<Vec<u8>> {
        std::fs::read(image_path(self.folder.path()))
    }

    /// All that was on the console.
    pub fn shown(&self) -> String {
        self.machine.shown()
    }

    /// What the fatal error says, if there was one.
    pub fn fatal_error(&self) -> Option<String> {
        let shown = self.machine.shown();
        let (_, what) = shown.split_once(FATAL)?;
        let is_cause = |line: &&str| line.starts_with("exception: ") || line.starts_with("panicked: ");
        Some(what.lines().find(is_cause).unwrap_or("its message is damaged").to_owned())
    }

    /// Types a command; returns what it prints.
    pub fn ask(&mut self, command: &str) -> Result<String, Silence> {
        self.machine.type_in(&format!("{command}\r"));
        if let Some(shown) = self.answer(command) {
            return Ok(shown);
        }
        let is_dead = self.fatal_error().is_some() || {
            self.machine.type_in("\x03\r");
            self.machine.wait_at_most(PROMPT, PATIENCE).is_none()
        };
        Err(Silence { command: command.to_owned(), is_dead })
    }

    /// What follows the echo of a command. Before it may be what earlier ones have left. Nothing follows a fatal error.
    fn answer(&mut self, command: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let echo = format!("{command}\n");
        while Instant::now() < deadline && self.fatal_error().is_none() {
            if let Some(shown) = self.machine.wait_at_most(PROMPT, GLANCE)
                && let Some((_, answer)) = shown.split_once(&echo)
            {
                return Some(answer.strip_suffix('\n').unwrap_or(answer).to_owned());
            }
        }
        None
    }

    /// What the log has of modules' failures since they were forgotten.
    pub fn failures(&mut self) -> Result<Vec<String>, Silence> {
        let log = self.ask("dmesg -l err,warn")?;
        let of_module = |line: &str| {
            let (time, rest) = line.strip_prefix('[')?.split_once(']')?;
            Some((time.trim().parse().ok()?, rest.split_once(": module ")?.1.to_owned()))
        };
        let failures: Vec<(f64, String)> = log.lines().filter_map(of_module).collect();
        self.last_failure = failures.last().map_or(self.last_failure, |(time, _)| *time);
        let is_new = |(time, _): &(f64, String)| *time > self.forgotten;
        Ok(failures.into_iter().filter(is_new).map(|(_, text)| text).collect())
    }

    /// Forgets the failures that were shown.
    pub fn forget_failures(&mut self) {
        self.forgotten = self.last_failure;
    }

    /// Where the text of each module begins, and how large the module is.
    pub fn modules(&mut self) -> Result<BTreeMap<String, (u64, u64)>, Silence> {
        let shown = self.ask("lsmod")?;
        let module = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, size, address) = (words.next()?, words.next()?, words.next()?);
            let address = u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?;
            Some((name.to_owned(), (address, size.parse().ok()?)))
        };
        Ok(shown.lines().filter_map(module).collect())
    }

    /// Words from a virtual address on, through the debugger.
    pub fn read(&mut self, address: u64, count: usize) -> Result<Vec<u32>> {
        self.debugger.read(address, count).with_context(|| format!("cannot read at {address:#x}"))
    }

    /// Puts a word there.
    pub fn write(&mut self, address: u64, word: u32) -> Result<()> {
        self.debugger.write(address, word).with_context(|| format!("cannot write at {address:#x}"))
    }
}

fn image_path(folder: &Path) -> PathBuf {
    folder.join("disk.img")
}
