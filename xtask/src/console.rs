//! What a machine's console has shown: `x run` writes it to a file, and commands read that or any other.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cargo::Workspace;

/// Where `x run` writes what the console shows.
pub const LOG: &str = "out/console.log";

/// What a console has shown: in this file, on the standard input for `-`, or in the last `x run` when none is named. Lines
/// end in `\n` alone.
pub fn read(workspace: &Workspace, file: Option<&str>) -> Result<String> {
    let mut bytes = Vec::new();
    match file {
        Some("-") => {
            std::io::stdin().read_to_end(&mut bytes).context("cannot read the standard input")?;
        }
        Some(path) => bytes = std::fs::read(Path::new(path)).with_context(|| format!("cannot read {path}"))?,
        None => {
            bytes = std::fs::read(workspace.root.join(LOG)).with_context(|| {
                format!("cannot read {LOG}, where ./x run writes what the console shows; another file can be named")
            })?;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}
