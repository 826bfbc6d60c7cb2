//! Packages of the distribution, for what is in none of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::text_of;

/// What the archive's signatures are checked with, where the distribution keeps it.
const KEY: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The packages for arm64 that there are.
///
/// They are listed and downloaded in a folder of their own, for an architecture that this system need not know, so nothing
/// of the system changes. apt checks signatures and hashes.
pub struct Packages {
    folder: PathBuf,
    /// What is listed instead of the system's own sources.
    sources: Option<PathBuf>,
}

impl Packages {
    /// Lists the packages of the system's own sources. `preferences` says which version of a package is meant, as in
    /// apt_preferences(5); when it says nothing, that is the release's.
    pub fn list(folder: &Path, preferences: &str) -> Result<Self> {
        std::fs::create_dir_all(folder.join("lists/partial"))?;
        std::fs::create_dir_all(folder.join("cache/archives/partial"))?;
        std::fs::create_dir_all(folder.join("no-sources"))?;
        std::fs::write(folder.join("status"), "")?;
        std::fs::write(folder.join("preferences"), preferences)?;
        let packages = Self { folder: folder.to_owned(), sources: None };
        text_of(packages.apt("apt-get").arg("update"))?;
        Ok(packages)
    }

    /// Lists a component of the archive (`main` is one) in place of the system's own sources, which may lack it: it is on
    /// the mirrors that `main` comes from.
    pub fn component(mut self, component: &str) -> Result<Self> {
        let format = "$(REPO_URI) $(RELEASE)";
        let mut targets = self.apt("apt-get");
        targets.args(["indextargets", "--format", format, "Created-By: Packages", "Label: Debian", "Component: main"]);
        let targets = text_of(&mut targets)?;
        let mirrors: BTreeSet<&str> = targets.lines().collect();
        ensure!(!mirrors.is_empty(), "apt has found no mirror of Debian (is there a network?)");
        let option = if Path::new(KEY).exists() { format!("[signed-by={KEY}] ") } else { String::new() };
        let list: String = mirrors.iter().map(|mirror| format!("deb {option}{mirror} {component}\n")).collect();
        let path = self.folder.join("sources.list");
        std::fs::write(&path, list)?;
        self.sources = Some(path);
        text_of(self.apt("apt-get").arg("update"))?;
        Ok(self)
    }

    /// The package that `meta_package` depends on.
    pub fn dependency_of(&self, meta_package: &str) -> Result<String> {
        let dependencies = text_of(self.apt("apt-cache").args(["depends", meta_package]))?;
        let dependency = dependencies.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(dependency.with_context(|| format!("{meta_package} depends on nothing"))?.to_owned())
    }

    /// Downloads a package.
    pub fn download(&self, package: &str) -> Result<Package> {
        text_of(self.apt("apt-get").args(["download", package]))?;
        let mut files = self.folder.read_dir()?.flatten().map(|file| file.path());
        let path = files.find(|path| path.extension() == Some("deb".as_ref()));
        Ok(Package { path: path.context("apt-get downloaded no package")? })
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // What is read is English.
        command.current_dir(&self.folder).env("LC_ALL", "C").arg("-qq");
        command.args(["-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64", "-oAPT::Sandbox::User=root"]);
        for (option, name) in [
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::preferences", "preferences"),
        ] {
            command.arg(format!("-o{option}={}", self.folder.join(name).display()));
        }
        if let Some(sources) = &self.sources {
            command.arg(format!("-oDir::Etc::sourcelist={}", sources.display()));
            command.arg(format!("-oDir::Etc::sourceparts={}", self.folder.join("no-sources").display()));
        }
        command
    }
}

/// A package that has been downloaded.
pub struct Package {
    /// The `.deb`.
    pub path: PathBuf,
}

impl Package {
    /// The contents of the file whose path in the package ends like this.
    pub fn file(&self, ending: &str) -> Result<Vec<u8>> {
        let mut unpack =
            Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&self.path).stdout(Stdio::piped()).spawn()?;
        let contents = unpack.stdout.take().context("dpkg-deb has no output")?;
        let extract = ["--extract", "--to-stdout", "--wildcards", &format!("*/{ending}")];
        let extracted = Command::new("tar").args(extract).stdin(contents).output()?;
        unpack.wait()?;
        ensure!(!extracted.stdout.is_empty(), "{} has no {ending}", self.path.display());
        Ok(extracted.stdout)
    }
}
