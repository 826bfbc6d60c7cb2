//! A machine in QEMU, with its serial console at our end of a pipe.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{DeviceTree, Initramfs, built};

const QEMU: &str = "qemu-system-aarch64";

/// What the shell shows when it waits for a command.
pub const PROMPT: &str = "lockstep> ";

/// What the line begins with that ends the first round of binding.
pub const READY: &str = "lockstep: ready ";

/// How long anything may take that takes a second or two on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the memory of QEMU's `virt` begins, behind the device tree that QEMU puts there for firmware.
const FREE_MEMORY: u64 = 0x4010_0000;

/// A machine that has not been switched on.
pub struct Setup {
    arguments: Vec<String>,
    cards: usize,
    ports: Vec<u16>,
    /// Where the kernel and a device tree are put in place of QEMU's choice.
    placed: Option<(u64, (u64, Vec<u8>))>,
    /// What comes before the kernel then is started as a kernel is: at EL2, with a spin table for the other processors.
    has_firmware: bool,
    initramfs: Option<PathBuf>,
    folder: TempDir,
}

impl Setup {
    /// QEMU's board `virt` (`-M`; options may follow the name after a comma) with the shipped archive and no network
    /// card.
    pub fn virt(board: &str, processor: &str, memory: &str) -> Self {
        Self::board(board).argument("-cpu", processor).argument("-m", memory)
    }

