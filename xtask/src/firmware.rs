//! Files of boards that are not ours: fetched once, from the distribution's own archive.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{Workspace, text_of};
use crate::files;

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

/// Takes a device tree from the package. Packages are listed and downloaded in a folder of ours, for an architecture
/// that this system need not know, so nothing of the system changes.
fn from_kernel_package(folder: &Path, name: &str) -> Result<Vec<u8>> {
    std::fs::create_dir_all(folder.join("lists/partial"))?;
    std::fs::create_dir_all(folder.join("cache/archives/partial"))?;
    std::fs::write(folder.join("status"), "")?;
    let apt = |program: &str| {
        let mut command = Command::new(program);
        // What is read below is English.
        command.current_dir(folder).env("LC_ALL", "C").arg("-qq");
        command.args(["-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oAPT::Sandbox::User=root"]);
        for (option, name) in
            [("Dir::State::lists", "lists"), ("Dir::State::status", "status"), ("Dir::Cache", "cache")]
        {
            command.arg(format!("-o{option}={}", folder.join(name).display()));
        }
        command
    };
    text_of(apt("apt-get").arg("update"))?;
    let kernel = text_of(apt("apt-cache").args(["depends", "linux-image-arm64"]))?;
    let kernel = kernel.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    text_of(apt("apt-get").args(["download", kernel.context("linux-image-arm64 depends on no kernel")?]))?;
    let mut files = folder.read_dir()?.flatten().map(|file| file.path());
    let package =
        files.find(|path| path.extension() == Some("deb".as_ref())).context("apt-get downloaded no package")?;
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
