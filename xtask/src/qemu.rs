//! `x run`: boots what was built in QEMU.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Error, Result, bail};

use crate::cargo::{Workspace, text_of};
use crate::{card, console, firmware};

const QEMU: &str = "qemu-system-aarch64";

/// What `-nographic` makes of the terminal, the console and QEMU's monitor, but with a log of what is shown; the log's
/// name follows.
const CONSOLE: [&str; 6] = ["-nographic", "-serial", "chardev:console", "-mon", "console", "-chardev"];

/// A Raspberry Pi's first UART is there for Bluetooth; the header's pins, where people connect a console, are the second's.
const SECOND_UART: &str = "-serial null";

/// The machine to run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// QEMU's own `virt`.
    Virt,
    /// The Raspberry Pi 3, model B.
    RaspberryPi3,
    /// The Raspberry Pi 4, model B.
    RaspberryPi4,
    /// AMD's (Xilinx's) ZCU102, with a Zynq UltraScale+.
    Zcu102,
}

impl Board {
    /// The board with this name on the command line.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "virt" => Ok(Self::Virt),
            "rpi3" => Ok(Self::RaspberryPi3),
            "rpi4" => Ok(Self::RaspberryPi4),
            "zcu102" => Ok(Self::Zcu102),
            _ => bail!("there is no board {name:?}; there are virt, rpi3, rpi4 and zcu102"),
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
            Self::RaspberryPi3 => {
                let device_tree = firmware::device_tree(workspace, firmware::RASPBERRY_PI_3)?;
                let device_tree = shown(workspace, &device_tree);
                Ok(words(&format!(
                    "-M raspi3b -kernel out/kernel.img -initrd out/initramfs.cpio -dtb {device_tree} {SECOND_UART}"
                )))
            }
            Self::RaspberryPi4 => {
                if !text_of(Command::new(QEMU).args(["-machine", "help"]))?.contains("raspi4b") {
                    bail!("this QEMU has no raspi4b: that takes version 9 or later");
                }
                card::make(workspace, None)?;
                let (image, folder) = (workspace.root.join(card::IMAGE), workspace.out().join("rpi4"));
                let file = |name| Ok::<_, Error>(shown(workspace, &card::extract(&image, name, &folder)?));
                let (kernel, initramfs) = (file(card::KERNEL)?, file(card::INITRAMFS)?);
                let device_tree = file(firmware::RASPBERRY_PI_4)?;
                // What is written to the card is forgotten when QEMU ends: the image stays what a real card gets.
                Ok(words(&format!(
                    "-M raspi4b -kernel {kernel} -initrd {initramfs} -dtb {device_tree} {SECOND_UART} \
                     -drive if=sd,format=raw,snapshot=on,file={}",
                    card::IMAGE
                )))
            }
            Self::Zcu102 => {
                let device_tree = firmware::device_tree(workspace, firmware::ZCU102)?;
                let device_tree = shown(workspace, &device_tree);
                // Of more than 2 GiB the rest would be elsewhere than the tree that QEMU edits says.
                Ok(words(&format!(
                    "-M xlnx-zcu102 -m 2G -kernel out/kernel.img -initrd out/initramfs.cpio -dtb {device_tree} -audio none"
                )))
            }
        }
    }
}

/// A path as it is in the tree, where QEMU is started.
fn shown(workspace: &Workspace, path: &Path) -> String {
    path.strip_prefix(&workspace.root).unwrap_or(path).display().to_string()
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
