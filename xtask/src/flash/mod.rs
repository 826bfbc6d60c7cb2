//! `x flash`: writes an image to a card, and makes sure that it is the card that is meant.

mod copy;
mod disk;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use disk::{Disk, System};
use rustix::fs::{major, minor};

/// Writes an image to a disk and reads it back, when the disk is removable and the user agrees.
pub fn flash(image: &Path, path: &Path) -> Result<()> {
    let image =
        fs::read(image).with_context(|| format!("cannot read {}, which ./x image rpi4 makes", image.display()))?;
    let metadata = fs::metadata(path).with_context(|| format!("there is no {}", path.display()))?;
    ensure!(metadata.file_type().is_block_device(), "{} is no disk", path.display());
    let number = format!("{}:{}", major(metadata.rdev()), minor(metadata.rdev()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot find out what is mounted")?;
    // A system that can't swap has no such file.
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let system = System { sysfs: Path::new("/sys"), mounts: &mounts, swaps: &swaps };
    let disk = Disk::read(&system, &number)?;
    disk.check()?;

    let mut target = copy::open(path, image.len())?;
    print!("{disk}Everything on it will be gone. Type yes to go on: ");
    std::io::stdout().flush()?;
    if !agrees(&mut std::io::stdin().lock())? {
        bail!("nothing was written, since that was not yes");
    }
    copy::write(&image, &mut target)?;
    copy::compare(&image, &mut target)?;
    println!("{}: written, and read back the same; it can be taken out", path.display());
    Ok(())
}

/// Whether the next line says yes, and nothing else.
fn agrees(input: &mut impl BufRead) -> Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
