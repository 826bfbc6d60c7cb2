//! How cargo and rustc are called for the kernel and its modules.
//!
//! One call builds `core`, `alloc`, `abi`, the kernel's crates and all modules as libraries; a second one links the
//! kernel from the very same libraries with fat link-time optimization. What decides the names and hashes of crates
//! (flags, profile, features) is therefore the same in both, and LTO is passed to the last step alone: in the profile
//! it would give `core` and `abi` other names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The target's description, and its name.
pub const TARGET_FILE: &str = "aarch64-kernel.json";
pub const TARGET: &str = "aarch64-kernel";

/// The flags that all crates of the kernel and of modules are compiled with.
///
/// - `embed-bitcode`: libraries hold machine code for modules and bitcode for the kernel's link-time optimization.
/// - `symbol-mangling-version`: the export table is made of mangled names.
/// - `force-frame-pointers`: backtraces work where nothing can be unwound, as in an exception.
/// - `branch-protection`: targets of indirect branches are marked, and return addresses signed, on processors that have
///   that; to others these are instructions that do nothing.
/// - `sha2_backend`: the crate sha2 would use vector registers, which are trapped, if it found out that it can.
pub const RUSTFLAGS: &[&str] = &[
    "-Cembed-bitcode=yes",
    "-Csymbol-mangling-version=v0",
    "-Cforce-frame-pointers=yes",
    "-Zbranch-protection=bti,pac-ret",
    "--cfg=sha2_backend=\"soft\"",
];

/// What builds the standard library's crates for the target.
const TARGET_ARGUMENTS: &[&str] =
    &["-Zjson-target-spec", "-Zbuild-std=core,alloc,compiler_builtins", "--target", TARGET_FILE];

/// Has cargo say on its output which files it has built.
const MESSAGES: &str = "--message-format=json-render-diagnostics";

/// The tree, and the tools that build it.
pub struct Workspace {
    /// The folder of the top-level Cargo.toml.
    pub root: PathBuf,
    cargo: PathBuf,
    linker: PathBuf,
}

/// A crate that becomes a module.
pub struct ModuleCrate {
    /// The package's name, which is the module's name.
    pub name: String,
    /// The package as cargo knows it, for `-p`: names alone may mean several packages.
    pub package: String,
    /// Its Cargo.toml.
    pub manifest: PathBuf,
    /// The names of the packages that it depends on.
    pub dependencies: Vec<String>,
}

/// A library that cargo has built.
#[derive(PartialEq, Eq)]
pub struct Library {
    /// The Cargo.toml of its package.
    pub manifest: PathBuf,
    /// The `.rlib`.
    pub path: PathBuf,
    /// The edition of the language.
    pub edition: String,
    /// The features that were switched on.
    pub features: Vec<String>,
}

impl Workspace {
    /// The tree that this program was built from, with the cargo that runs it.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?.to_owned();
        let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
        let sysroot = text_of(Command::new("rustc").args(["--print", "sysroot"]))?;
        let host = Path::new(sysroot.trim()).join("lib/rustlib");
        Ok(Self { root, cargo, linker: linker(&host)? })
    }

    /// The folder for what only the build reads.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("target/lockstep")
    }

    /// The folder for what the build is for.
    pub fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    /// The crates in these rooms of the tree that become modules: those that depend on `abi`.
    pub fn module_crates(&self, rooms: &[&str]) -> Result<Vec<ModuleCrate>> {
        let text = text_of(self.cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let mut crates = Vec::new();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let place = manifest.strip_prefix(&self.root).unwrap_or(manifest);
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let dependencies = dependencies.filter(|dependency| dependency["kind"].is_null());
            let dependencies: Vec<_> =
                dependencies.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect();
            if rooms.iter().any(|room| place.starts_with(room)) && dependencies.iter().any(|name| name == "abi") {
                let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
                let (name, package) = (word("name"), word("id"));
                crates.push(ModuleCrate { name, package, manifest: manifest.to_owned(), dependencies });
            }
        }
        crates.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(crates)
    }

    /// Builds these packages and what they depend on, and returns all libraries.
    pub fn build_libraries<'p>(&self, packages: impl IntoIterator<Item = &'p str>) -> Result<Vec<Library>> {
        let mut command = self.target_cargo("build");
        command.arg(MESSAGES);
        for package in packages {
            command.args(["-p", package]);
        }
        Ok(artifacts(&mut command)?.libraries)
    }

    /// Links the kernel, and returns the path of its ELF file and the libraries that it was linked from. `exports` is
    /// the Rust source that [`crate::exports`] generates.
    pub fn link_kernel(&self, exports: &Path) -> Result<(PathBuf, Vec<Library>)> {
        let mut command = self.target_cargo("rustc");
        command.args([MESSAGES, "-p", "boot", "--", "-Clto=fat"]).env("LOCKSTEP_EXPORTS", exports);
        let artifacts = artifacts(&mut command)?;
        let executable = artifacts.executable.context("cargo built no kernel: crate boot should have a binary")?;
        Ok((executable, artifacts.libraries))
    }

    /// The folder of the procedural macros that the target's libraries use.
    pub fn macros(&self) -> PathBuf {
        self.root.join("target/release/deps")
    }

    /// Builds a program of this package for this machine, as fast and small as it gets, and returns its path.
    pub fn build_program(&self, name: &str) -> Result<PathBuf> {
        let mut command = self.cargo();
        command.args(["build", "--release", MESSAGES, "--package", env!("CARGO_PKG_NAME"), "--bin", name]);
        command.args(["--config", "profile.release.strip=true"]);
        artifacts(&mut command)?.executable.with_context(|| format!("cargo built no program {name}"))
    }

    /// `cargo` in the tree, free of flags from the environment that would change the crates' hashes.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root);
        for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            command.env_remove(variable);
        }
        command
    }

    /// `cargo SUBCOMMAND` for the kernel's target.
    pub fn target_cargo(&self, subcommand: &str) -> Command {
        let mut command = self.cargo();
        command.arg(subcommand).args(TARGET_ARGUMENTS).arg("--release");
        // What rustc will one day refuse in its own library is nothing that our users can do about.
        command.args(["--config", "future-incompat-report.frequency='never'"]);
        // No configuration can add to flags that are given in this way.
        command.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
        command.env("CARGO_TARGET_AARCH64_KERNEL_LINKER", &self.linker);
        command
    }
}

