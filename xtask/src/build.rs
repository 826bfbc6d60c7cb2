//! `x build`: from the tree to `out/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use initramfs::{INDEX_PATH, SERVICE};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};

use crate::cargo::{Library, ModuleCrate, Workspace};
use crate::exports::{self, STANDARD};
use crate::lockstep::{self, Compilation};
use crate::merge::{self, Archive};
use crate::rlib::{self, Dependency};
use crate::{files, image};

/// Builds everything that is not up to date: `out/kernel.elf`, `out/kernel.img`, `out/modules/*.o` and
/// `out/initramfs.cpio`.
pub fn build(workspace: &Workspace) -> Result<()> {
    let modules = workspace.module_crates()?;
    let packages = ["abi", "kernel"].into_iter().chain(modules.iter().map(|module| module.package.as_str()));
    let libraries = workspace.build_libraries(packages)?;
    let records = workspace.scratch().join("rlibs");
    let library = |manifest: &Path| {
        let found = libraries.iter().find(|library| library.manifest == manifest);
        found
            .map(|library| library.path.clone())
            .with_context(|| format!("cargo built no library of {}", manifest.display()))
    };

    let abi = library(&workspace.root.join("abi/Cargo.toml"))?;
    let kernel = library(&workspace.root.join("kernel/Cargo.toml"))?;
    let kernel_dependencies = rlib::dependencies(&kernel, &records)?;
    let shared = shared_crates(&abi, &rlib::dependencies(&abi, &records)?, &kernel_dependencies)?;
    let compilation = Compilation::find(&workspace.root)?;
    let stamp = compilation.stamp(&shared, &kernel_dependencies)?;

    let exports = exports::choose(&rlib::global_symbols(&kernel)?, &shared)?;
    let exports_source = workspace.scratch().join("exports.rs");
    files::update(&exports_source, exports::source(&exports, &stamp)?.as_bytes())?;
    let (executable, kernel_libraries) = workspace.link_kernel(&exports_source)?;
    check_same_libraries(&libraries, &kernel_libraries)?;
    pack_kernel(workspace, &executable)?;

    let linker = ModuleLinker { workspace, shared, compilation, stamp, exports, records };
    for module in &modules {
        let rlib = library(&module.manifest)?;
        linker.link(module, &rlib, &exports_source).with_context(|| format!("cannot link module {}", module.name))?;
    }
    pack_modules(workspace, &modules)
}

/// The crates that exist once, in the kernel, for it and all modules: `abi` and all that it is made of.
fn shared_crates(abi: &Path, abi_dependencies: &[Dependency], kernel: &[Dependency]) -> Result<Vec<Dependency>> {
    let abi = kernel.iter().find(|dependency| dependency.path == abi);
    let abi = abi.context("the kernel was not compiled against the abi that modules are compiled against")?;
    Ok(abi_dependencies.iter().chain([abi]).cloned().collect())
}

/// Fails when the kernel's link used another library than the modules do. Cargo would build a crate a second time when
/// a module asks for a feature of it that the kernel doesn't ask for.
fn check_same_libraries(modules: &[Library], kernel: &[Library]) -> Result<()> {
    for library in kernel {
        let mut same_crate = modules.iter().filter(|other| other.manifest == library.manifest).peekable();
        ensure!(
            same_crate.peek().is_none() || same_crate.any(|other| other.path == library.path),
            "the kernel was linked with {}, which is not what modules were built against: does a module ask for a \
             feature of that crate that the kernel does not ask for? Then abi should ask for it",
            library.path.display()
        );
    }
    Ok(())
}

fn pack_kernel(workspace: &Workspace, executable: &Path) -> Result<()> {
    let out = workspace.out();
    let (elf, img) = (out.join("kernel.elf"), out.join("kernel.img"));
    let this_program = std::env::current_exe()?;
    if files::outdated(&img, [executable, &this_program])? {
        let contents = std::fs::read(executable)?;
        files::write(&img, &image::pack(&contents)?)?;
        files::write(&elf, &contents)?;
    }
    Ok(())
}

