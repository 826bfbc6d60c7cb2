//! Describing a crate that kernel and modules share, for the loader to compare: see [`stamp::description`].
//!
//! rustc's own hash of a crate changes with every comment. So the build describes the crate itself: rustc expands its
//! macros (`-Zunpretty=expanded`) and tells how its types lie in memory (`-Zprint-type-sizes`), and what is no comment
//! becomes the description. Its hash stands in the stamp, the description itself in a section beside it.

mod entry;
mod items;
mod layouts;
mod names;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use stamp::description::Description;

use self::items::Expanded;
use crate::cargo::{RUSTFLAGS, text_of};
use crate::exports::STANDARD;
use crate::files;
use crate::rlib::Dependency;

/// A crate that cargo has compiled for the kernel's target.
pub struct Compiled<'a> {
    /// What came out, under the name that rustc gave it.
    pub rlib: &'a Path,
    /// The edition of the language, as cargo names it.
    pub edition: &'a str,
    /// The features that were switched on.
    pub features: &'a [String],
    /// What it was compiled against.
    pub dependencies: &'a [Dependency],
}

/// What every crate of a build is compiled with.
pub struct Settings<'a> {
    /// The folder that cargo calls rustc in.
    pub folder: &'a Path,
    /// The file that describes the target.
    pub target: &'a Path,
    /// Where the procedural macros are that the libraries use.
    pub macros: &'a Path,
    /// Where descriptions are kept.
    pub cache: &'a Path,
}

/// A crate's description.
#[derive(Clone)]
pub struct Described {
    /// For the stamp: the hash of the description, in hexadecimal.
    pub hash: String,
    /// For a section such as [`stamp::description::SECTION`]: the description, packed.
    pub section: Vec<u8>,
}

/// Describes a crate, or reads what was made of it before: that is kept for as long as it is newer than the rlib and this
/// program.
///
/// The crate must be one that has no build script, and no other name for a dependency. In one
/// that uses `line!()` a comment may be a change.
pub fn describe(compiled: &Compiled, settings: &Settings) -> Result<Described> {
    let stem = compiled.rlib.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let kept = settings.cache.join(stem).with_extension("description");
    let this_program = std::env::current_exe()?;
    let description = if files::outdated(&kept, [compiled.rlib, &this_program])? {
        let description = Source::of(compiled, settings).and_then(|source| source.describe(compiled.rlib, settings));
        let description = description.with_context(|| format!("cannot describe {}", compiled.rlib.display()))?;
        files::write(&kept, description.text().as_bytes())?;
        description
    } else {
        Description::parse(std::fs::read_to_string(&kept)?)?
    };
    Ok(Described { hash: tokens::hash(description.text()), section: description.pack() })
}

pub use tokens::hash;

/// The source of `Probe<T>::SIZE`, the size of a type that has one: an inherent constant goes before a trait's.
const PROBE: &str = "#![no_std]
struct Probe<T: ?Sized>(core::marker::PhantomData<T>);
impl<T> Probe<T> { const SIZE: usize = size_of::<T>(); }
trait Unsized { const SIZE: usize = 0; }
impl<T: ?Sized> Unsized for Probe<T> {}
";

/// What rustc has to be told to read a crate as cargo had it compiled.
struct Source<'a> {
    name: String,
    /// The file of the root module, seen from the folder that rustc is called in.
    root: PathBuf,
    edition: &'a str,
    features: &'a [String],
    /// The variables that the source asks for with `env!`.
    environment: Vec<(String, String)>,
    dependencies: &'a [Dependency],
    flags: Vec<&'a str>,
    macros: &'a Path,
}

