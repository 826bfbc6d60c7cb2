//! `x build`: from the tree to `out/`.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cargo::{Library, ModuleCrate, Workspace};
use crate::contract::{Contract, Linked};
use crate::{archive, files, image};

/// Builds everything that is not up to date: `out/kernel.elf`, `out/kernel.img`, `out/modules/*.o` and
/// `out/initramfs.cpio`.
pub fn build(workspace: &Workspace) -> Result<(Contract, Vec<Linked>)> {
    let modules = workspace.module_crates(&["drivers", "services"])?;
    let libraries = build_libraries(workspace, &modules)?;
    let contract = contract(workspace, &libraries)?;
    files::update(&contract.made, contract.source()?.as_bytes())?;
    let (executable, kernel_libraries) = workspace.link_kernel(&contract.made)?;
    check_same_libraries(&libraries, &kernel_libraries)?;
    pack_kernel(workspace, &executable)?;
    let linked = link_modules(workspace, &contract, &modules, &libraries, "modules")?;
    pack_modules(workspace, &linked)?;
    Ok((contract, linked))
}

/// Builds the modules that only tests load and the examples, `out/test-modules/*.o`. The kernel that [`build`] has left knows nothing of
/// them: they are modules as from another tree.
pub fn build_test_modules(workspace: &Workspace) -> Result<()> {
    let modules = workspace.module_crates(&["tests/modules", "examples"])?;
    let libraries = build_libraries(workspace, &modules)?;
    link_modules(workspace, &contract(workspace, &libraries)?, &modules, &libraries, "test-modules")?;
    Ok(())
}

/// Builds the modules that only the benchmarks load, as [`build_test_modules`] does: `out/bench-modules/*.o`.
pub fn build_bench_modules(workspace: &Workspace) -> Result<()> {
    let modules = workspace.module_crates(&["bench/modules"])?;
    let libraries = build_libraries(workspace, &modules)?;
    link_modules(workspace, &contract(workspace, &libraries)?, &modules, &libraries, "bench-modules")?;
    Ok(())
}

fn build_libraries(workspace: &Workspace, modules: &[ModuleCrate]) -> Result<Vec<Library>> {
    let modules = modules.iter().map(|module| module.package.as_str());
    workspace.build_libraries(["abi", "kernel"].into_iter().chain(modules))
}

/// The library of the package with this Cargo.toml.
fn library<'l>(libraries: &'l [Library], manifest: &Path) -> Result<&'l Library> {
    let found = libraries.iter().find(|library| library.manifest == manifest);
    found.with_context(|| format!("cargo built no library of {}", manifest.display()))
}

/// What modules are linked for, given what cargo has built.
fn contract(workspace: &Workspace, libraries: &[Library]) -> Result<Contract> {
    let kernel = library(libraries, &workspace.root.join("kernel/Cargo.toml"))?;
    let abi = library(libraries, &workspace.root.join("abi/Cargo.toml"))?;
    Contract::of_kernel(workspace, kernel, abi)
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

/// Links modules, those first that others depend on, into a folder of `out/`, and without debugging information into
/// the same folder of the build's.
fn link_modules(
    workspace: &Workspace,
    contract: &Contract,
    modules: &[ModuleCrate],
    libraries: &[Library],
    folder: &str,
) -> Result<Vec<Linked>> {
    let mut linked = Vec::new();
    for module in in_order(modules) {
        let file = format!("{folder}/{}.o", module.name);
        let (full, stripped) = (workspace.out().join(&file), workspace.scratch().join(&file));
        let library = library(libraries, &module.manifest)?;
        let result = contract.link(&module.name, library, &linked, &full, &stripped);
        linked.push(result.with_context(|| format!("cannot link module {}", module.name))?);
    }
    Ok(linked)
}

/// The modules in such an order that each comes behind those that it depends on. Cargo refuses cycles.
fn in_order(modules: &[ModuleCrate]) -> Vec<&ModuleCrate> {
    let mut ordered: Vec<&ModuleCrate> = Vec::new();
    while ordered.len() < modules.len() {
        let waits = |module: &ModuleCrate| {
            let other = |name: &String| modules.iter().any(|other| other.name == *name);
            module.dependencies.iter().any(|name| other(name) && !ordered.iter().any(|done| done.name == *name))
        };
        let done = |module: &ModuleCrate| ordered.iter().any(|other| other.name == module.name);
        let Some(next) = modules.iter().find(|module| !done(module) && !waits(module)) else { break };
        ordered.push(next);
    }
    ordered
}

/// Packs the modules and the index of what they claim into the initramfs, and removes what is left of former modules.
fn pack_modules(workspace: &Workspace, modules: &[Linked]) -> Result<()> {
    let mut contents = archive::Files::new();
    for module in modules {
        contents.insert(archive::path(&module.name), std::fs::read(&module.object)?);
    }
    files::update(&workspace.out().join("initramfs.cpio"), &archive::pack(&contents)?)?;
    for file in workspace.out().join("modules").read_dir()? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !modules.iter().any(|module| module.name == name) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}
