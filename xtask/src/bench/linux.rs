//! Debian's Linux as it is measured, with the program `bench/guest/init.c` as its first and only one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::machine::{EventKind, Guest, Machine, Waiting};
use super::{Basics, Figures, measure_exchanges};
use crate::cargo::{Workspace, text_of};
use crate::debian::Packages;

/// What depends on the newest kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-arm64";

/// Backports count as much as the release.
const PREFERENCES: &str = "Package: *\nPin: release o=*\nPin-Priority: 500\n";

/// The modules that the first program loads. The last is the one whose loading is a row.
const MODULES: [&str; 4] = ["virtio_mmio", "failover", "net_failover", "virtio_net"];

/// What stands behind a module's signature and its description, the latter's last four bytes being the signature's
/// length (`struct module_signature` in include/linux/module_signature.h of Linux's source).
const SIGNED: &[u8] = b"~Module signature appended~\n";
const DESCRIPTION_LENGTH: usize = 12;

/// The marks that the first program sets around the loading of a module.
const BEFORE_MODULE: u64 = 0x60;
const AFTER_MODULE: u64 = 0x61;

const MEMORY: u64 = 512 << 20;

/// A kernel and an initramfs, made once.
pub struct System<'s> {
    scratch: &'s Path,
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl<'s> System<'s> {
    /// Fetches the kernel and makes the initramfs, unless that was done before.
    pub fn fetch(workspace: &Workspace, scratch: &'s Path) -> Result<Self> {
        let folder = scratch.join("linux");
        let package = folder.join("package");
        if !package.exists() {
            eprintln!("    Fetching Debian's kernel package for arm64 in virtual machines (some 30 MB, once)");
            let apt = folder.join("apt");
            let packages = Packages::list(&apt, PREFERENCES)?;
            let file = packages.download(&packages.dependency_of(PACKAGE)?)?.path;
            let unpacked = folder.join("unpacked");
            text_of(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&unpacked))?;
            std::fs::remove_dir_all(apt)?;
            std::fs::rename(unpacked, &package)?;
        }
        let kernel = find(&package.join("boot"), "vmlinuz-")?.context("the package has no kernel")?;
        let root = folder.join("root");
        for kind in ["signed", "unsigned"] {
            std::fs::create_dir_all(root.join(kind))?;
        }
        for module in MODULES {
            let compressed = find(&package, &format!("{module}.ko"))?;
            let compressed = compressed.with_context(|| format!("the package has no module {module}"))?;
            let contents = decompressed(&compressed)?;
            std::fs::write(root.join(format!("signed/{module}.ko")), &contents)?;
            std::fs::write(root.join(format!("unsigned/{module}.ko")), without_signature(&contents)?)?;
        }
        let mut compiler = Command::new("aarch64-linux-gnu-gcc");
        compiler.args(["-O2", "-static", "-s", "-Wall", "-Wextra", "-o"]);
        text_of(compiler.arg(root.join("init")).arg(workspace.root.join("bench/guest/init.c")))?;
        let initramfs = folder.join("initramfs.cpio");
        pack(&root, &initramfs)?;
        Ok(Self { scratch, kernel, initramfs })
    }

    fn start(&self, arguments: &str, waiting: Waiting) -> Result<Machine> {
        let arguments = &format!("console=ttyAMA0 quiet -- {arguments}");
        let Self { scratch, kernel, initramfs } = self;
        Machine::start(scratch, &Guest { kernel, initramfs, arguments, waiting, watched: &[], profile: false })
    }

    /// Boots three times: to the first answer, to serve, and with modules that have no signature to check.
    ///
    /// Where waiting is skipped, some work that Linux puts off by a second (some 300 million instructions) does not
    /// come before the first answer.
    pub fn measure(&self) -> Result<Figures> {
        let mut machine = self.start("signed", Waiting::Skipped)?;
        let (ready, _) = machine.wait_for_line("init ready")?;
        let (first_ping, _) = machine.wait_for_line("net answered")?;
        drop(machine);

        let mut machine = self.start("signed", Waiting::Real)?;
        let (_, free) = machine.wait_for_line("free ")?;
        machine.wait_for_line("serving")?;
        let (ping, udp_echo, idle_second) = measure_exchanges(&machine)?;
        let memory = MEMORY - free.parse::<u64>()?;
        drop(machine);

        let mut machine = self.start("unsigned 2", Waiting::Skipped)?;
        let mut module = 0;
        for _ in MODULES {
            let start = machine.wait_for(|event| matches!(event, EventKind::Mark(BEFORE_MODULE)))?;
            module = machine.wait_for(|event| matches!(event, EventKind::Mark(AFTER_MODULE)))? - start;
        }
        Ok(Figures {
            ready,
            verified: 0,
            first_ping,
            module,
            ping,
            udp_echo,
            idle_second,
            memory,
            basics: Basics::default(),
        })
    }
}

/// The first file in a folder, or below it, whose name begins like this.
fn find(folder: &Path, beginning: &str) -> Result<Option<PathBuf>> {
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), beginning)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with(beginning) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// A module's contents, which Debian compresses since 2023.
fn decompressed(path: &Path) -> Result<Vec<u8>> {
    if path.extension() != Some("xz".as_ref()) {
        return Ok(std::fs::read(path)?);
    }
    let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(path).output().context("cannot start xz")?;
    ensure!(output.status.success(), "xz can't decompress {}", path.display());
    Ok(output.stdout)
}

fn without_signature(module: &[u8]) -> Result<&[u8]> {
    let Some((rest, length)) = module.strip_suffix(SIGNED).and_then(|rest| rest.split_last_chunk()) else {
        bail!("a module is not signed");
    };
    let signature = u32::from_be_bytes(*length) as usize + DESCRIPTION_LENGTH - length.len();
    let end = rest.len().checked_sub(signature).context("a module is shorter than its signature")?;
    Ok(&rest[..end])
}

/// Packs the files in a folder.
fn pack(root: &Path, archive: &Path) -> Result<()> {
    let mut command = Command::new("cpio");
    command.args(["--create", "--format=newc", "--quiet", "--file"]).arg(archive).current_dir(root);
    let mut cpio = command.stdin(Stdio::piped()).spawn().context("cannot start cpio")?;
    let mut names = vec!["init".to_owned()];
    for kind in ["signed", "unsigned"] {
        names.push(kind.to_owned());
        names.extend(MODULES.map(|module| format!("{kind}/{module}.ko")));
    }
    cpio.stdin.take().context("cpio has no input")?.write_all((names.join("\n") + "\n").as_bytes())?;
    ensure!(cpio.wait()?.success(), "cpio can't pack {}", root.display());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_cut_off_and_one_that_is_missing_or_too_long_is_refused() {
        let signed = |length: u32| [b"module.signature", [0; 8].as_slice(), &length.to_be_bytes(), SIGNED].concat();
        assert_eq!(without_signature(&signed(10)).unwrap(), b"module");
        assert!(without_signature(&signed(17)).is_err());
        assert!(without_signature(b"module").is_err());
    }
}
