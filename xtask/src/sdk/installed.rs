//! The program `lockstep-sdk`: builds modules against the libraries that it was unpacked with.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use super::{EXPORTS, LIBRARIES, MACROS, MODULES, STAMP, TOOLCHAIN, description, file_name};
use crate::cargo::{self, TARGET_FILE};
use crate::contract::{Contract, Linked, declared};
use crate::describe::Described;
use crate::lockstep::{self, Compilation};
use crate::rlib::Records;
use crate::sign::Key;
use crate::{archive, files};
use stamp::Stamp;

const HELP: &str = "\
usage: lockstep-sdk build [--key FILE] [FOLDER]
           build the crate in FOLDER (or here) and link it to target/lockstep/NAME.o, signed with a key if one is given
       lockstep-sdk add ARCHIVE MODULE.o...
           put modules into an initramfs, in place of those of the same name
";

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    crate::with_arguments(run)
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["build", rest @ ..] => {
            let (key, rest) = match rest {
                ["--key", key, rest @ ..] | [rest @ .., "--key", key] => (Some(Key::from_file(Path::new(key))?), rest),
                rest => (None, rest),
            };
            let folder = match rest {
                [] => ".",
                [folder] if !folder.starts_with('-') => folder,
                _ => bail!("build takes a folder and --key, and not `{}`; see lockstep-sdk help", rest.join(" ")),
            };
            build(&Sdk::find()?, Path::new(folder), key)
        }
        ["add", archive, modules @ ..] if !modules.is_empty() => add(Path::new(archive), modules),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("there is no command `{}`; lockstep-sdk help lists what there is", arguments.join(" ")),
    }
}

/// What was unpacked.
struct Sdk {
    root: PathBuf,
}

impl Sdk {
    /// The folder that this program is in.
    fn find() -> Result<Self> {
        let program = std::env::current_exe()?.canonicalize()?;
        let root = program.parent().context("this program is in no folder")?.to_owned();
        let sdk = Self { root };
        // rustup's cargo and rustc are then those of the release that the libraries are of.
        let toolchain = sdk.read(TOOLCHAIN)?;
        let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
        let channel = channel.with_context(|| format!("{TOOLCHAIN} of the SDK names no channel"))?;
        // SAFETY: this is the only thread so far.
        unsafe {
            std::env::set_var("RUSTUP_TOOLCHAIN", channel);
            std::env::set_var("RUSTC_BOOTSTRAP", "1");
        }
        Ok(sdk)
    }

    fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("cannot read {path} of the SDK"))
    }

    /// The library in a file whose name begins like this.
    fn library(&self, start: &str) -> Result<PathBuf> {
        let folder = self.root.join(LIBRARIES);
        let entries = folder.read_dir().with_context(|| format!("cannot read {LIBRARIES} of the SDK"))?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let found = paths.find(|path| file_name(path).starts_with(start));
        found.with_context(|| format!("there is no {start} in {LIBRARIES} of the SDK"))
    }

    /// The contract of the kernel that this SDK belongs to, for the crate in `folder`, with another folder for what is
    /// kept between builds.
    fn contract(&self, folder: &Path, scratch: &Path, key: Option<Key>) -> Result<Contract> {
        let records = Records { cache: scratch.join("rlibs"), installed: Some(self.root.join(LIBRARIES)) };
        let compilation = Compilation::find(&self.root)?;
        let abi = self.library("libabi-")?;
        let mut shared = records.dependencies(&abi)?;
        shared.push(records.itself("abi", &abi)?);
        let stamp = self.read(STAMP)?;
        let hash = Stamp::parse(stamp.as_bytes())?.get("crate abi").unwrap_or_default().to_owned();
        let contract = Contract {
            exports: self.read(EXPORTS)?.lines().map(str::to_owned).collect(),
            abi: self.described("abi", &hash)?,
            stamp,
            shared,
            compilation,
            key,
            folder: folder.to_owned(),
            target: self.root.join(TARGET_FILE),
            macros: self.root.join(MACROS),
            made: self.root.join(EXPORTS),
            records,
        };
        // Before rustc says it in its own words.
        lockstep::check(&contract.stamp_of(&contract.shared)?, &contract.stamp)
            .context("the compiler at hand is not the one that this SDK was made with")?;
        Ok(contract)
    }

    /// The description of a crate, with this hash.
    fn described(&self, name: &str, hash: &str) -> Result<Described> {
        let path = description(name);
        let section = std::fs::read(self.root.join(&path)).with_context(|| format!("cannot read {path} of the SDK"))?;
        Ok(Described { hash: hash.to_owned(), section })
    }

    /// The modules that others may depend on.
    fn modules(&self) -> Result<Vec<Linked>> {
        let mut modules = Vec::new();
        for line in self.read(MODULES)?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, hash, file] = words[..] else { bail!("{MODULES} of the SDK has the line {line:?}") };
            let rlib = self.root.join(LIBRARIES).join(file);
            let interface = Some(self.described(name, hash)?);
            modules.push(Linked { name: name.to_owned(), object: rlib.clone(), rlib, interface });
        }
        Ok(modules)
    }
}