    /// Any board, with the shipped archive.
    pub fn board(board: &str) -> Self {
        Self {
            arguments: vec!["-M".into(), board.into()],
            cards: 0,
            ports: Vec::new(),
            placed: None,
            has_firmware: false,
            initramfs: Some(built("initramfs.cpio")),
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A Raspberry Pi (QEMU's `raspi4b`, `raspi3b`) with the shipped archive, and without a tree. The standard output of its
    /// trees is the second of QEMU's serial ports.
    pub fn raspberry_pi(board: &str) -> Self {
        let setup = Self { has_firmware: true, ..Self::board(board) };
        setup.argument("-serial", "null").argument("-serial", "mon:stdio")
    }

    /// Hands this tree to QEMU, which edits it as the board's firmware does, or nearly.
    #[must_use]
    pub fn device_tree(self, tree: &DeviceTree) -> Self {
        let tree = self.file("tree.dtb", &tree.bytes());
        self.argument("-dtb", &tree.display().to_string())
    }

    /// Adds an option of QEMU's and its value.
    #[must_use]
    pub fn argument(mut self, option: &str, value: &str) -> Self {
        self.arguments.extend([option.into(), value.into()]);
        self
    }

    /// Passes this text to the kernel as `bootargs`.
    #[must_use]
    pub fn boot_arguments(self, text: &str) -> Self {
        self.argument("-append", text)
    }

    /// Adds virtio network cards, each in a network of its own, with QEMU as its DHCP server and router at 10.0.2.2.
    #[must_use]
    pub fn network_cards(mut self, count: usize) -> Self {
        for _ in 0..count {
            self = self.card("");
        }
        self
    }

    /// Adds a network card whose echo ports can be reached from here, at the next of [`Machine::ports`].
    #[must_use]
    pub fn reachable_network_card(mut self) -> Self {
        let port = free_port();
        self.ports.push(port);
        self.card(&format!(",hostfwd=udp:127.0.0.1:{port}-:7,hostfwd=tcp:127.0.0.1:{port}-:7"))
    }

    /// Has QEMU wait for a debugger at the next of [`Machine::ports`] at any time.
    #[must_use]
    pub fn debuggable(mut self) -> Self {
        let port = free_port();
        self.ports.push(port);
        self.argument("-gdb", &format!("tcp:127.0.0.1:{port}"))
    }

    /// Has QEMU take commands of its monitor at the next of [`Machine::ports`].
    #[must_use]
    pub fn monitored(mut self) -> Self {
        let port = free_port();
        self.ports.push(port);
        self.argument("-monitor", &format!("tcp:127.0.0.1:{port},server=on,wait=off"))
    }

    /// As [`debuggable`](Self::debuggable); nothing happens before the debugger lets it.
    #[must_use]
    pub fn waiting_for_debugger(mut self) -> Self {
        self.arguments.push("-S".into());
        self.debuggable()
    }

    fn card(mut self, options: &str) -> Self {
        let number = self.cards;
        self.cards += 1;
        self.argument("-netdev", &format!("user,id=n{number}{options}"))
            .argument("-device", &format!("virtio-net-device,netdev=n{number}"))
    }

    /// Boots with this archive.
    #[must_use]
    pub fn initramfs(self, initramfs: &Initramfs) -> Self {
        self.initramfs_bytes(&initramfs.bytes())
    }

    /// Boots with this archive, which may be none.
    #[must_use]
    pub fn initramfs_bytes(mut self, bytes: &[u8]) -> Self {
        self.initramfs = Some(self.file("initramfs.cpio", bytes));
        self
    }

    /// Boots without an archive.
    #[must_use]
    pub fn no_initramfs(mut self) -> Self {
        self.initramfs = None;
        self
    }

    /// Has the kernel, a device tree and the archive put at these addresses, the first a multiple of 2 MiB, as a boot
    /// loader might. Where the archive is, is added to the tree.
    #[must_use]
    pub fn placed(mut self, kernel: u64, (address, tree): (u64, &DeviceTree), initramfs: u64) -> Self {
        let path = self.initramfs.take().expect("an archive to place");
        let end = initramfs + path.metadata().expect("the archive can be read").len();
        let [start_high, start, end_high, end] = [initramfs >> 32, initramfs, end >> 32, end].map(|value| value as u32);
        let tree = tree.clone().with(&format!(
            "/ {{ chosen {{ linux,initrd-start = <{start_high} {start}>; linux,initrd-end = <{end_high} {end}>; }}; }};"
        ));
        self.placed = Some((kernel, (address, tree.bytes())));
        self.load(&path, initramfs)
    }

    /// Has a file put into memory.
    fn load(self, path: &Path, address: u64) -> Self {
        let loader = format!("loader,file={},addr={address:#x},force-raw=on", path.display());
        self.argument("-device", &loader)
    }

    /// A file for QEMU to read.
    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).expect("the temporary folder can be written to");
        path
    }

    /// Switches the machine on.
    pub fn start(mut self) -> Machine {
        if self.cards == 0 {
            // Boards may come with a card of their own.
            self = self.argument("-nic", "none");
        }
        let kernel = built("kernel.img");
        self = match self.placed.take() {
            None => self.argument("-kernel", &kernel.display().to_string()),
            Some((place, (address, tree))) => {
                let tree = self.file("tree.dtb", &tree);
                let first = self.file("first.bin", &first_instructions(place, address));
                let setup = self.load(&kernel, place).load(&tree, address);
                if setup.has_firmware {
                    setup.argument("-kernel", &first.display().to_string())
                } else {
                    let start = format!("loader,addr={FREE_MEMORY:#x},cpu-num=0");
                    setup.load(&first, FREE_MEMORY).argument("-device", &start)
                }
            }
        };
        if let Some(initramfs) = self.initramfs.take() {
            self = self.argument("-initrd", &initramfs.display().to_string());
        }
        self.arguments.push("-nographic".into());
        Machine::start(self)
    }

    /// Switches the machine on and waits for the shell.
    pub fn boot(self) -> Machine {
        let mut machine = self.start();
        machine.wait_for_shell();
        machine
    }
}

/// What a boot loader does last: the device tree's address into x0, and off into the kernel.
fn first_instructions(kernel: u64, device_tree: u64) -> Vec<u8> {
    let half = |address: u64, shift: u32| ((address >> shift) & 0xffff) as u32;
    let into = |register: u32, address: u64| {
        [
            0xd280_0000 | half(address, 0) << 5 | register,  // movz
            0xf2a0_0000 | half(address, 16) << 5 | register, // movk, lsl 16
            0xf2c0_0000 | half(address, 32) << 5 | register, // movk, lsl 32
        ]
    };
    let branch = 0xd61f_0020; // br x1
    let code = [into(0, device_tree), into(1, kernel)].concat();
    code.into_iter().chain([branch]).flat_map(u32::to_le_bytes).collect()
}

/// A port that neither UDP nor TCP uses here.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it has an address").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A running machine. It is switched off when dropped.
///
/// What is waited for and doesn't come fails the test and shows all that was on the console.
pub struct Machine {
    qemu: Child,
    command_line: String,
    keyboard: ChildStdin,
    screen: Arc<Screen>,
    /// How much of what the console has shown was read.
    read: usize,
    ports: Vec<u16>,
    _folder: TempDir,
}

/// What the console has shown.
#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    /// Without carriage returns: lines end in `\n` alone.
    text: Vec<u8>,
    /// Whether QEMU has closed its output, which it does by exiting.
    ended: bool,
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects what comes until the end.
    fn collect(&self, mut output: impl Read) {
        let mut piece = [0; 4096];
        loop {
            let length = output.read(&mut piece).unwrap_or(0);
            let mut shown = self.lock();
            shown.text.extend(piece[..length].iter().filter(|byte| **byte != b'\r'));
            shown.ended = length == 0;
            self.changed.notify_all();
            if length == 0 {
                return;
            }
        }
    }
}

