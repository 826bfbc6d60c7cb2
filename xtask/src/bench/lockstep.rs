//! Lockstep as it is measured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};

use super::basics::Basics;
use super::machine::{EventKind, Guest, Machine, Waiting};
use super::peer::{GUEST, HOST};
use super::profile::{self, Symbols};
use super::{EXCHANGES, Figures, measure_exchanges, profile_pings};
use crate::archive;
use crate::cargo::Workspace;

/// What the shell shows when it waits for a command.
const PROMPT: &str = "lockstep> ";

/// The kernel's function that loads a module and binds its devices.
const LOAD_MODULE: &str = "lockstep_system_load_module";

/// `ret` (Arm Architecture Reference Manual, C6.2).
const RETURN: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();

/// What was built.
pub struct System<'s> {
    out: PathBuf,
    scratch: &'s Path,
    kernel: Vec<u8>,
    arguments: String,
}

impl<'s> System<'s> {
    pub fn find(workspace: &Workspace, scratch: &'s Path) -> Result<Self> {
        let out = workspace.out();
        let kernel = std::fs::read(out.join("kernel.elf")).context("cannot read out/kernel.elf")?;
        // Addresses are those of the ELF file.
        let arguments = format!("nokaslr ip={GUEST}::{HOST}:255.255.255.0::eth0:off");
        Ok(Self { out, scratch, kernel, arguments })
    }

    /// Starts a machine, with further boot arguments.
    fn start(&self, more: &str, waiting: Waiting, watched: &[u64], profile: bool) -> Result<Machine> {
        self.start_with(&self.out.join("initramfs.cpio"), more, waiting, watched, profile)
    }

    fn start_with(
        &self,
        initramfs: &Path,
        more: &str,
        waiting: Waiting,
        watched: &[u64],
        profile: bool,
    ) -> Result<Machine> {
        Machine::start(
            self.scratch,
            &Guest {
                kernel: &self.out.join("kernel.img"),
                initramfs,
                arguments: &format!("{} {more}", self.arguments),
                waiting,
                watched,
                profile,
            },
        )
    }

    /// Boots twice, to the first answer and to serve; returns the figures and what `free` prints. The first boot doesn't
    /// check signatures, as none of the others does; the second does.
    pub fn measure(&self) -> Result<(Figures, String)> {
        let (entry, returns) = self.load_module()?;
        let watched: Vec<u64> = std::iter::once(entry).chain(returns.iter().copied()).collect();
        let mut machine = self.start("module.sig=off", Waiting::Skipped, &watched, false)?;
        let (ready, _) = machine.wait_for_line("lockstep: ready ")?;
        machine.settled_count()?;
        machine.peer.resolve()?;
        machine.peer.ping(0)?;
        let first_ping = machine.settled_count()?;

        command(&mut machine, "rmmod virtio-net")?;
        machine.settled_count()?;
        // Nothing more is typed, which would interrupt the loading.
        machine.type_in("insmod virtio-net\r")?;
        let start = machine.wait_for(|event| matches!(event, EventKind::Visit(address) if *address == entry))?;
        let end = machine.wait_for(|event| matches!(event, EventKind::Visit(address) if returns.contains(address)))?;
        let module = end - start;
        drop(machine);

        let mut machine = self.start("", Waiting::Real, &[], false)?;
        let (verified, _) = machine.wait_for_line("lockstep: ready ")?;
        machine.settled_count()?;
        machine.peer.resolve()?;
        let (ping, udp_echo, idle_second) = measure_exchanges(&machine)?;
        let free = command(&mut machine, "free")?;
        let memory = used_memory(&free)?;

        drop(machine);

        let basics = self.measure_basics()?;
        let figures = Figures { ready, verified, first_ping, module, ping, udp_echo, idle_second, memory, basics };
        Ok((figures, free.join("\n")))
    }

