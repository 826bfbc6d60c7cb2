//! Files that are written only when they change, so that what depends on them is not built again.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

/// Whether `output` has to be made again: it is missing, or older than one of `inputs`.
pub fn outdated<'p>(output: &Path, inputs: impl IntoIterator<Item = &'p Path>) -> Result<bool> {
    let Ok(made) = changed(output) else { return Ok(true) };
    for input in inputs {
        if changed(input)? > made {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a file, and its folder when there is none.
pub fn write(path: &Path, contents: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file unless it has these contents already, and returns whether it did.
pub fn update(path: &Path, contents: &[u8]) -> Result<bool> {
    let changed = std::fs::read(path).ok().as_deref() != Some(contents);
    if changed {
        write(path, contents)?;
    }
    Ok(changed)
}

fn changed(path: &Path) -> Result<SystemTime> {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("cannot read {}", path.display()))
}
