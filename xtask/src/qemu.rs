//! `x run`: boots what was built in QEMU.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{Workspace, text_of};
use crate::{console, firmware};

const QEMU: &str = "qemu-system-aarch64";

/// What `-nographic` makes of the terminal, the console and QEMU's monitor, but with a log of what is shown; the log's
/// name follows.
const CONSOLE: [&str; 6] = ["-nographic", "-serial", "chardev:console", "-mon", "console", "-chardev"];

/// The machine to run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// QEMU's own `virt`.
    Virt,
    /// The Raspberry Pi 3, model B.
    RaspberryPi3,
    /// The Raspberry Pi 4, model B.
    RaspberryPi4,
}

impl Board {
    /// The board with this name on the command line.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "virt" => Ok(Self::Virt),
            "rpi3" => Ok(Self::RaspberryPi3),
            "rpi4" => Ok(Self::RaspberryPi4),
            _ => bail!("there is no board {name:?}; there are virt, rpi3 and rpi4"),
        }
    }

    fn arguments(self, workspace: &Workspace) -> Result<Vec<String>> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match self {
            // Port 7 is the echo service's, for UDP and TCP; both can be reached at port 5007 of this machine.
            Self::Virt => Ok(words(
                "-M virt -cpu cortex-a72 -m 512M -kernel out/kernel.img -initrd out/initramfs.cpio \
                 -netdev user,id=n0,hostfwd=udp:127.0.0.1:5007-:7,hostfwd=tcp:127.0.0.1:5007-:7 \
                 -device virtio-net-device,netdev=n0",
            )),
            Self::RaspberryPi3 => raspberry_pi(workspace, "raspi3b", firmware::RASPBERRY_PI_3),
            Self::RaspberryPi4 => raspberry_pi(workspace, "raspi4b", firmware::RASPBERRY_PI_4),
        }
    }
}

fn raspberry_pi(workspace: &Workspace, machine: &str, device_tree: &str) -> Result<Vec<String>> {
    if !text_of(Command::new(QEMU).args(["-machine", "help"]))?.contains(machine) {
        bail!("this QEMU has no {machine}: the Raspberry Pi 4 takes version 9 or later");
    }
    let device_tree = firmware::device_tree(workspace, device_tree)?;
    let device_tree = device_tree.strip_prefix(&workspace.root).unwrap_or(&device_tree).display();
    // The first UART is there for Bluetooth; the header's pins, where people connect a console, are the second's.
    let words =
        format!("-M {machine} -kernel out/kernel.img -initrd out/initramfs.cpio -dtb {device_tree} -serial null");
    Ok(words.split_whitespace().map(str::to_owned).collect())
}

/// Replaces this program by QEMU with what was built, on the given board, after printing its command line.
pub fn run(workspace: &Workspace, board: Board, more: &[&str]) -> Result<()> {
    let mut arguments = board.arguments(workspace)?;
    arguments.extend(CONSOLE.into_iter().map(str::to_owned));
    arguments.push(format!("stdio,id=console,mux=on,signal=off,logfile={}", console::LOG));
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    println!("{QEMU} {}", arguments.join(" "));
    println!("(leave with Ctrl-A X)");
    let error = Command::new(QEMU).args(&arguments).current_dir(&workspace.root as &Path).exec();
    Err(error).context("cannot start qemu-system-aarch64")
}
