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
    let modules = workspace.module_crates(&["drivers", "services"])?;
    let libraries = build_libraries(workspace, &modules)?;
    let kernel = Kernel::read(workspace, &libraries)?;
    files::update(&kernel.exports_source, exports::source(&kernel.exports, &kernel.stamp)?.as_bytes())?;
    let (executable, kernel_libraries) = workspace.link_kernel(&kernel.exports_source)?;
    check_same_libraries(&libraries, &kernel_libraries)?;
    pack_kernel(workspace, &executable)?;
    kernel.link_modules(&modules, &libraries, "modules")?;
    pack_modules(workspace, &modules)
}

/// Builds the modules that only tests load, `out/test-modules/*.o`. The kernel that [`build`] has left knows nothing of
/// them: they are modules as from another tree.
pub fn build_test_modules(workspace: &Workspace) -> Result<()> {
    let modules = workspace.module_crates(&["tests"])?;
    let libraries = build_libraries(workspace, &modules)?;
    Kernel::read(workspace, &libraries)?.link_modules(&modules, &libraries, "test-modules")
}

fn build_libraries(workspace: &Workspace, modules: &[ModuleCrate]) -> Result<Vec<Library>> {
    let modules = modules.iter().map(|module| module.package.as_str());
    workspace.build_libraries(["abi", "kernel"].into_iter().chain(modules))
}

/// The library of the package with this Cargo.toml.
fn library<'l>(libraries: &'l [Library], manifest: &Path) -> Result<&'l Path> {
    let found = libraries.iter().find(|library| library.manifest == manifest);
    Ok(&found.with_context(|| format!("cargo built no library of {}", manifest.display()))?.path)
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

/// What modules are linked for.
struct Kernel<'w> {
    workspace: &'w Workspace,
    /// The crates that exist once, in the kernel, for it and all modules: `abi` and all that it is made of.
    shared: Vec<Dependency>,
    compilation: Compilation,
    stamp: String,
    exports: BTreeSet<String>,
    /// Where the Rust source of the export table and the stamp is.
    exports_source: PathBuf,
}

impl<'w> Kernel<'w> {
    fn read(workspace: &'w Workspace, libraries: &[Library]) -> Result<Self> {
        let abi = library(libraries, &workspace.root.join("abi/Cargo.toml"))?;
        let kernel = library(libraries, &workspace.root.join("kernel/Cargo.toml"))?;
        let kernel_dependencies = rlib::dependencies(kernel, &records(workspace))?;
        let its_abi = kernel_dependencies.iter().find(|dependency| dependency.path == abi);
        let its_abi =
            its_abi.context("the kernel was not compiled against the abi that modules are compiled against")?;
        let mut shared = rlib::dependencies(abi, &records(workspace))?;
        shared.push(its_abi.clone());
        let compilation = Compilation::find(&workspace.root)?;
        Ok(Self {
            workspace,
            stamp: compilation.stamp(&shared, &kernel_dependencies)?,
            exports: exports::choose(&rlib::global_symbols(kernel)?, &shared)?,
            shared,
            compilation,
            exports_source: workspace.scratch().join("exports.rs"),
        })
    }

    /// Links modules into a folder of `out/`, and without debugging information into the same folder of the build's.
    fn link_modules(&self, modules: &[ModuleCrate], libraries: &[Library], folder: &str) -> Result<()> {
        for module in modules {
            let rlib = library(libraries, &module.manifest)?;
            let file = format!("{folder}/{}.o", module.name);
            self.link(rlib, &self.workspace.out().join(&file), &self.workspace.scratch().join(&file))
                .with_context(|| format!("cannot link module {}", module.name))?;
        }
        Ok(())
    }

    /// Links a module from its own crate and the crates that it does not share with the kernel.
    fn link(&self, rlib: &Path, full: &Path, stripped: &Path) -> Result<()> {
        let dependencies = rlib::dependencies(rlib, &records(self.workspace))?;
        let stamp = self.compilation.stamp(&self.shared, &dependencies)?;
        lockstep::check(&stamp, &self.stamp)?;

        let shared = |dependency: &Dependency| self.shared.iter().any(|shared| shared.path == dependency.path);
        let mut inputs = vec![(rlib, true)];
        for dependency in &dependencies {
            let standard = STANDARD.contains(&dependency.name.as_str());
            if standard || !shared(dependency) {
                inputs.push((&dependency.path, !standard));
            }
        }
        let this_program = std::env::current_exe()?;
        let reasons = inputs.iter().map(|(path, _)| *path).chain([self.exports_source.as_path(), &this_program]);
        if !files::outdated(stripped, reasons)? {
            return Ok(());
        }
        eprintln!("     Linking {}", full.strip_prefix(&self.workspace.root).unwrap_or(full).display());
        let mut archives = Vec::new();
        for (path, own) in inputs {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            archives.push(Archive { name, data: std::fs::read(path)?, own });
        }
        let linked = merge::link(&archives, &self.exports, &stamp)?;
        files::write(full, &linked.full)?;
        files::write(stripped, &linked.stripped)
    }
}

/// Where the compiler's records of the libraries are kept.
fn records(workspace: &Workspace) -> PathBuf {
    workspace.scratch().join("rlibs")
}

/// Packs the modules and the index of what they claim into the initramfs, and removes what is left of former modules.
fn pack_modules(workspace: &Workspace, modules: &[ModuleCrate]) -> Result<()> {
    let mut archive = initramfs::Writer::default();
    let mut claims = Vec::new();
    let mut objects = BTreeMap::new();
    for module in modules {
        objects.insert(
            module.name.as_str(),
            std::fs::read(workspace.scratch().join(format!("modules/{}.o", module.name)))?,
        );
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
