//! Files of boards that are not ours: fetched once, from the distribution's own archive.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::Workspace;
use crate::{debian, files};

const RASPBERRY_PI_4: &str = "bcm2711-rpi-4-b.dtb";

/// The device tree of the Raspberry Pi 4, model B, as Debian's kernel package for arm64 has it.
pub fn raspberry_pi_4_device_tree(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.out().join("firmware").join(RASPBERRY_PI_4);
    if !path.exists() {
        eprintln!("    Fetching {RASPBERRY_PI_4} from Debian's kernel package for arm64 (some 60 MB, once)");
        let contents = from_kernel_package(&workspace.scratch().join("apt"), RASPBERRY_PI_4).with_context(|| {
            format!("cannot fetch {RASPBERRY_PI_4} (a copy from any Linux 6 will do, put at {})", path.display())
        })?;
        files::write(&path, &contents)?;
    }
    Ok(path)
}

/// Takes a device tree from the package.
fn from_kernel_package(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let package = debian::download_dependency(folder, "linux-image-arm64", "")?;
    let mut unpack = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).stdout(Stdio::piped()).spawn()?;
    let files = unpack.stdout.take().context("dpkg-deb has no output")?;
    let extract = ["--extract", "--to-stdout", "--wildcards", &format!("*/{name}")];
    let extracted = Command::new("tar").args(extract).stdin(files).output()?;
    unpack.wait()?;
    std::fs::remove_dir_all(folder)?;
    if extracted.stdout.is_empty() {
        bail!("{} has no {name}", package.display());
    }
    Ok(extracted.stdout)
}
