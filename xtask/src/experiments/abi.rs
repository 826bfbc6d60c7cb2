//! A driver that is compiled against `abi`: the one that was built, or a copy with changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::workshop::{Module, Shared, Workshop, compile, records};
use crate::exports::STANDARD;

/// The driver, of the tree's folder `drivers`.
const DRIVER: &str = "arm-pl031";

/// Texts to replace: the source file, what it must have once, and what comes in its place.
pub type Edits<'e> = &'e [(&'e str, &'e str, &'e str)];

/// An `abi`, and what a kernel that was built with it would export.
pub struct Abi<'w> {
    shared: Shared<'w>,
    exports: BTreeSet<String>,
}

impl<'w> Abi<'w> {
    /// The one that was built.
    pub fn built(workshop: &'w Workshop<'w>) -> Result<Self> {
        let folder = workshop.folder("abi")?;
        let rlib = workshop.library(&folder, "abi")?;
        Self::of(workshop, folder, rlib)
    }

    /// A copy with changes.
    pub fn changed(workshop: &'w Workshop<'w>, name: &str, edits: Edits<'_>) -> Result<Self> {
        let folder = workshop.folder(&format!("abi-{name}"))?;
        let source = folder.join("src");
        copy(&workshop.workspace.root.join("abi/src"), &source)?;
        for (file, from, to) in edits {
            replace(&source.join(file), from, to)?;
        }
        let mut rustc = workshop.rustc(&folder, "abi", name)?;
        let built = records(&folder).dependencies(&workshop.library(&folder, "abi")?)?;
        for dependency in built.iter().filter(|dependency| !STANDARD.contains(&dependency.name.as_str())) {
            rustc.arg(format!("--extern={}={}", dependency.name, dependency.path.display()));
        }
        compile(rustc.args(["--crate-type=lib", "--emit=link,dep-info"]).arg(source.join("lib.rs")))?;
        let rlib = folder.join(format!("libabi-{name}.rlib"));
        Self::of(workshop, folder, rlib)
    }

    fn of(workshop: &'w Workshop<'w>, folder: PathBuf, rlib: PathBuf) -> Result<Self> {
        let kernel = workshop.library(&folder, "kernel")?;
        let described = workshop.describe(&folder, &rlib)?;
        let mut shared = workshop.share(folder, "abi", rlib, described.hash)?;
        shared.description = Some(described.section);
        Ok(Self { exports: shared.exports(&kernel)?, shared })
    }

    /// The stamp of whatever is compiled against it.
    pub fn stamp(&self) -> &str {
        &self.shared.stamp
    }

    /// Compiles the driver with more flags and links it.
    pub fn driver(&self, name: &str, flags: &[&str]) -> Result<Module> {
        let driver = self.compile_driver(name, flags)?;
        self.shared.link(name, &[&driver], &self.exports, &self.shared.stamp_of(&driver)?)
    }

    /// The driver with this stamp, whatever it was compiled with.
    pub fn driver_with_stamp(&self, name: &str, stamp: &str) -> Result<Module> {
        self.shared.link(name, &[&self.compile_driver(name, &[])?], &self.exports, stamp)
    }

    fn compile_driver(&self, name: &str, flags: &[&str]) -> Result<PathBuf> {
        let mut rustc = self.shared.rustc("driver", name)?;
        for (key, value) in [("NAME", DRIVER), ("VERSION", "0"), ("LICENSE", "MIT")] {
            rustc.env(format!("CARGO_PKG_{key}"), value);
        }
        rustc.arg("--crate-type=lib").args(flags);
        compile(rustc.arg(format!("drivers/{DRIVER}/src/lib.rs")))?;
        Ok(self.shared.folder.join(format!("libdriver-{name}.rlib")))
    }
}

/// Copies the files of a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for file in from.read_dir()? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

fn replace(path: &Path, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let count = text.matches(from).count();
    ensure!(count == 1, "{} has {from:?} {count} times, and the experiment needs it once", path.display());
    Ok(std::fs::write(path, text.replace(from, to))?)
}
