//! Files of boards that are not ours: fetched once, from the distribution's own archive.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::Workspace;
use crate::{debian, files};

/// The device tree of the Raspberry Pi 4, model B, as Debian's kernel package for arm64 names it.
pub const RASPBERRY_PI_4: &str = "bcm2711-rpi-4-b.dtb";

/// That of the Raspberry Pi 3, model B.
pub const RASPBERRY_PI_3: &str = "bcm2837-rpi-3-b.dtb";

/// All that are fetched, in one go.
const DEVICE_TREES: [&str; 2] = [RASPBERRY_PI_4, RASPBERRY_PI_3];

/// Fetches the device trees that aren't there yet.
pub fn fetch_device_trees(workspace: &Workspace) -> Result<()> {
    let folder = workspace.out().join("firmware");
    if DEVICE_TREES.iter().all(|name| folder.join(name).exists()) {
        return Ok(());
    }
    eprintln!("    Fetching {} from Debian's kernel package for arm64 (some 60 MB, once)", DEVICE_TREES.join(" and "));
    from_kernel_package(&workspace.scratch().join("apt"), &folder).with_context(|| {
        format!(
            "cannot fetch the boards' device trees (copies from any Linux 6 will do, put into {})",
            folder.display()
        )
    })
}

/// Where a device tree is, one of those above. It is fetched if need be.
pub fn device_tree(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    fetch_device_trees(workspace)?;
    Ok(workspace.out().join("firmware").join(name))
}

/// Takes the device trees from the package.
fn from_kernel_package(folder: &Path, out: &Path) -> Result<()> {
    let package = debian::download_dependency(folder, "linux-image-arm64", "")?;
    for name in DEVICE_TREES {
        let mut unpack = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).stdout(Stdio::piped()).spawn()?;
        let contents = unpack.stdout.take().context("dpkg-deb has no output")?;
        let extract = ["--extract", "--to-stdout", "--wildcards", &format!("*/{name}")];
        let extracted = Command::new("tar").args(extract).stdin(contents).output()?;
        unpack.wait()?;
        ensure!(!extracted.stdout.is_empty(), "{} has no {name}", package.display());
        files::write(&out.join(name), &extracted.stdout)?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