struct ModuleLinker<'w> {
    workspace: &'w Workspace,
    shared: Vec<Dependency>,
    compilation: Compilation,
    stamp: String,
    exports: BTreeSet<String>,
    records: PathBuf,
}

impl ModuleLinker<'_> {
    /// Links a module from its own crate and the crates that it does not share with the kernel.
    fn link(&self, module: &ModuleCrate, rlib: &Path, exports_source: &Path) -> Result<()> {
        let (full, stripped) = (full_path(self.workspace, module), stripped_path(self.workspace, module));
        let dependencies = rlib::dependencies(rlib, &self.records)?;
        let stamp = self.compilation.stamp(&self.shared, &dependencies)?;
        lockstep::check(&stamp, &self.stamp)?;

        let shared = |dependency: &Dependency| self.shared.iter().any(|shared| shared.name == dependency.name);
        let standard = |dependency: &Dependency| STANDARD.contains(&dependency.name.as_str());
        let own =
            dependencies.iter().filter(|dependency| !shared(dependency)).map(|dependency| (&*dependency.path, true));
        let library =
            dependencies.iter().filter(|dependency| standard(dependency)).map(|dependency| (&*dependency.path, false));
        let inputs: Vec<(&Path, bool)> = [(rlib, true)].into_iter().chain(own).chain(library).collect();

        let this_program = std::env::current_exe()?;
        let reasons = inputs.iter().map(|(path, _)| *path).chain([exports_source, &this_program]);
        if !files::outdated(&stripped, reasons)? {
            return Ok(());
        }
        eprintln!("     Linking module {}", module.name);
        let mut archives = Vec::new();
        for (path, own) in inputs {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archives.push(Archive { name, data: std::fs::read(path)?, own });
        }
        let linked = merge::link(&archives, &self.exports, &stamp)?;
        files::write(&full, &linked.full)?;
        files::write(&stripped, &linked.stripped)
    }
}

fn full_path(workspace: &Workspace, module: &ModuleCrate) -> PathBuf {
    workspace.out().join(format!("modules/{}.o", module.name))
}

fn stripped_path(workspace: &Workspace, module: &ModuleCrate) -> PathBuf {
    workspace.scratch().join(format!("modules/{}.o", module.name))
}

/// Packs the modules and the index of what they claim into the initramfs, and removes what is left of former modules.
fn pack_modules(workspace: &Workspace, modules: &[ModuleCrate]) -> Result<()> {
    let mut archive = initramfs::Writer::default();
    let mut claims = Vec::new();
    let mut objects = BTreeMap::new();
    for module in modules {
        objects.insert(module.name.as_str(), std::fs::read(stripped_path(workspace, module))?);
    }
    for (name, object) in &objects {
        claims.extend(claims_of(object)?.map(|claim| (claim, *name)));
    }
    archive.file(INDEX_PATH, initramfs::write_index(claims).as_bytes())?;
    for (name, object) in &objects {
        archive.file(&format!("modules/{name}.o"), object)?;
    }
    files::update(&workspace.out().join("initramfs.cpio"), &archive.finish())?;
    for file in workspace.out().join("modules").read_dir()? {
        let path = file?.path();
        let module = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !objects.contains_key(module.as_str()) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What a module claims, by its `.modinfo`: `compatible` strings, or to be a service.
fn claims_of(object: &[u8]) -> Result<impl Iterator<Item = &str>> {
    let elf = ElfFile64::<LittleEndian>::parse(object)?;
    let information = elf.section_by_name(".modinfo").context("the module has no section .modinfo")?.data()?;
    let entries = std::str::from_utf8(information)?.split('\0');
    Ok(entries.filter_map(|entry| match entry.split_once('=') {
        Some(("compatible", compatible)) => Some(compatible),
        Some(("service", _)) => Some(SERVICE),
        _ => None,
    }))
}
