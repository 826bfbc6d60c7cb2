//! A machine in QEMU whose instructions are counted by the plugin `bench/count.c`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::peer::Peer;
use crate::cargo::text_of;
use crate::files;

/// How long anything may take. Linux needs half a minute for its boot when nothing else runs here.
const PATIENCE: Duration = Duration::from_secs(120);

/// The data register of the PL011 in QEMU's `virt`.
const CONSOLE: u64 = 0x900_0000;

const MACHINE: &str = "-M virt -cpu cortex-a72 -m 512M -smp 1 -seed 1 -nodefaults -display none -monitor none \
                       -serial stdio -no-reboot";

/// What QEMU's clock does while the guest waits. While it runs, an instruction takes a nanosecond, so how long the host
/// takes for it changes nothing.
#[derive(Clone, Copy)]
pub enum Waiting {
    /// Time passes as outside.
    Real,
    /// The next timer expires at once: nothing from outside ever comes in time.
    Skipped,
}

/// What is booted.
pub struct Guest<'g> {
    pub kernel: &'g Path,
    pub initramfs: &'g Path,
    /// The boot arguments.
    pub arguments: &'g str,
    pub waiting: Waiting,
    /// Virtual addresses whose execution is an event.
    pub watched: &'g [u64],
    /// Whether instructions are counted by their address as well.
    pub profile: bool,
}

/// Something that the guest did, and how many instructions it had executed by then.
pub struct Event {
    pub count: u64,
    pub kind: EventKind,
}

pub enum EventKind {
    /// A line on its console.
    Line(String),
    /// It executed the instruction at this address.
    Visit(u64),
    /// It executed `hint` with this number.
    Mark(u64),
}

impl Event {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let (kind, count, rest) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let kind = match kind {
            "line" => EventKind::Line(rest.to_owned()),
            "visit" => EventKind::Visit(u64::from_str_radix(rest, 16).ok()?),
            "mark" => EventKind::Mark(rest.parse().ok()?),
            _ => return None,
        };
        Some(Self { count, kind })
    }

    /// The line on the console that this is.
    pub fn line(&self) -> Option<&str> {
        if let EventKind::Line(text) = &self.kind { Some(text) } else { None }
    }
}

/// A running machine, with us as the only other host in its network. It is switched off when dropped.
pub struct Machine {
    qemu: Child,
    /// What the plugin and QEMU write: events, and complaints.
    output: Receiver<String>,
    complaints: Vec<String>,
    control: UnixDatagram,
    folder: PathBuf,
    pub peer: Peer,
}

impl Machine {
    /// Switches a machine on, with the plugin from `scratch`.
    pub fn start(scratch: &Path, guest: &Guest<'_>) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("lockstep-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let peer = Peer::new(&folder)?;
        let control = UnixDatagram::bind(folder.join("client"))?;
        control.set_read_timeout(Some(PATIENCE))?;

        let mut plugin = format!(
            "{},out=/dev/stderr,console={CONSOLE:#x},control={}",
            scratch.join("count.so").display(),
            folder.join("control").display()
        );
        for address in guest.watched {
            plugin += &format!(",watch={address:#x}");
        }
        if guest.profile {
            plugin += ",profile=on";
        }
        let sleep = match guest.waiting {
            Waiting::Real => "on",
            Waiting::Skipped => "off",
        };
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(MACHINE.split_whitespace())
            .args(["-icount", &format!("shift=0,sleep={sleep}")])
            .args(["-rtc", "base=2025-01-01T00:00:00,clock=vm"])
            .args(peer.qemu_arguments())
            .args(["-append", guest.arguments, "-plugin", &plugin])
            .arg("-kernel")
            .arg(guest.kernel)
            .arg("-initrd")
            .arg(guest.initramfs)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut qemu = qemu.spawn().context("cannot start qemu-system-aarch64")?;
        let errors = qemu.stderr.take().context("QEMU has no error output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            // Ends with QEMU, or with the machine that listens.
            for line in BufReader::new(errors).split(b'\n').map_while(std::io::Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { qemu, output, complaints: Vec::new(), control, folder, peer })
    }

    /// The next event.
    pub fn event(&mut self) -> Result<Event> {
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(text) => match Event::parse(&text) {
                    Some(event) => return Ok(event),
                    None => self.complaints.push(text),
                },
                Err(RecvTimeoutError::Timeout) => bail!("the machine did nothing for {} s", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("QEMU has ended: {}", self.complaints.join("; ")),
            }
        }
    }

    /// Waits for a line on the console with this text in it; returns the instructions executed by then, and what
    /// follows in the line.
    pub fn wait_for_line(&mut self, text: &str) -> Result<(u64, String)> {
        loop {
            let event = self.event().with_context(|| format!("waiting for a line with {text:?}"))?;
            if let Some((_, rest)) = event.line().and_then(|line| line.split_once(text)) {
                return Ok((event.count, rest.to_owned()));
            }
        }
    }

    /// Waits until an address is reached or a mark is passed; returns the instructions executed by then.
    pub fn wait_for(&mut self, wanted: impl Fn(&EventKind) -> bool) -> Result<u64> {
        loop {
            let event = self.event()?;
            if wanted(&event.kind) {
                return Ok(event.count);
            }
        }
    }

    /// Types on the console.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        let keyboard = self.qemu.stdin.as_mut().context("QEMU has no input")?;
        keyboard.write_all(text.as_bytes())?;
        Ok(keyboard.flush()?)
    }

    /// The instructions executed so far.
    pub fn count(&self) -> Result<u64> {
        self.ask("count")
    }

    /// The instructions executed so far once the guest waits again, or after 20 ms if it doesn't.
    pub fn settled_count(&self) -> Result<u64> {
        let mut last = self.count()?;
        for _ in 0..4 {
            sleep(Duration::from_millis(5));
            let now = self.count()?;
            if now == last {
                break;
            }
            last = now;
        }
        Ok(last)
    }

    /// The instructions executed so far, by address.
    pub fn profile(&self) -> Result<HashMap<u64, u64>> {
        let path = self.folder.join("profile");
        self.ask(&format!("profile {}", path.display()))?;
        let text = std::fs::read_to_string(&path)?;
        let entry = |line: &str| {
            let (address, count) = line.split_once(' ')?;
            Some((u64::from_str_radix(address, 16).ok()?, count.parse().ok()?))
        };
        text.lines().map(|line| entry(line).with_context(|| format!("the profile says {line:?}"))).collect()
    }

    fn ask(&self, request: &str) -> Result<u64> {
        self.control.send_to(request.as_bytes(), self.folder.join("control"))?;
        let mut answer = [0; 32];
        let length = self.control.recv(&mut answer).context("the plugin doesn't answer")?;
        Ok(std::str::from_utf8(&answer[..length])?.parse()?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Compiles the plugin into `scratch`.
pub fn build_plugin(source: &Path, scratch: &Path) -> Result<()> {
    let plugin = scratch.join("count.so");
    if files::outdated(&plugin, [source])? {
        std::fs::create_dir_all(scratch)?;
        let mut compiler = Command::new("cc");
        compiler.args("-O2 -fPIC -shared -fvisibility=hidden -Wall -pthread -o".split_whitespace());
        text_of(compiler.arg(&plugin).arg(source))?;
    }
    Ok(())
}
