//! Compiles crates against other crates, and links modules of them, each with flags of its own.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use crate::cargo::{Library, RUSTFLAGS, TARGET_FILE, Workspace};
use crate::describe::{self, Compiled, Described, Settings};
use crate::exports::{self, STANDARD};
use crate::lockstep::Compilation;
use crate::merge::{self, Archive, Request};
use crate::rlib::{self, Dependency, Records};

/// What `[profile.release]` has cargo pass to rustc, as far as it changes code.
const PROFILE: [&str; 2] = ["-Copt-level=2", "-Ccodegen-units=1"];

/// What all experiments have in common: the compiler, and the libraries of the last build.
pub struct Workshop<'w> {
    pub workspace: &'w Workspace,
    pub linker: String,
    folder: PathBuf,
    libraries: Vec<Library>,
    compilation: Compilation,
}

/// A crate that a kernel and its modules share, and what is compiled against it, in a folder of their own.
pub struct Shared<'w> {
    pub workshop: &'w Workshop<'w>,
    pub folder: PathBuf,
    /// The crate itself.
    pub own: Dependency,
    /// All crates that are shared: this one, and what it was compiled against.
    pub all: Vec<Dependency>,
    /// The stamp of whatever is compiled against it.
    pub stamp: String,
    /// What modules say of it, packed.
    pub description: Option<Vec<u8>>,
}

/// A module that was linked.
#[derive(Clone)]
pub struct Module {
    pub name: String,
    pub object: Vec<u8>,
}

impl<'w> Workshop<'w> {
    /// Begins with an empty folder.
    pub fn new(workspace: &'w Workspace) -> Result<Self> {
        let folder = workspace.root.join("target/experiments");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        // With the modules, so that what the last build left is fresh.
        let modules = workspace.module_crates(&["drivers", "services"])?;
        let packages = ["abi", "kernel"].into_iter().chain(modules.iter().map(|module| module.package.as_str()));
        let libraries = workspace.build_libraries(packages)?;
        let cargo = workspace.target_cargo("rustc");
        let linker = cargo.get_envs().find(|(key, _)| *key == "CARGO_TARGET_AARCH64_KERNEL_LINKER");
        let linker = linker.and_then(|(_, value)| value).context("cargo is told no linker")?.display().to_string();
        Ok(Self { workspace, linker, folder, libraries, compilation: Compilation::find(&workspace.root)? })
    }

    /// A folder in which rustc finds the libraries of the last build.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        for library in &self.libraries {
            symlink(&library.path, folder.join(library.path.file_name().context("a library has a name")?))?;
        }
        Ok(folder)
    }

    /// A library of the last build as such a folder has it, by the name of its crate.
    pub fn library(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let start = format!("lib{name}-");
        let mut files = self.libraries.iter().filter_map(|library| library.path.file_name()?.to_str());
        let file = files.find(|file| file.starts_with(&start));
        Ok(folder.join(file.with_context(|| format!("the build has no library of {name}"))?))
    }

    /// rustc for a crate of this target, with the flags that everything is compiled with and the crates that everything
    /// uses. What comes out is called by the crate's name, a hyphen, and `variant`.
    pub fn rustc(&self, folder: &Path, crate_name: &str, variant: &str) -> Result<Command> {
        let mut rustc = Command::new("rustc");
        rustc.current_dir(&self.workspace.root);
        rustc.args(["--edition=2024", "--cap-lints=allow", "-Zunstable-options", "--target", TARGET_FILE]);
        rustc.args(RUSTFLAGS).args(PROFILE);
        rustc.args(["--crate-name", crate_name, &format!("-Cextra-filename=-{variant}")]);
        rustc.arg("--out-dir").arg(folder).arg("-L").arg(format!("dependency={}", folder.display()));
        for name in STANDARD {
            let path = self.library(folder, name)?;
            rustc.arg(format!("--extern=noprelude,nounused:{name}={}", path.display()));
        }
        Ok(rustc)
    }

    /// Describes an `abi` that was compiled into such a folder.
    pub fn describe(&self, folder: &Path, rlib: &Path) -> Result<Described> {
        let dependencies = records(folder).dependencies(rlib)?;
        // What rustc noted of its source is beside the library itself.
        let rlib = rlib.canonicalize().with_context(|| format!("cannot find {}", rlib.display()))?;
        let compiled = Compiled { rlib: &rlib, edition: "2024", features: &[], dependencies: &dependencies };
        let root = &self.workspace.root;
        let (target, macros) = (root.join(TARGET_FILE), self.workspace.macros());
        describe::describe(&compiled, &Settings { folder: root, target: &target, macros: &macros, cache: folder })
    }

    /// Shares a crate that was compiled into such a folder. `hash` stands for it in stamps.
    pub fn share(&'w self, folder: PathBuf, crate_name: &str, rlib: PathBuf, hash: String) -> Result<Shared<'w>> {
        let mut all = records(&folder).dependencies(&rlib)?;
        let own = Dependency { name: crate_name.to_owned(), hash, path: rlib };
        all.push(own.clone());
        let stamp = self.compilation.stamp(&all, &all)?;
        Ok(Shared { workshop: self, folder, own, all, stamp, description: None })
    }
}

