//! What the system says of a disk (sysfs, Documentation/ABI/testing/sysfs-block and sysfs-class-mmc), and whether it may
//! be erased.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use indicatif::DecimalBytes;

/// The unit of sizes in sysfs, whatever the disk's own is.
const SECTOR: u64 = 512;

/// What the system says, apart from the disk itself.
pub struct System<'s> {
    /// Where sysfs is.
    pub sysfs: &'s Path,
    /// `/proc/self/mountinfo`, as proc(5) describes it.
    pub mounts: &'s str,
    /// `/proc/swaps`.
    pub swaps: &'s str,
}

/// A whole disk.
pub struct Disk {
    name: String,
    model: String,
    /// In bytes, as are those of partitions.
    size: u64,
    partitions: Vec<(String, u64)>,
    /// It can be taken out, or hangs on USB, or is an SD card.
    is_removable: bool,
    is_read_only: bool,
    /// What it is used for, in sentences.
    uses: Vec<String>,
}

impl Disk {
    /// The disk with this device number, such as `8:16`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is part of another.
    pub fn read(system: &System<'_>, number: &str) -> Result<Self> {
        let link = system.sysfs.join("dev/block").join(number);
        let folder = link.canonicalize().with_context(|| format!("the system knows no disk {number}"))?;
        let name = name_of(&folder);
        if folder.join("partition").exists() {
            let whole = folder.parent().map(name_of).unwrap_or_default();
            bail!(
                "{name} is a partition; the card begins with a table of its own, so it takes the whole disk, {whole}"
            );
        }
        let mut partitions = Vec::new();
        let mut uses = system.uses(&folder)?;
        for folder in folders(&folder)?.into_iter().filter(|folder| folder.join("partition").exists()) {
            uses.extend(system.uses(&folder)?);
            partitions.push((name_of(&folder), size(&folder)?));
        }
        let is_on_usb = folder.iter().any(|part| part.to_str().is_some_and(|part| part.starts_with("usb")));
        // A card, and not the memory on the board that is connected in the same way.
        let is_card = value(&folder.join("device/type")) == "SD";
        let model = ["device/vendor", "device/model", "device/name"].map(|file| value(&folder.join(file)));
        let model: Vec<String> = model.into_iter().filter(|word| !word.is_empty()).collect();
        Ok(Self {
            name,
            model: if model.is_empty() { "no known model".to_owned() } else { model.join(" ") },
            size: size(&folder)?,
            partitions,
            is_removable: value(&folder.join("removable")) == "1" || is_on_usb || is_card,
            is_read_only: value(&folder.join("ro")) == "1",
            uses,
        })
    }

    /// Whether the disk may be erased.
    ///
    /// # Errors
    ///
    /// When it is none that one takes out, is in use, or can't be written.
    pub fn check(&self) -> Result<()> {
        let Self { name, model, .. } = self;
        ensure!(
            self.is_removable,
            "{name} ({model}) is no removable disk: it is neither on USB, nor an SD card, nor does its drive say that it \
             can be taken out"
        );
        ensure!(self.uses.is_empty(), "{name} ({model}) is in use: {}", self.uses.join(", "));
        ensure!(self.size > 0, "{name} ({model}) has no card in it");
        ensure!(!self.is_read_only, "{name} ({model}) is read-only; some cards have a switch for that");
        Ok(())
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: {}, {}", self.name, self.model, DecimalBytes(self.size))?;
        if self.partitions.is_empty() {
            return writeln!(formatter, "  no partitions");
        }
        for (name, size) in &self.partitions {
            writeln!(formatter, "  {name}  {}", DecimalBytes(*size))?;
        }
        Ok(())
    }
}

impl System<'_> {
    /// What a disk or partition is used for.
    fn uses(&self, folder: &Path) -> Result<Vec<String>> {
        let (name, number) = (name_of(folder), value(&folder.join("dev")));
        let path = format!("/dev/{name}");
        let mut uses = Vec::new();
        for mount in self.mounts.lines() {
            let (mount, source) = mount.split_once(" - ").unwrap_or((mount, ""));
            let mount: Vec<&str> = mount.split(' ').collect();
            // Some file systems have a number of their own, and the disk's name only.
            if let [_, _, device, _, place, ..] = mount[..]
                && (device == number || source.split(' ').nth(1) == Some(&path))
            {
                uses.push(match place {
                    "/" => format!("this system runs from {name}"),
                    _ => format!("{name} is mounted at {place}"),
                });
            }
        }
        if self.swaps.lines().any(|line| line.split_whitespace().next() == Some(&path)) {
            uses.push(format!("this system swaps to {name}"));
        }
        uses.extend(folders(&folder.join("holders"))?.iter().map(|holder| format!("{} is on {name}", name_of(holder))));
        Ok(uses)
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is in a folder; nothing when there is none.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    if folder.exists() {
        for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// What a file of sysfs says; nothing when there is none.
fn value(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn size(folder: &Path) -> Result<u64> {
    let path = folder.join("size");
    let sectors: u64 = value(&path).parse().with_context(|| format!("{} is no number", path.display()))?;
    Ok(sectors.saturating_mul(SECTOR))
}
