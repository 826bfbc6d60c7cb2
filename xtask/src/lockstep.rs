//! What the kernel and each module were built from, and the check that it is the same.
//!
//! The hashes are the ones that rustc wrote into each rlib for the crates that it was compiled against. So a stamp is
//! evidence of what happened, and not a repetition of what was meant to happen.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use stamp::Stamp;

use crate::cargo::{RUSTFLAGS, TARGET, TARGET_FILE, text_of};
use crate::rlib::Dependency;

/// The part of a stamp that one compiler, target and set of flags gives to all that is built with it.
pub struct Compilation {
    entries: Vec<(String, String)>,
}

impl Compilation {
    /// Asks rustc for itself and for what it makes of the target.
    pub fn find(root: &Path) -> Result<Self> {
        let version = text_of(Command::new("rustc").arg("-vV"))?;
        let value = |key: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.with_context(|| format!("rustc -vV names no {key}"))
        };
        let compiler = format!("rustc {} {}", value("release")?, value("commit-hash")?);
        let llvm = value("LLVM version")?.to_owned();
        let description =
            std::fs::read(root.join(TARGET_FILE)).with_context(|| format!("cannot read {TARGET_FILE}"))?;
        let configuration = text_of(
            Command::new("rustc")
                .current_dir(root)
                .args(["-Zunstable-options", "--print=cfg", "--target", TARGET_FILE])
                .args(RUSTFLAGS),
        )?;
        let set = |key: &str| -> Vec<&str> {
            let lines = configuration.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix("=\""));
            lines.filter_map(|value| value.strip_suffix('"')).collect()
        };
        let flags: Vec<_> = RUSTFLAGS.iter().map(|flag| flag.trim_start_matches("-C")).collect();
        let entries = [
            ("compiler", compiler),
            ("llvm", llvm),
            ("target", format!("{TARGET} {:016x}", fingerprint(&description))),
            ("target-features", set("target_feature").join(",")),
            ("panic-strategy", set("panic").join(",")),
            ("code-generation", flags.join(" ")),
        ];
        Ok(Self { entries: entries.map(|(key, value)| (key.to_owned(), value)).into() })
    }

    /// The stamp of what was compiled against `dependencies`, of which `shared` are the ones that matter.
    pub fn stamp(&self, shared: &[Dependency], dependencies: &[Dependency]) -> Result<String> {
        let mut entries = self.entries.clone();
        for shared in shared {
            if let Some(dependency) = dependencies.iter().find(|dependency| dependency.name == shared.name) {
                entries.push((format!("crate {}", dependency.name), dependency.hash.clone()));
            }
        }
        Ok(stamp::write(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())))?)
    }
}

/// Fails when the two stamps differ, with the first difference.
pub fn check(module: &str, kernel: &str) -> Result<()> {
    let (module, kernel) = (Stamp::parse(module.as_bytes())?, Stamp::parse(kernel.as_bytes())?);
    if let Some(difference) = module.differences(&kernel).next() {
        bail!("it is out of lockstep: {difference}");
    }
    Ok(())
}

/// The 64-bit FNV-1a hash: enough to tell two versions of the target's description apart by accident.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
