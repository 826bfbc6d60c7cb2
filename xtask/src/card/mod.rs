//! `x image`: what a Raspberry Pi starts from, as the image of an SD card.
//!
//! The image has an MBR with one partition, of FAT32, as the Raspberry Pi's first stage expects it (Raspberry Pi
//! documentation, "Boot sequence"). The tools that make it are those that most cards for these boards are made with. The
//! same files give the same bytes.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::archive::Files;
use crate::cargo::Workspace;
use crate::{files, firmware};

/// The image, below the tree's top-level folder.
pub const IMAGE: &str = "out/rpi4.img";

/// The kernel and the archive on the card. `config.txt` names them, and the tree.
pub const KERNEL: &str = "kernel8.img";
pub const INITRAMFS: &str = "initramfs.cpio";

const CONFIGURATION: &str = include_str!("config.txt");

/// Bytes of the whole image. QEMU wants a power of two; it fits any card, and leaves 55 MB to the user.
const SIZE: u64 = 64 << 20;

/// Where the partition begins, to the end of the image: at a multiple of what cards erase at a time (4 MiB with most),
/// so that no file shares such a block with the table.
const START: u64 = 4 << 20;

/// Stands for both the disk's and the volume's number, which would else be random.
const NUMBER: u32 = 0x4c6f_636b;

/// The first time that FAT knows, 1980-01-01, in seconds since 1970: files on the card have no better one that is the
/// same in every build.
const TIME: u32 = 315_532_800;

/// Makes the image from what was built, and from the firmware in that folder or else from Debian's packages.
pub fn make(workspace: &Workspace, firmware: Option<&Path>) -> Result<()> {
    let mut files = firmware::raspberry_pi_4(workspace, firmware)?;
    files.insert("config.txt".to_owned(), CONFIGURATION.into());
    for (name, built) in [(KERNEL, "kernel.img"), (INITRAMFS, "initramfs.cpio")] {
        let path = workspace.out().join(built);
        let contents = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(name.to_owned(), contents);
    }
    write(&workspace.root.join(IMAGE), &files)
}

/// Takes a file out of an image and puts it into a folder. Returns where it is.
pub fn extract(image: &Path, name: &str, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(name);
    run(tool("mcopy").args(["-n", "-i", &volume(image), &format!("::{name}")]).arg(&path), b"")?;
    Ok(path)
}

/// Writes an image with these files. What was there stays as it is if something goes wrong.
fn write(path: &Path, files: &Files) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    files::write(&unfinished, b"")?;
    std::fs::File::options().write(true).open(&unfinished)?.set_len(SIZE)?;

    let (start, size) = (START / 512, (SIZE - START) / 512);
    let table = format!("label: dos\nlabel-id: {NUMBER:#x}\nstart={start}, size={size}, type=c\n");
    run(tool("sfdisk").args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(&unfinished), table.as_bytes())?;

    let mut format = tool("mkfs.fat");
    format.args(["-F", "32", "-n", "LOCKSTEP", "--invariant", "-i", &format!("{NUMBER:x}")]);
    format.args(["--offset", &start.to_string(), "-h", &start.to_string()]);
    run(format.arg(&unfinished).arg((size / 2).to_string()), b"")?;

    // From files and not through a pipe: there it leaves out what doesn't fit, and is content.
    let folder = tempfile::tempdir()?;
    let mut copy = tool("mcopy");
    copy.args(["-i", &volume(&unfinished)]);
    for (name, contents) in files {
        let file = folder.path().join(name);
        files::write(&file, contents)?;
        copy.arg(file);
    }
    run(copy.arg("::"), b"")?;
    Ok(std::fs::rename(unfinished, path)?)
}

/// The file system in an image, as mtools(1) name it.
fn volume(image: &Path) -> String {
    format!("{}@@{START}", image.display())
}

/// A program that may be where only root looks for programs, and for which it is always the same time.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    // An image has no heads and tracks that would have to make sense.
    command.env("SOURCE_DATE_EPOCH", TIME.to_string()).env("MTOOLS_SKIP_CHECK", "1");
    command
}

/// Runs a program with something to read; what it prints is shown if it fails.
fn run(command: &mut Command, input: &[u8]) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    // One that ends before it has read all says why.
    let written = child.stdin.take().context("it has an input")?.write_all(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    written.with_context(|| format!("{name} has not read all"))
}
