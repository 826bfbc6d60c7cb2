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
        // What the target switches on and off; `--print=cfg` has only what switching on makes known to the code.
        let switched: serde_json::Value = serde_json::from_slice(&description)?;
        let switched = switched["features"].as_str().unwrap_or_default();
        let known = set("target_feature").join(",");
        let flags: Vec<_> =
            RUSTFLAGS.iter().map(|flag| flag.trim_start_matches("-C").trim_start_matches("-Z")).collect();
        let entries = [
            ("compiler", compiler),
            ("llvm", llvm),
            ("target", format!("{TARGET} {:016x}", fingerprint(&description))),
            ("target-features", [switched, &known].join(" ").trim_end().to_owned()),
            ("panic-strategy", set("panic").join(",")),
            ("code-generation", flags.join(" ")),
        ];
        Ok(Self { entries: entries.map(|(key, value)| (key.to_owned(), value)).into() })
    }

    /// The stamp of what was compiled against `dependencies`, of which `shared` are the ones that matter.
    pub fn stamp(&self, shared: &[Dependency], dependencies: &[Dependency]) -> Result<String> {
        let mut entries = self.entries.clone();
        for shared in shared {
            // A module may use another release of such a crate for itself, beside the one that it got with `abi`.
            let same = dependencies.iter().find(|dependency| dependency.path == shared.path);
            let other = || dependencies.iter().find(|dependency| dependency.name == shared.name);
            if let Some(dependency) = same.or_else(other) {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn dependency(name: &str, hash: &str, file: &str) -> Dependency {
        Dependency { name: name.to_owned(), hash: hash.to_owned(), path: file.into() }
    }

    #[test]
    fn a_module_of_another_abi_is_refused_with_both_hashes() {
        let compilation = Compilation { entries: vec![("compiler".to_owned(), "rustc 1.96.0".to_owned())] };
        let shared = [dependency("core", "1", "libcore-1.rlib"), dependency("abi", "5678", "libabi-1.rlib")];
        let kernel = compilation.stamp(&shared, &shared).unwrap();
        assert_eq!(kernel, "format=1\ncompiler=rustc 1.96.0\ncrate core=1\ncrate abi=5678\n");

        let changed = [dependency("core", "1", "libcore-1.rlib"), dependency("abi", "1234", "libabi-2.rlib")];
        let error = check(&compilation.stamp(&shared, &changed).unwrap(), &kernel).unwrap_err().to_string();
        assert_eq!(error, "it is out of lockstep: the module was built against abi 1234, this kernel against abi 5678");
    }

    #[test]
    fn a_module_may_use_another_release_of_a_shared_crate_for_itself() {
        let compilation = Compilation { entries: Vec::new() };
        let shared = [dependency("spin", "12", "libspin-12.rlib")];
        let module = [dependency("spin", "9", "libspin-9.rlib"), dependency("spin", "12", "libspin-12.rlib")];
        assert_eq!(compilation.stamp(&shared, &module).unwrap(), compilation.stamp(&shared, &shared).unwrap());
    }
}