impl Shared<'_> {
    /// rustc for a crate that uses this one.
    pub fn rustc(&self, crate_name: &str, variant: &str) -> Result<Command> {
        let mut rustc = self.workshop.rustc(&self.folder, crate_name, variant)?;
        rustc.arg(format!("--extern={}={}", self.own.name, self.own.path.display()));
        Ok(rustc)
    }

    /// What a kernel exports to modules if this is its library.
    pub fn exports(&self, kernel: &Path) -> Result<BTreeSet<String>> {
        exports::choose(&rlib::global_symbols(kernel)?, &self.all)
    }

    /// Links a module from libraries, the first of them its own, and what it needs of the standard library.
    pub fn link(&self, name: &str, libraries: &[&Path], exports: &BTreeSet<String>, stamp: &str) -> Result<Module> {
        let standard = STANDARD.map(|name| self.workshop.library(&self.folder, name));
        let mut archives = Vec::new();
        for (path, own) in
            libraries.iter().map(|path| (Ok(path.to_path_buf()), true)).chain(standard.map(|path| (path, false)))
        {
            let path = path?;
            archives.push(Archive { name: path.display().to_string(), data: std::fs::read(path)?, own });
        }
        let mut notes = vec![(stamp::SECTION.to_owned(), stamp.as_bytes())];
        if let Some(description) = &self.description {
            notes.push((stamp::description::SECTION.to_owned(), description));
        }
        let linked = merge::link(&Request {
            archives: &archives,
            is_imported: &|name| exports.contains(name),
            exports: &BTreeSet::new(),
            information: &[],
            notes: &notes,
        });
        let linked = linked.with_context(|| format!("cannot link module {name}"))?;
        Ok(Module { name: name.to_owned(), object: linked.stripped })
    }

    /// The stamp of a library that was compiled against this one.
    pub fn stamp_of(&self, library: &Path) -> Result<String> {
        let mut dependencies = records(&self.folder).dependencies(library)?;
        for dependency in &mut dependencies {
            if dependency.path == self.own.path {
                dependency.hash.clone_from(&self.own.hash);
            }
        }
        self.workshop.compilation.stamp(&self.all, &dependencies)
    }
}

/// Runs rustc. Its error is a sentence of one line; the cause is all that rustc has printed.
pub fn compile(rustc: &mut Command) -> Result<()> {
    let output = rustc.output().context("cannot start rustc")?;
    if output.status.success() {
        return Ok(());
    }
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    let sentence = match output.status.signal() {
        Some(_) => "rustc crashes".to_owned(),
        None => {
            let first = printed.lines().find(|line| line.starts_with("error"));
            let reason = first.and_then(|line| Some(line.split_once(": ")?.1));
            format!("rustc refuses: {}", reason.unwrap_or("it doesn't say why"))
        }
    };
    Err(anyhow!(printed).context(sentence))
}

/// The compiler's records of the libraries in such a folder.
pub fn records(folder: &Path) -> Records {
    Records { cache: folder.to_owned(), installed: None }
}
