//! Modules from outside of the tree: `x sdk` packs what they are built against, and the program `lockstep-sdk` in that
//! archive builds them.

mod installed;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, Header};

use crate::build;
use crate::cargo::{TARGET_FILE, Workspace};

pub use installed::main;

/// The folder in the archive that holds all of it.
const FOLDER: &str = "lockstep-sdk";

/// Where the libraries are: where rustc looks for those of a target.
const LIBRARIES: &str = "lib/rustlib/aarch64-kernel/lib";

/// Where the procedural macros are that these libraries use.
const MACROS: &str = "lib/macros";

/// The symbols that the kernel exports, a line for each.
const EXPORTS: &str = "contract/exports";

/// The kernel's stamp.
const STAMP: &str = "contract/stamp";

/// A line for each module that others may depend on: its name, the hash of its interface, and the file of its library.
const MODULES: &str = "contract/modules";

/// The packed description of a crate that modules are compiled against.
fn description(name: &str) -> String {
    format!("contract/{name}.description")
}

/// The release of the compiler.
const TOOLCHAIN: &str = "rust-toolchain.toml";

/// Packs everything that modules outside of the tree are built against into `out/lockstep-sdk.tar`: the very libraries
/// that the kernel was linked from.
pub fn pack(workspace: &Workspace) -> Result<()> {
    let (contract, modules) = build::build(workspace)?;
    let program = workspace.build_program("lockstep-sdk")?;
    let out = workspace.out().join("lockstep-sdk.tar");
    let mut archive =
        Archive(Builder::new(File::create(&out).with_context(|| format!("cannot write {}", out.display()))?));

    let mut libraries: BTreeSet<PathBuf> = contract.shared.iter().map(|shared| shared.path.clone()).collect();
    let mut macros = BTreeSet::new();
    let mut lines = String::new();
    for module in &modules {
        let Some(interface) = &module.interface else { continue };
        libraries.extend(contract.records.dependencies(&module.rlib)?.into_iter().map(|dependency| dependency.path));
        libraries.insert(module.rlib.clone());
        macros.extend(contract.records.macros(&module.rlib)?);
        lines += &format!("{} {} {}\n", module.name, interface.hash, file_name(&module.rlib));
        archive.bytes(&description(&module.name), &interface.section)?;
    }
    for library in &libraries {
        archive.file(&format!("{LIBRARIES}/{}", file_name(library)), library)?;
    }
    for file in &macros {
        archive.file(&format!("{MACROS}/{file}"), &workspace.macros().join(file))?;
    }
    let exports: String = contract.exports.iter().map(|name| format!("{name}\n")).collect();
    archive.bytes(EXPORTS, exports.as_bytes())?;
    archive.bytes(STAMP, contract.stamp.as_bytes())?;
    archive.bytes(MODULES, lines.as_bytes())?;
    archive.bytes(&description("abi"), &contract.abi.section)?;
    archive.bytes("README.md", include_bytes!("README.md"))?;
    archive.file(TARGET_FILE, &workspace.root.join(TARGET_FILE))?;
    archive.file(TOOLCHAIN, &workspace.root.join(TOOLCHAIN))?;
    archive.file("lockstep-sdk", &program)?;
    archive.0.finish()?;
    let place = out.strip_prefix(&workspace.root).unwrap_or(&out);
    eprintln!("    Packed {} ({} MiB)", place.display(), out.metadata()?.len() >> 20);
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

struct Archive(Builder<File>);

impl Archive {
    fn file(&mut self, path: &str, source: &Path) -> Result<()> {
        let added = self.0.append_path_with_name(source, format!("{FOLDER}/{path}"));
        added.with_context(|| format!("cannot pack {}", source.display()))
    }

    fn bytes(&mut self, path: &str, contents: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        Ok(self.0.append_data(&mut header, format!("{FOLDER}/{path}"), contents)?)
    }
}
