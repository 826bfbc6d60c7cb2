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

/// Puts a text between two marks of a file, in place of what is there.
pub fn update_between(path: &Path, (begin, end): (&str, &str), text: &str) -> Result<bool> {
    let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let around = old.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) =
        around.with_context(|| format!("{} has not both marks of what is written", path.display()))?;
    update(path, format!("{before}{begin}{text}{end}{after}").as_bytes())
}

fn changed(path: &Path) -> Result<SystemTime> {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("cannot read {}", path.display()))
}