/// A package outside of the tree.
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its Cargo.toml.
    pub manifest: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

/// The package in a folder.
pub fn package(folder: &Path) -> Result<Package> {
    let manifest = folder.join("Cargo.toml");
    let manifest = manifest.canonicalize().with_context(|| format!("cannot read {}", manifest.display()))?;
    let mut command = Command::new("cargo");
    let text = text_of(command.current_dir(folder).args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["manifest_path"].as_str() == manifest.to_str());
    let name = package.and_then(|package| package["name"].as_str());
    let name = name.with_context(|| format!("{} has no package", manifest.display()))?.to_owned();
    let target = metadata["target_directory"].as_str().unwrap_or_default().into();
    Ok(Package { name, manifest, target })
}

/// Runs cargo, and returns the libraries that it has built.
pub fn libraries(command: &mut Command) -> Result<Vec<Library>> {
    Ok(artifacts(command.arg(MESSAGES))?.libraries)
}

/// What a command prints.
///
/// # Errors
///
/// When it cannot be started or fails.
pub fn text_of(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let words = [command.get_program()].into_iter().chain(command.get_args().take(1));
    let name = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = output.with_context(|| format!("cannot start {name}"))?;
    ensure!(output.status.success(), "{name} failed ({})", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[derive(Default)]
struct Artifacts {
    libraries: Vec<Library>,
    executable: Option<PathBuf>,
}

/// Runs cargo, its progress and diagnostics shown, and reads which files it says it has built or found fresh.
fn artifacts(command: &mut Command) -> Result<Artifacts> {
    let mut artifacts = Artifacts::default();
    let text = text_of(command)?;
    for line in text.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("cargo printed {line}"))?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        if let Some(executable) = message["executable"].as_str() {
            artifacts.executable = Some(executable.into());
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // The `.rmeta` always has the name that rustc uses; the `.rlib` of a requested package may be a link to it.
        for file in files.filter(|file| file.ends_with(".rmeta") && file.contains(TARGET)) {
            let manifest = message["manifest_path"].as_str().unwrap_or_default();
            let features = message["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
            artifacts.libraries.push(Library {
                manifest: manifest.into(),
                path: Path::new(file).with_extension("rlib"),
                edition: message["target"]["edition"].as_str().unwrap_or_default().to_owned(),
                features: features.map(str::to_owned).collect(),
            });
        }
    }
    Ok(artifacts)
}

/// The linker: rustc's own where the toolchain has it (rustup's do), else LLVM's from the system.
fn linker(rustlib: &Path) -> Result<PathBuf> {
    for host in rustlib.read_dir().into_iter().flatten().flatten() {
        let linker = host.path().join("bin/rust-lld");
        if linker.exists() {
            return Ok(linker);
        }
    }
    let names = ["ld.lld", "ld.lld-19"];
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        for name in names {
            if folder.join(name).exists() {
                return Ok(name.into());
            }
        }
    }
    bail!("there is neither rust-lld in {} nor {} on the PATH", rustlib.display(), names.join(" or "))
}