/// Builds the crate in a folder and links it.
fn build(sdk: &Sdk, folder: &Path, key: Option<Key>) -> Result<()> {
    let package = cargo::package(folder)?;
    let scratch = package.target.join("lockstep");
    let is_signed = key.is_some();
    let contract = sdk.contract(folder, &scratch, key)?;
    let mut modules = sdk.modules()?;

    let mut flags: Vec<String> = cargo::RUSTFLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.push(format!("--sysroot={}", sdk.root.display()));
    flags.push(format!("--extern=abi={}", sdk.library("libabi-")?.display()));
    flags.push(format!("-Ldependency={}", sdk.root.join(MACROS).display()));
    for module in &modules {
        flags.push(format!("--extern={}={}", module.name.replace('-', "_"), module.rlib.display()));
    }
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(["build", "--release", "--lib", "-Zjson-target-spec", "--target"]);
    command.arg(sdk.root.join(TARGET_FILE)).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command.args(["--config", "profile.release.panic='unwind'", "--config", "profile.release.lto=false"]);
    let libraries = cargo::libraries(&mut command)?;
    let library = libraries.iter().find(|library| library.manifest == package.manifest);
    let library = library.context("cargo built no library: a module is a crate with src/lib.rs")?;

    let own_abi = contract.records.dependencies(&library.path)?.into_iter().find(|other| other.name == "abi");
    ensure!(
        own_abi.is_none_or(|own| contract.shared.last().is_some_and(|abi| abi.path == own.path)),
        "the crate has an abi of its own: it comes with the SDK and needs no entry in Cargo.toml"
    );
    // Libraries that it depends on become modules of their own. Cargo names them in the order of their dependencies.
    for library in &libraries {
        let is_last = library.manifest == package.manifest;
        if !is_last && declared(&library.path, "library")?.is_none() {
            continue;
        }
        let name = declared(&library.path, "name")?.unwrap_or_else(|| package.name.clone());
        let object = scratch.join(format!("{name}.o"));
        // It may have been signed with another key, or with none.
        if object.exists() {
            std::fs::remove_file(&object)?;
        }
        let full = scratch.join("debug").join(format!("{name}.o"));
        modules.push(contract.link(&name, library, &modules, &full, &object)?);
        println!("{}", object.display());
    }
    if !is_signed {
        eprintln!("note: it isn't signed, and a kernel that enforces signatures refuses it (--key signs)");
    }
    Ok(())
}

/// Puts modules into an archive.
fn add(path: &Path, modules: &[&str]) -> Result<()> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut contents = archive::files(&bytes).with_context(|| format!("cannot read {}", path.display()))?;
    for module in modules {
        let name = module.strip_suffix(".o").map(Path::new).and_then(Path::file_name);
        let name = name.with_context(|| format!("{module} is no module: the name of one ends with .o"))?;
        let object = std::fs::read(module).with_context(|| format!("cannot read {module}"))?;
        ensure!(object.starts_with(b"\x7fELF"), "{module} is no ELF file");
        contents.insert(archive::path(&name.to_string_lossy()), object);
    }
    files::write(path, &archive::pack(&contents)?)
}
