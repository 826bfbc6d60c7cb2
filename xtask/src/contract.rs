//! What modules are linked for: the crates that they share with the kernel, what the kernel exports, and the stamp.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};

use crate::cargo::Workspace;
use crate::exports::{self, STANDARD};
use crate::files;
use crate::lockstep::{self, Compilation};
use crate::merge::{self, Archive, Request};
use crate::rlib::{self, Dependency, Records};
use crate::sign::Key;

/// A kernel, as those see it who link modules for it.
pub struct Contract {
    /// The crates that exist once, in the kernel, for it and all modules: `abi` and all that it is made of.
    pub shared: Vec<Dependency>,
    /// How the kernel and its modules are compiled.
    pub compilation: Compilation,
    /// The kernel's stamp.
    pub stamp: String,
    /// The symbols that the kernel exports.
    pub exports: BTreeSet<String>,
    /// What modules are signed with, if they are.
    pub key: Option<Key>,
    /// What else a module depends on: when this file is newer, the module is linked again.
    pub made: PathBuf,
    /// What the compiler recorded of the libraries.
    pub records: Records,
}

/// A crate that becomes a module.
pub struct Crate<'a> {
    /// The module's name.
    pub name: &'a str,
    /// Its library.
    pub rlib: &'a Path,
}

/// A module that has been linked.
pub struct Linked {
    /// Its name.
    pub name: String,
    /// The library that it was linked from.
    pub rlib: PathBuf,
    /// The object file that is loaded, without debugging information.
    pub object: PathBuf,
    /// Whether other modules may be linked against it.
    pub is_library: bool,
}

impl Linked {
    /// What has been made of a crate.
    ///
    /// # Errors
    ///
    /// When its library can't be read.
    pub fn new(module: &Crate<'_>, object: &Path) -> Result<Self> {
        let (name, rlib, object) = (module.name.to_owned(), module.rlib.to_owned(), object.to_owned());
        Ok(Self { is_library: is_library(&rlib)?, name, rlib, object })
    }
}

impl Contract {
    /// The contract of a kernel that is being built, given its library and that of `abi`.
    ///
    /// # Errors
    ///
    /// When the kernel was not compiled against that `abi`.
    pub fn of_kernel(workspace: &Workspace, kernel: &Path, abi: &Path) -> Result<Self> {
        let records = Records { cache: workspace.scratch().join("rlibs"), installed: None };
        let compilation = Compilation::find(&workspace.root)?;
        let kernel_dependencies = records.dependencies(kernel)?;
        let its_abi = kernel_dependencies.iter().find(|dependency| dependency.path == abi);
        let its_abi =
            its_abi.context("the kernel was not compiled against the abi that modules are compiled against")?;
        let mut shared = records.dependencies(abi)?;
        shared.push(its_abi.clone());
        Ok(Self {
            stamp: compilation.stamp(&shared, &kernel_dependencies)?,
            exports: exports::choose(&rlib::global_symbols(kernel)?, &shared)?,
            shared,
            compilation,
            key: Some(Key::development(&workspace.root)?),
            made: workspace.scratch().join("contract.rs"),
            records,
        })
    }

    /// The Rust source of all that the kernel has to know of it.
    ///
    /// # Errors
    ///
    /// When a symbol is exported twice.
    pub fn source(&self) -> Result<String> {
        // Without a key the kernel has none that it could trust.
        let key = self.key.as_ref().map_or([0; 32], Key::public);
        exports::source(&self.exports, &self.stamp, &key)
    }

