//! What modules are linked for: the crates that they share with the kernel, what the kernel exports, and the stamp.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};
use stamp::description;

use crate::cargo::{Library, TARGET_FILE, Workspace};
use crate::describe::{self, Described, Settings};
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
    /// The description of `abi`, which is the last of the shared crates.
    pub abi: Described,
    /// What modules are signed with, if they are.
    pub key: Option<Key>,
    /// The folder that cargo calls rustc in.
    pub folder: PathBuf,
    /// The file that describes the target.
    pub target: PathBuf,
    /// Where the procedural macros are that the libraries use.
    pub macros: PathBuf,
    /// What else a module depends on: when this file is newer, the module is linked again.
    pub made: PathBuf,
    /// What the compiler recorded of the libraries.
    pub records: Records,
}

/// A module that has been linked.
pub struct Linked {
    /// Its name.
    pub name: String,
    /// The library that it was linked from.
    pub rlib: PathBuf,
    /// The object file that is loaded, without debugging information.
    pub object: PathBuf,
    /// What other modules are linked against, if this one is for that.
    pub interface: Option<Described>,
}

impl Contract {
    /// The contract of a kernel that is being built, given its library and that of `abi`.
    ///
    /// # Errors
    ///
    /// When the kernel was not compiled against that `abi`.
    pub fn of_kernel(workspace: &Workspace, kernel: &Library, abi: &Library) -> Result<Self> {
        let records = Records { cache: workspace.scratch().join("rlibs"), installed: None };
        let compilation = Compilation::find(&workspace.root)?;
        let kernel_dependencies = records.dependencies(&kernel.path)?;
        let its_abi = kernel_dependencies.iter().find(|dependency| dependency.path == abi.path);
        let its_abi =
            its_abi.context("the kernel was not compiled against the abi that modules are compiled against")?.clone();
        let mut contract = Self {
            shared: records.dependencies(&abi.path)?,
            abi: Described { hash: String::new(), section: Vec::new() },
            exports: BTreeSet::new(),
            stamp: String::new(),
            compilation,
            key: Some(Key::development(&workspace.root)?),
            folder: workspace.root.clone(),
            target: workspace.root.join(TARGET_FILE),
            macros: workspace.macros(),
            made: workspace.scratch().join("contract.rs"),
            records,
        };
        contract.abi = contract.describe(abi, &contract.shared)?;
        contract.shared.push(its_abi);
        contract.stamp = contract.stamp_of(&kernel_dependencies)?;
        contract.exports = exports::choose(&rlib::global_symbols(&kernel.path)?, &contract.shared)?;
        Ok(contract)
    }

    fn describe(&self, library: &Library, dependencies: &[Dependency]) -> Result<Described> {
        let Library { path, edition, features, .. } = library;
        let compiled = describe::Compiled { rlib: path, edition, features, dependencies };
        let (folder, target, macros, cache) = (&self.folder, &self.target, &self.macros, &self.records.cache);
        describe::describe(&compiled, &Settings { folder, target, macros, cache })
    }

    /// The stamp of what was compiled against `dependencies`. For `abi` it has the hash of the description, since rustc's
    /// own changes with every comment; but only of the very `abi` that was described.
    pub fn stamp_of(&self, dependencies: &[Dependency]) -> Result<String> {
        let mut dependencies = dependencies.to_vec();
        if let Some(described) = self.shared.last() {
            for dependency in dependencies.iter_mut().filter(|dependency| **dependency == *described) {
                dependency.hash.clone_from(&self.abi.hash);
            }
        }
        self.compilation.stamp(&self.shared, &dependencies)
    }

    /// The Rust source of all that the kernel has to know of it.
    ///
    /// # Errors
    ///
    /// When a symbol is exported twice.
    pub fn source(&self) -> Result<String> {
        // Without a key the kernel has none that it could trust.
        let key = self.key.as_ref().map_or([0; 32], Key::public);
        let tables = exports::source(&self.exports, &self.stamp)?;
        Ok(format!(
            "{tables}\n\
             pub static CONTRACT: kernel::Contract = kernel::Contract {{\n    \
             exports: &EXPORTS,\n    stamp: STAMP,\n    abi: b\"{}\",\n    key: {key:?},\n}};\n",
            self.abi.section.escape_ascii()
        ))
    }

