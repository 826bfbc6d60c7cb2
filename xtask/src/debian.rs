//! Packages of the distribution, for what is in none of ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::text_of;

/// Downloads the package for arm64 that `meta_package` depends on, and returns where it is. `preferences` says which
/// version of it, as in apt_preferences(5); when it says nothing, that is the release's.
///
/// Packages are listed and downloaded in `folder`, for an architecture that this system need not know, so nothing of
/// the system changes.
pub fn download_dependency(folder: &Path, meta_package: &str, preferences: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(folder.join("lists/partial"))?;
    std::fs::create_dir_all(folder.join("cache/archives/partial"))?;
    std::fs::write(folder.join("status"), "")?;
    std::fs::write(folder.join("preferences"), preferences)?;
    let apt = |program: &str| {
        let mut command = Command::new(program);
        // What is read below is English.
        command.current_dir(folder).env("LC_ALL", "C").arg("-qq");
        command.args(["-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oAPT::Sandbox::User=root"]);
        for (option, name) in [
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::preferences", "preferences"),
        ] {
            command.arg(format!("-o{option}={}", folder.join(name).display()));
        }
        command
    };
    text_of(apt("apt-get").arg("update"))?;
    let package = text_of(apt("apt-cache").args(["depends", meta_package]))?;
    let package = package.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.with_context(|| format!("{meta_package} depends on nothing"))?;
    text_of(apt("apt-get").args(["download", package]))?;
    let mut files = folder.read_dir()?.flatten().map(|file| file.path());
    files.find(|path| path.extension() == Some("deb".as_ref())).context("apt-get downloaded no package")
}
