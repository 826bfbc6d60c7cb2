//! Inputs as the build and the machine have them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// A path in the tree.
fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Reads what the build has made.
fn built<T>(path: &str, read: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    read(&tree(path)).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}; ./x build makes it")))
}

/// The modules, as they are loaded.
pub(crate) fn modules() -> io::Result<Vec<Vec<u8>>> {
    let list = |folder: &Path| fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = built("target/lockstep/modules", list)?;
    paths.sort();
    paths.into_iter().map(fs::read).collect()
}

/// The archive that the kernel boots with.
pub(crate) fn archive() -> io::Result<Vec<u8>> {
    built("out/initramfs.cpio", |path| fs::read(path))
}

/// The trees of QEMU's `virt` machine with each interrupt controller, and the Raspberry Pi's if the build has fetched
/// it.
pub(crate) fn device_trees() -> io::Result<Vec<Vec<u8>>> {
    let firmware = fs::read(tree("out/firmware/bcm2711-rpi-4-b.dtb"));
    ["virt", "virt,gic-version=3,its=on,virtualization=on"].into_iter().map(qemu).chain(firmware.ok().map(Ok)).collect()
}

/// The tree that QEMU makes for a machine.
fn qemu(machine: &str) -> io::Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("machine.dtb");
    let machine = format!("{machine},dtb-randomness=off,dumpdtb={}", file.display());
    let rest = ["-cpu", "cortex-a72", "-display", "none", "-nic", "none"];
    output(Command::new("qemu-system-aarch64").args(["-M", &machine]).args(rest))?;
    // QEMU leaves room for additions, dtc doesn't.
    output(Command::new("dtc").args(["-q", "-I", "dtb", "-O", "dtb"]).arg(file))
}

fn output(command: &mut Command) -> io::Result<Vec<u8>> {
    let program = command.get_program().to_owned();
    let failed = |reason: &dyn std::fmt::Display| io::Error::other(format!("{}: {reason}", program.display()));
    let output = command.output().map_err(|error| failed(&error))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failed(&String::from_utf8_lossy(&output.stderr))),
    }
}