    /// Links the module `name` from its own crate and the crates that it shares neither with the kernel nor with the modules
    /// `others`, of which it may depend on those that are libraries. The outcome, signed, goes to `full` with
    /// debugging information and to `object` without, unless that is up to date.
    ///
    /// # Errors
    ///
    /// When the module was not compiled against this contract, depends on a module that exports nothing, or
    /// [`merge::link`] refuses it.
    pub fn link(&self, name: &str, library: &Library, others: &[Linked], full: &Path, object: &Path) -> Result<Linked> {
        let rlib = &library.path;
        ensure!(
            declared(rlib, "name")?.is_some(),
            "its crate declares no module: that takes abi::driver!, abi::service! or abi::library!"
        );
        let dependencies = self.records.dependencies(rlib)?;
        let stamp = self.stamp_of(&dependencies)?;
        lockstep::check(&stamp, &self.stamp)?;

        let is_shared = |dependency: &Dependency| self.shared.iter().any(|shared| shared.path == dependency.path);
        let mut inputs = vec![(rlib.as_path(), true)];
        let mut needs = Vec::new();
        let mut own = Vec::new();
        for dependency in &dependencies {
            let is_standard = STANDARD.contains(&dependency.name.as_str());
            if let Some(other) = others.iter().find(|other| other.rlib == dependency.path) {
                let Some(interface) = &other.interface else {
                    bail!("it uses the crate of module {}, which exports nothing: that takes abi::library!", other.name)
                };
                own.push((&dependency.name, &interface.hash));
                needs.push((other, interface));
            } else if is_standard || !is_shared(dependency) {
                inputs.push((&dependency.path, !is_standard));
                own.push((&dependency.name, &dependency.hash));
            }
        }
        let mut linked =
            Linked { name: name.to_owned(), rlib: rlib.clone(), object: object.to_owned(), interface: None };
        if declared(rlib, "library")?.is_some() {
            // What it says is made of its own crate and of those that it got its types from.
            let mut interface = self.describe(library, &dependencies)?;
            interface.hash = describe::hash(&format!("{} {own:?}", interface.hash));
            linked.interface = Some(interface);
        }
        let this_program = std::env::current_exe()?;
        let reasons = inputs.iter().map(|(path, _)| *path).chain([self.made.as_path(), &this_program]);
        if !files::outdated(object, reasons.chain(needs.iter().map(|(other, _)| other.object.as_path())))? {
            return Ok(linked);
        }
        for (path, _) in inputs.iter().skip(1).filter(|(_, is_own)| *is_own) {
            if let Some(other) = declared(path, "name")? {
                bail!("it uses the crate of module {other}, which exports nothing: that takes abi::library!");
            }
        }
        eprintln!("     Linking {}", full.file_name().unwrap_or_default().display());

        let mut imports = BTreeSet::new();
        let mut information = Vec::new();
        let mut notes = vec![
            (stamp::SECTION.to_owned(), stamp.as_bytes()),
            (description::SECTION.to_owned(), self.abi.section.as_slice()),
        ];
        for (other, interface) in needs {
            imports.extend(exports_of(&other.rlib)?);
            information.push(("depends", format!("{} {}", other.name, interface.hash)));
            notes.push((description::section_of_library(&other.name), interface.section.as_slice()));
        }
        let mut exported = BTreeSet::new();
        if let Some(interface) = &linked.interface {
            exported = exports_of(rlib)?;
            information.push(("interface", interface.hash.clone()));
            notes.push((description::section_of_library(name), interface.section.as_slice()));
        }
        let archive = |(path, own): (&Path, bool)| -> Result<Archive> {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let data = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Archive { name, data, own })
        };
        let module = merge::link(&Request {
            archives: &inputs.into_iter().map(archive).collect::<Result<Vec<_>>>()?,
            is_imported: &|name| self.exports.contains(name) || imports.contains(name),
            exports: &exported,
            information: &information,
            notes: &notes,
        })?;
        files::write(full, &self.signed(module.full))?;
        files::write(object, &self.signed(module.stripped))?;
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

/// What a crate that declares a module says of it under a key: `name`, or `library` if it is for other modules.
pub fn declared(rlib: &Path, key: &str) -> Result<Option<String>> {
    let contents = std::fs::read(rlib).with_context(|| format!("cannot read {}", rlib.display()))?;
    for (_, object) in rlib::objects(&contents)? {
        if let Some((_, value)) = information_of(object)?.find(|(found, _)| *found == key) {
            return Ok(Some(value.to_owned()));
        }
    }
    Ok(None)
}

/// What a module says of itself: the keys and values in its `.modinfo`.
pub fn information_of(object: &[u8]) -> Result<impl Iterator<Item = (&str, &str)>> {
    let elf = ElfFile64::<LittleEndian>::parse(object)?;
    let information = elf.section_by_name(".modinfo").map(|section| section.data()).transpose()?.unwrap_or_default();
    Ok(std::str::from_utf8(information)?.split('\0').filter_map(|entry| entry.split_once('=')))
}