impl Machine {
    fn start(setup: Setup) -> Self {
        // QEMU's own complaints are part of what is shown.
        let (output, input) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(QEMU);
        command.args(&setup.arguments).stdin(Stdio::piped());
        command.stdout(input.try_clone().expect("a pipe's end can be cloned")).stderr(input);
        let mut qemu = command.spawn().unwrap_or_else(|error| panic!("cannot run {QEMU}: {error}"));
        let screen = Arc::new(Screen::default());
        let collector = screen.clone();
        std::thread::spawn(move || collector.collect(output));
        Self {
            command_line: format!("{QEMU} {}", setup.arguments.join(" ")),
            keyboard: qemu.stdin.take().expect("its input is a pipe"),
            qemu,
            screen,
            read: 0,
            ports: setup.ports,
            _folder: setup.folder,
        }
    }

    /// The ports of this host, 127.0.0.1, that lead to the echo services of the machine's reachable network cards, and to
    /// QEMU for a debugger or its monitor.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Waits until the system has booted and the shell takes commands; returns how many modules are loaded and how many
    /// devices are bound.
    #[track_caller]
    pub fn wait_for_shell(&mut self) -> (u32, u32) {
        let counts = self.wait_for_ready();
        self.wait_for(PROMPT);
        counts
    }

    /// Waits until the system has booted, shell or not; returns how many modules are loaded and how many devices are
    /// bound.
    #[track_caller]
    pub fn wait_for_ready(&mut self) -> (u32, u32) {
        self.wait_for(READY);
        let line = self.wait_for("\n");
        let counts = line.split_once(" s after reset, ").and_then(|(seconds, counts)| {
            seconds.parse::<f64>().ok()?;
            let (modules, devices) = counts.split_once(" modules loaded, ")?;
            Some((modules.parse().ok()?, devices.strip_suffix(" devices bound")?.parse().ok()?))
        });
        counts.unwrap_or_else(|| self.fail(&format!("not understood: {READY}{line}")))
    }