    /// Boots with the module that does things often.
    fn measure_basics(&self) -> Result<Basics> {
        let mut files = archive::files(&std::fs::read(self.out.join("initramfs.cpio"))?)?;
        let module = self.out.join("bench-modules/bench-basics.o");
        files.insert(archive::path("bench-basics"), std::fs::read(&module).context("cannot read bench-basics.o")?);
        let initramfs = self.scratch.join("basics.cpio");
        std::fs::write(&initramfs, archive::pack(&files)?)?;
        Basics::measure(&mut self.start_with(&initramfs, "module.sig=off", Waiting::Real, &[], false)?)
    }

    /// Prints where the instructions of a boot and of a ping go.
    pub fn profile(&self) -> Result<()> {
        let mut machine = self.start("", Waiting::Real, &[], true)?;
        machine.wait_for_line("lockstep: ready ")?;
        machine.settled_count()?;
        let boot = machine.profile()?;
        let pings = profile_pings(&machine)?;
        command(&mut machine, "rmmod virtio-net")?;
        machine.settled_count()?;
        let before = machine.profile()?;
        command(&mut machine, "insmod virtio-net")?;
        machine.settled_count()?;
        let mut module = machine.profile()?;
        for (address, count) in &mut module {
            *count -= before.get(address).copied().unwrap_or(0);
        }

        let mut symbols = Symbols::default();
        symbols.add("kernel", &self.kernel, 0)?;
        for line in command(&mut machine, "lsmod")?.iter().skip(1) {
            let mut words = line.split_whitespace();
            let place = words.next().zip(words.nth(1).and_then(|word| word.strip_prefix("0x")));
            let (name, address) = place.with_context(|| format!("lsmod says {line:?}"))?;
            let object = std::fs::read(self.out.join(format!("modules/{name}.o")))?;
            symbols.add(name, &object, u64::from_str_radix(address, 16)?)?;
        }
        println!("\nReset to `lockstep: ready`, instructions by function:\n{}", profile::report(&boot, 1, &symbols));
        println!("`insmod virtio-net`, instructions by function:\n{}", profile::report(&module, 1, &symbols));
        println!("One ping answered, instructions by function:\n{}", profile::report(&pings, EXCHANGES, &symbols));
        Ok(())
    }

    /// The addresses at which the function that loads a module is entered and left.
    fn load_module(&self) -> Result<(u64, Vec<u64>)> {
        let elf = ElfFile64::<LittleEndian>::parse(&*self.kernel)?;
        let symbol = elf.symbol_by_name(LOAD_MODULE).with_context(|| format!("the kernel has no {LOAD_MODULE}"))?;
        let section = elf.section_by_index(symbol.section_index().context("it is in no section")?)?;
        let code = section.data_range(symbol.address(), symbol.size())?.context("its code is missing")?;
        let places = (symbol.address()..).step_by(RETURN.len());
        let returns: Vec<u64> = places
            .zip(code.chunks(RETURN.len()))
            .filter(|(_, word)| *word == RETURN)
            .map(|(address, _)| address)
            .collect();
        ensure!(!returns.is_empty(), "{LOAD_MODULE} has no `ret`: its end can't be told");
        Ok((symbol.address(), returns))
    }
}

/// Types a command; returns the lines that it prints.
fn command(machine: &mut Machine, text: &str) -> Result<Vec<String>> {
    // The plugin shows complete lines only: an empty command completes the prompt's.
    machine.type_in(&format!("{text}\r\r"))?;
    machine.wait_for_line(&format!("{PROMPT}{text}"))?;
    let mut lines = Vec::new();
    loop {
        match machine.event()?.line() {
            Some(PROMPT) => return Ok(lines),
            Some(line) => lines.push(line.to_owned()),
            None => {}
        }
    }
}

/// All that is not free of the machine's memory, in bytes.
fn used_memory(free: &[String]) -> Result<u64> {
    let row = free.iter().find_map(|line| line.strip_prefix("Mem:"));
    let used = row.and_then(|row| row.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(1024 * used.with_context(|| format!("free says {free:?}"))?)
}