impl<'a> Source<'a> {
    /// Finds the source by what rustc noted beside the rlib for cargo: a list of files, of which the root module is the
    /// first, and the environment.
    fn of(compiled: &Compiled<'a>, settings: &Settings<'a>) -> Result<Self> {
        let file = compiled.rlib.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.strip_prefix("lib"));
        let file = file.with_context(|| format!("{} has no name that rustc gives", compiled.rlib.display()))?;
        let (name, _) = file.rsplit_once('-').unwrap_or((file, ""));
        let notes = compiled.rlib.with_file_name(format!("{file}.d"));
        let notes = std::fs::read_to_string(&notes).with_context(|| format!("cannot read {}", notes.display()))?;
        let (root, environment) = parse_notes(&notes).context("rustc's list of source files names none")?;
        let target = settings.target.to_str().context("the path of the target's file is no text")?;
        let flags = ["-Zunstable-options", "--target", target].into_iter().chain(RUSTFLAGS.iter().copied());
        Ok(Self {
            name: name.to_owned(),
            root,
            edition: compiled.edition,
            features: compiled.features,
            environment,
            dependencies: compiled.dependencies,
            flags: flags.collect(),
            macros: settings.macros,
        })
    }

    /// Describes the crate that became `library`.
    fn describe(&self, library: &Path, settings: &Settings) -> Result<Description> {
        let folder = settings.folder;
        let expanded = text_of(self.rustc(folder, &self.name, &self.root).arg("-Zunpretty=expanded"))?;
        let expanded = Expanded::parse(&self.name, &expanded)?;

        // A crate that asks for the sizes of all types has rustc compute their layouts.
        let probe = settings.cache.join(format!("{}_layouts.rs", self.name));
        let sizes = expanded.types().into_iter().map(|path| format!("const _: usize = <Probe<{path}>>::SIZE;\n"));
        files::write(&probe, (PROBE.to_owned() + &sizes.collect::<String>()).as_bytes())?;
        let mut rustc = self.rustc(folder, "layouts", &probe);
        rustc.arg("--extern").arg(format!("{}={}", self.name, library.display()));
        rustc.arg(format!("--emit=metadata={}", probe.with_extension("rmeta").display()));
        let layouts = layouts::parse(&text_of(rustc.arg("-Zprint-type-sizes"))?)?;

        Ok(Description::new(expanded.describe(&layouts)?)?)
    }

    /// rustc, to compile `root` as the crate `name` with what this crate is compiled with.
    fn rustc(&self, folder: &Path, name: &str, root: &Path) -> Command {
        let mut rustc = Command::new("rustc");
        rustc.current_dir(folder).envs(self.environment.iter().map(|(key, value)| (key, value)));
        // Optimized, since that is what switches `debug_assertions` off. Warnings have been given before.
        rustc.args(["--crate-type=lib", "-O", "--cap-lints=allow", "--crate-name", name]);
        rustc.args(["--edition", self.edition]).args(&self.flags);
        for feature in self.features {
            rustc.arg("--cfg").arg(format!("feature={feature:?}"));
        }
        for Dependency { name, path, .. } in self.dependencies {
            let option = if STANDARD.contains(&name.as_str()) { "noprelude:" } else { "" };
            rustc.arg("--extern").arg(format!("{option}{name}={}", path.display()));
        }
        let folders = self.dependencies.iter().filter_map(|dependency| dependency.path.parent());
        for folder in folders.chain([self.macros]).collect::<BTreeSet<_>>() {
            rustc.arg("-L").arg(format!("dependency={}", folder.display()));
        }
        rustc.arg(root);
        rustc
    }
}

/// Reads the notes that rustc makes for cargo, in the syntax of make, with the environment in comments.
fn parse_notes(notes: &str) -> Option<(PathBuf, Vec<(String, String)>)> {
    let (_, files) = notes.lines().next()?.split_once(": ")?;
    // A space in a file's name has a backslash before it.
    let mut root = String::new();
    for part in files.split(' ') {
        match part.strip_suffix('\\') {
            Some(part) => root += &format!("{part} "),
            None => {
                root += part;
                break;
            }
        }
    }
    let variables = notes.lines().filter_map(|line| line.strip_prefix("# env-dep:")?.split_once('='));
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    (!root.is_empty()).then(|| (root.into(), variables.map(own).collect()))
}
