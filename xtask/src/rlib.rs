//! What an rlib holds: the compiler's record of what it was compiled against, and the symbols of its object files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol};

use crate::cargo::text_of;
use crate::files;

/// A crate as the metadata of another crate names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its strict version hash: another for every change that a dependent could notice.
    pub hash: String,
    /// Its file.
    pub path: PathBuf,
}

/// What tells procedural macros from other dependencies: they run in the compiler and leave no code behind.
const MACROS: &str = " kind MacrosOnly ";

/// The compiler's records of rlibs.
pub struct Records {
    /// The folder where each record is kept for as long as it is newer than its rlib: reading one takes rustc some time.
    pub cache: PathBuf,
    /// Where the libraries are that are not beside the rlib which was compiled against them.
    pub installed: Option<PathBuf>,
}

impl Records {
    /// The crates that the rlib was compiled against, directly or through others, as rustc recorded them in it.
    pub fn dependencies(&self, rlib: &Path) -> Result<Vec<Dependency>> {
        let mut dependencies = parse(&self.record(rlib)?, rlib.parent().unwrap_or(rlib))
            .with_context(|| format!("cannot understand what rustc -Zls=root says of {}", rlib.display()))?;
        for dependency in &mut dependencies {
            if let (false, Some(folder), Some(file)) =
                (dependency.path.exists(), &self.installed, dependency.path.file_name())
            {
                dependency.path = folder.join(file);
            }
        }
        Ok(dependencies)
    }

    /// The files of the procedural macros that the rlib's crates use: compilers load them with those crates.
    pub fn macros(&self, rlib: &Path) -> Result<Vec<String>> {
        let record = self.record(rlib)?;
        let lines = record.lines().filter(|line| line.contains(MACROS));
        Ok(lines.filter_map(|line| line.split(' ').nth(1)).map(|stem| format!("lib{stem}.so")).collect())
    }

    /// The rlib's own strict version hash.
    pub fn hash(&self, rlib: &Path) -> Result<String> {
        let record = self.record(rlib)?;
        let line = record.lines().find_map(|line| line.strip_prefix("hash ")?.split(' ').next());
        line.map(str::to_owned).with_context(|| format!("rustc -Zls=root names no hash of {}", rlib.display()))
    }

    /// An rlib as the metadata of others would name it.
    pub fn itself(&self, name: &str, rlib: &Path) -> Result<Dependency> {
        Ok(Dependency { name: name.to_owned(), hash: self.hash(rlib)?, path: rlib.to_owned() })
    }

    fn record(&self, rlib: &Path) -> Result<String> {
        let name = rlib.file_stem().with_context(|| format!("{} has no name", rlib.display()))?;
        let kept = self.cache.join(name).with_extension("dependencies");
        if files::outdated(&kept, [rlib])? {
            let record = text_of(Command::new("rustc").arg("-Zls=root").arg(rlib))?;
            files::write(&kept, record.as_bytes())?;
        }
        std::fs::read_to_string(&kept).with_context(|| format!("cannot read {}", kept.display()))
    }
}

/// Reads lines such as `4 abi-d6dbff1a3c932714 hash 994b1fc5… host_hash None kind Unconditional public`.
fn parse(record: &str, folder: &Path) -> Result<Vec<Dependency>> {
    let (_, list) = record.split_once("=External Dependencies=\n").context("it has no list of dependencies")?;
    let mut dependencies = Vec::new();
    let is_code = |line: &&str| !line.contains(MACROS);
    for line in list.lines().take_while(|line| !line.is_empty()).filter(is_code) {
        let words: Vec<_> = line.split(' ').collect();
        let [_, stem, "hash", hash, ..] = words.as_slice() else { anyhow::bail!("the line {line:?}") };
        let (name, _) = stem.rsplit_once('-').with_context(|| format!("the crate {stem:?}"))?;
        let path = folder.join(format!("lib{stem}.rlib"));
        dependencies.push(Dependency { name: name.to_owned(), hash: (*hash).to_owned(), path });
    }
    Ok(dependencies)
}

/// A global symbol of an rlib's object files.
pub struct GlobalSymbol {
    /// Its mangled name.
    pub name: String,
    /// Whether the rlib defines it, and doesn't only refer to it.
    pub defined: bool,
}

/// The global symbols of the rlib, weak ones left out: those are for the unwinder's own use.
pub fn global_symbols(rlib: &Path) -> Result<Vec<GlobalSymbol>> {
    let contents = std::fs::read(rlib).with_context(|| format!("cannot read {}", rlib.display()))?;
    let mut symbols = Vec::new();
    for (_, object) in objects(&contents)? {
        let elf = ElfFile64::<LittleEndian>::parse(object)?;
        for symbol in elf.symbols().filter(|symbol| symbol.is_global() && !symbol.is_weak()) {
            symbols.push(GlobalSymbol { name: symbol.name()?.to_owned(), defined: !symbol.is_undefined() });
        }
    }
    Ok(symbols)
}

/// The object files in an rlib, or another archive, with their names.
pub fn objects(archive: &[u8]) -> Result<Vec<(String, &[u8])>> {
    let mut objects = Vec::new();
    for member in ArchiveFile::parse(archive)?.members() {
        let member = member?;
        let name = String::from_utf8_lossy(member.name()).into_owned();
        // An rlib's other member, lib.rmeta, is rustc's metadata.
        if name.ends_with(".o") {
            objects.push((name, member.data(archive)?));
        }
    }
    Ok(objects)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_rustc_recorded_is_read() {
        let record = "Crate info:\nname arm_pl031-af4307f189fe6bbb\n=External Dependencies=\n\
            1 core-b5459297bbdf1152 hash bdf9e06bc97b373a298acff2a7e6215a host_hash None kind Unconditional public\n\
            2 arm_gic-d6dbff1a3c932714 hash 994b1fc56d7341be40fc670f9d3fa8b7 host_hash None kind Unconditional public\n\n\n";
        let dependencies = parse(record, Path::new("deps")).unwrap();
        let gic = Dependency {
            name: "arm_gic".to_owned(),
            hash: "994b1fc56d7341be40fc670f9d3fa8b7".to_owned(),
            path: "deps/libarm_gic-d6dbff1a3c932714.rlib".into(),
        };
        assert_eq!((dependencies.len(), &dependencies[1]), (2, &gic));
    }

    #[test]
    fn a_record_of_another_form_is_refused() {
        for record in ["", "=External Dependencies=\n1 core hash 1\n", "=External Dependencies=\nnothing\n"] {
            assert!(parse(record, Path::new("deps")).is_err(), "{record}");
        }
    }
}
