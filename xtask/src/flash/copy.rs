//! Writing an image, and reading it back.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use rustix::fs::{Advice, OFlags, fadvise};

/// How many bytes are written or read at a time.
const PIECE: usize = 1 << 20;

/// Opens what an image of so many bytes is to be written to, for nobody else meanwhile.
///
/// # Errors
///
/// When it is too small, or in use, or this user may not.
pub fn open(path: &Path, length: usize) -> Result<File> {
    // For a disk: fails while it is mounted, and nobody can mount it while it is open.
    let exclusive = i32::try_from(OFlags::EXCL.bits())?;
    let target = File::options().read(true).write(true).custom_flags(exclusive).open(path);
    let mut target = target.with_context(|| format!("cannot open {} to write to it", path.display()))?;
    let size = target.seek(SeekFrom::End(0))?;
    ensure!(
        size >= length as u64,
        "{} is too small: it has {}, and the image {}",
        path.display(),
        DecimalBytes(size),
        DecimalBytes(length as u64)
    );
    Ok(target)
}

/// Writes an image from the beginning on. When this returns, it is there and not in some buffer.
pub fn write(image: &[u8], target: &mut File) -> Result<()> {
    let bar = bar("writing", image)?;
    target.rewind()?;
    for piece in image.chunks(PIECE) {
        target.write_all(piece).context("cannot write")?;
        // Else the bar would only show how fast this machine's memory is.
        target.sync_data().context("cannot write")?;
        bar.inc(piece.len() as u64);
    }
    target.sync_all().context("cannot write")?;
    bar.finish();
    Ok(())
}

/// Compares what is there with an image.
///
/// # Errors
///
/// When it differs, which says that the card is broken, or smaller than it says.
pub fn compare(image: &[u8], target: &mut File) -> Result<()> {
    let bar = bar("reading", image)?;
    // What was written is still in this machine's memory, which is not what has to be read.
    fadvise(&*target, 0, None, Advice::DontNeed).context("cannot have it read anew")?;
    target.rewind()?;
    let mut buffer = vec![0; PIECE];
    for (index, piece) in image.chunks(PIECE).enumerate() {
        let found = &mut buffer[..piece.len()];
        target.read_exact(found).context("cannot read it back")?;
        let difference = piece.iter().zip(&*found).position(|(expected, found)| expected != found);
        if let Some(place) = difference {
            bar.abandon();
            anyhow::bail!("it reads back otherwise than it was written, from byte {} on", index * PIECE + place);
        }
        bar.inc(piece.len() as u64);
    }
    bar.finish();
    Ok(())
}

fn bar(name: &'static str, image: &[u8]) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}, {eta} left")?;
    Ok(ProgressBar::new(image.len() as u64).with_style(style).with_message(name))
}