    /// Links a module from its own crate and the crates that it shares neither with the kernel nor with the modules
    /// `others`, of which it may depend on those that are libraries. The outcome, signed, goes to `full` with
    /// debugging information and to `stripped` without, unless that is up to date.
    ///
    /// # Errors
    ///
    /// When the module was not compiled against this contract, depends on a module that exports nothing, or
    /// [`merge::link`] refuses it.
    pub fn link(&self, module: &Crate<'_>, others: &[Linked], full: &Path, stripped: &Path) -> Result<Linked> {
        let dependencies = self.records.dependencies(module.rlib)?;
        let stamp = self.compilation.stamp(&self.shared, &dependencies)?;
        lockstep::check(&stamp, &self.stamp)?;

        let shared = |dependency: &Dependency| self.shared.iter().any(|shared| shared.path == dependency.path);
        let mut inputs = vec![(module.rlib, true)];
        let mut libraries = Vec::new();
        for dependency in &dependencies {
            let standard = STANDARD.contains(&dependency.name.as_str());
            if let Some(library) = others.iter().find(|library| library.rlib == dependency.path) {
                libraries.push((library, dependency));
            } else if standard || !shared(dependency) {
                inputs.push((&dependency.path, !standard));
            }
        }
        let linked = Linked::new(module, stripped)?;
        let this_program = std::env::current_exe()?;
        let reasons = inputs.iter().map(|(path, _)| *path).chain([self.made.as_path(), &this_program]);
        if !files::outdated(stripped, reasons.chain(libraries.iter().map(|(library, _)| library.object.as_path())))? {
            return Ok(linked);
        }
        eprintln!("     Linking {}", full.file_name().unwrap_or_default().display());

        let mut imports = Vec::new();
        let mut information = Vec::new();
        for (library, dependency) in libraries {
            ensure!(
                library.is_library,
                "it uses the crate of module {}, which exports nothing: that takes abi::library!",
                library.name
            );
            imports.extend(exports_of(&library.rlib)?);
            information.push(("depends", format!("{} {}", library.name, dependency.hash)));
        }
        let archive = |(path, own): (&Path, bool)| -> Result<Archive> {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let data = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Archive { name, data, own })
        };
        let archives = inputs.into_iter().map(archive).collect::<Result<Vec<_>>>()?;
        let mut exported = BTreeSet::new();
        if linked.is_library {
            information.push(("interface", self.records.hash(module.rlib)?));
            exported = exports_of(module.rlib)?;
        }
        let imports: BTreeSet<String> = imports.into_iter().collect();
        let module = merge::link(&Request {
            archives: &archives,
            is_imported: &|name| self.exports.contains(name) || imports.contains(name),
            exports: &exported,
            information: &information,
            notes: &[(stamp::SECTION, stamp.as_bytes())],
        })?;
        files::write(full, &self.signed(module.full))?;
        files::write(stripped, &self.signed(module.stripped))?;
        Ok(linked)
    }

    fn signed(&self, object: Vec<u8>) -> Vec<u8> {
        self.key.as_ref().map_or_else(|| object.clone(), |key| key.sign(&object))
    }
}

/// The symbols that a library exports: all that its own crate defines for others.
fn exports_of(rlib: &Path) -> Result<BTreeSet<String>> {
    let symbols = rlib::global_symbols(rlib)?.into_iter();
    Ok(symbols.filter(|symbol| symbol.defined && symbol.name != merge::ROOT).map(|symbol| symbol.name).collect())
}

/// Whether a crate declares itself to be a library of other modules.
fn is_library(rlib: &Path) -> Result<bool> {
    let contents = std::fs::read(rlib).with_context(|| format!("cannot read {}", rlib.display()))?;
    for (_, object) in rlib::objects(&contents)? {
        if information_of(object)?.any(|(key, _)| key == "library") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a module says of itself: the keys and values in its `.modinfo`.
pub fn information_of(object: &[u8]) -> Result<impl Iterator<Item = (&str, &str)>> {
    let elf = ElfFile64::<LittleEndian>::parse(object)?;
    let information = elf.section_by_name(".modinfo").map(|section| section.data()).transpose()?.unwrap_or_default();
    Ok(std::str::from_utf8(information)?.split('\0').filter_map(|entry| entry.split_once('=')))
}