    /// Waits for a text; returns what was shown before it, from where the last wait ended.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        if let Some(before) = self.wait_at_most(text, PATIENCE) {
            return before;
        }
        let how = if self.screen.lock().ended { "QEMU exited before" } else { "time ran out before" };
        self.fail(&format!("{how} the console showed {text:?}"));
    }

    /// As [`wait_for`](Self::wait_for), but nothing is returned when the text hasn't come by then.
    pub fn wait_at_most(&mut self, text: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut shown = self.screen.lock();
        loop {
            let new = &shown.text[self.read..];
            if let Some(position) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..position]).into_owned();
                self.read += position + text.len();
                return Some(before);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if shown.ended || left.is_zero() {
                return None;
            }
            shown = self.screen.changed.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that the console has shown.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().text).into_owned()
    }

    /// Types a command; returns what it prints, without the last line's end.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> String {
        self.type_in(&format!("{line}\r"));
        let shown = self.wait_for(&format!("\n{PROMPT}"));
        after_echo(&shown, line).to_owned()
    }

    /// Types a command again and again until what it prints satisfies a condition; returns that.
    #[track_caller]
    pub fn command_until(&mut self, line: &str, condition: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.command(line);
            if condition(&output) {
                return output;
            }
            if Instant::now() > deadline {
                self.fail(&format!("time ran out before `{line}` printed what was expected"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Types a command that prints a table; returns its rows, without the headings, as cells.
    #[track_caller]
    pub fn table(&mut self, line: &str) -> Vec<Vec<String>> {
        let cells =
            |row: &str| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
        self.command(line).lines().skip(1).map(cells).collect()
    }

    /// The row of a table that begins with this cell.
    #[track_caller]
    pub fn row(&mut self, line: &str, first: &str) -> Vec<String> {
        let rows = self.table(line);
        let row = rows.into_iter().find(|row| row.first().is_some_and(|cell| cell == first));
        row.unwrap_or_else(|| self.fail(&format!("`{line}` prints no row for {first}")))
    }

    /// Waits until the first card's interface has got an address.
    #[track_caller]
    pub fn wait_for_network(&mut self) -> String {
        self.command_until("ip", |output| output.contains("inet "))
    }

    /// Types on the console.
    #[track_caller]
    pub fn type_in(&mut self, text: &str) {
        // Ctrl-A is QEMU's own key, and its way to type one.
        let text = text.replace('\x01', "\x01\x01");
        if let Err(error) = self.keyboard.write_all(text.as_bytes()).and_then(|()| self.keyboard.flush()) {
            self.fail(&format!("cannot type on the console: {error}"));
        }
    }

    /// Waits until the machine has switched itself off; returns how QEMU exited, and what was shown since the last wait.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> (ExitStatus, String) {
        let screen = self.screen.clone();
        let shown = screen.lock();
        let running = |shown: &mut Shown| !shown.ended;
        let waited = screen.changed.wait_timeout_while(shown, PATIENCE, running);
        let (shown, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let new = String::from_utf8_lossy(&shown.text[self.read..]).into_owned();
        self.read = shown.text.len();
        drop(shown);
        if timeout.timed_out() {
            self.fail("time ran out before the machine was switched off");
        }
        (self.qemu.wait().expect("QEMU can be waited for"), new)
    }

    /// Fails unless a text contains another.
    #[track_caller]
    pub fn expect(&self, text: &str, contained: &str) {
        if !text.contains(contained) {
            self.fail(&format!("expected {contained:?} in {text:?}"));
        }
    }

    /// Fails, and shows how the machine was started and all that was on its console.
    #[track_caller]
    pub fn fail(&self, problem: &str) -> ! {
        let mut message = format!("{problem}\n--- {}\n", self.command_line);
        for line in self.shown().lines() {
            // Escape sequences of the line editor are for a terminal.
            let _ = writeln!(message, "  | {}", line.escape_debug());
        }
        panic!("{message}--- end of the console")
    }
}

/// What was shown after the echo of a line, which begins a line or follows the prompt. Lines of the log may stand before it
/// and in the middle of it; then the rest of it is on the next line, or the shell shows it again.
fn after_echo<'a>(shown: &'a str, line: &str) -> &'a str {
    let mut rest = shown;
    let mut echo = String::new();
    while let Some((next, others)) = rest.split_once('\n').or((!rest.is_empty()).then_some((rest, ""))) {
        rest = others;
        let typed = match next.strip_prefix(PROMPT) {
            Some(typed) => {
                echo.clear();
                typed
            }
            None => next,
        };
        echo.push_str(&typed[..log_record(typed).unwrap_or(typed.len())]);
        if echo == line {
            return rest;
        }
        if !line.starts_with(&echo) {
            echo.clear();
        }
    }
    shown.split_once('\n').map_or("", |(_, output)| output)
}

/// Where a record of the log begins in a line: `[`, seconds in five columns, `.`, microseconds in six, `] `.
fn log_record(line: &str) -> Option<usize> {
    let is_record =
        |text: &[u8]| matches!(text, [b'[', ..]) && text.get(6) == Some(&b'.') && text.get(13..15) == Some(b"] ");
    (0..line.len()).find(|position| is_record(&line.as_bytes()[*position..]))
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it has exited already.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_prints_is_found_behind_its_echo_whatever_the_log_says_meanwhile() {
        let record = "[    1.454511] fat: vda1: the partition is not mounted";
        for (shown, output) in [
            ("lsmod\none\ntwo", "one\ntwo"),
            ("lsmod", ""),
            (&format!("lsm{record}\nod\none"), "one"),
            (&format!("{record}\nlsmod\none\n{record}"), &format!("one\n{record}")),
            (&format!("l{record}\n{record}\nsmod\none"), "one"),
            (&format!("ls{record}\nlockstep> lsmod\none"), "one"),
            ("lockstep> lsmod\nlsmod", "lsmod"),
        ] {
            assert_eq!(after_echo(shown, "lsmod"), output, "{shown:?}");
        }
    }
}
