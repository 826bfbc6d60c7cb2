//! Files, for all that the shell does with them.

use abi::file::{Entry, Kind, Status};
use abi::prelude::*;
use abi::registry;

/// How much is read or written at a time, in bytes.
pub const PIECE: usize = 256 << 10;

/// A path, and the file system that it leads into.
#[derive(Clone)]
pub struct Path {
    text: String,
    /// None for the root, which holds the volumes of all file systems.
    file_system: Option<Handle<dyn FileSystem>>,
}

impl Path {
    /// The path with that text. Whether it leads to something isn't known yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such volume.
    pub fn new(text: &str) -> Result<Self> {
        let names = text.split('/').filter(|name| !matches!(*name, "" | "."));
        let mut normal: Vec<&str> = Vec::new();
        for name in names {
            match name {
                ".." => drop(normal.pop()),
                name => normal.push(name),
            }
        }
        let file_system = match normal.first() {
            None => None,
            Some(volume) => Some(file_system(volume)?),
        };
        Ok(Self { text: format!("/{}", normal.join("/")), file_system })
    }

    /// The path of what has that name in this directory.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn join(&self, name: &str) -> Result<Self> {
        match self.file_system {
            Some(_) => Ok(Self { text: format!("{}/{name}", self.text), file_system: self.file_system }),
            None => Self::new(name),
        }
    }

    /// Its text: names, each after a `/`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its last name; empty for the root.
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// The volume's name; empty for the root.
    pub fn volume(&self) -> &str {
        self.text.split('/').nth(1).unwrap_or_default()
    }

    /// What the path leads to, if anything.
    ///
    /// # Errors
    /// As all functions below: those of [`FileSystem`], and [`Error::Gone`].
    pub fn find(&self) -> Result<Option<Status>> {
        match self.file_system {
            Some(handle) => handle.retry(|files| files.find(&self.text)),
            None => Ok(Some(Status { kind: Kind::Directory, length: 0, modified: None })),
        }
    }

    /// What the path leads to.
    ///
    /// # Errors
    /// Also [`Error::Invalid`] when that is nothing.
    pub fn status(&self) -> Result<Status> {
        self.find()?.ok_or_else(|| Error::Invalid(format!("there is no {}", self.text)))
    }

    /// Whether there is a directory.
    pub fn is_directory(&self) -> Result<bool> {
        Ok(self.find()?.is_some_and(|status| status.kind == Kind::Directory))
    }

    /// What is in the directory, in the order of names.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = match self.file_system {
            Some(handle) => handle.retry(|files| files.list(&self.text))?,
            None => {
                let volume = |name| Entry { name, status: Status { kind: Kind::Directory, length: 0, modified: None } };
                volumes()?.into_iter().map(|found| volume(found.name)).collect()
            }
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Calls `action` with all bytes of the file, in pieces, until it has enough or fails.
    pub fn read<E: From<Error>>(&self, mut action: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let handle = self.inside()?;
        let (mut buffer, mut offset) = (vec![0; PIECE], 0);
        loop {
            let length = handle.retry(|files| files.read(&self.text, offset, &mut buffer))?;
            offset += length as u64;
            match buffer.get(..length) {
                None | Some([]) => return Ok(()),
                Some(piece) => action(piece)?,
            }
        }
    }

    /// Makes a directory.
    pub fn make_directory(&self) -> Result<()> {
        self.inside()?.call(|files| files.create(&self.text, Kind::Directory))?
    }

    /// Removes what is there; a directory has to be empty.
    pub fn remove(&self) -> Result<()> {
        self.inside()?.call(|files| files.remove(&self.text))?
    }

    /// Renames what is there, on the same volume.
    pub fn rename(&self, to: &Self) -> Result<()> {
        self.inside()?.call(|files| files.rename(&self.text, &to.text))?
    }

    fn inside(&self) -> Result<Handle<dyn FileSystem>> {
        self.file_system.ok_or_else(|| Error::Invalid(format!("{} holds nothing but volumes", self.text)))
    }
}

/// A file that is being written.
pub struct Writer {
    path: Path,
    /// Where what is collected will be written.
    offset: u64,
    collected: Vec<u8>,
}

impl Writer {
    /// Writes a file from its beginning, or from its end with `append`. It is made if it isn't there.
    ///
    /// # Errors
    /// Those of [`FileSystem`], and [`Error::Gone`].
    pub fn new(path: Path, append: bool) -> Result<Self> {
        let handle = path.inside()?;
        let length = match path.find()? {
            None => {
                handle.call(|files| files.create(&path.text, Kind::File))??;
                0
            }
            Some(status) if append => status.length,
            Some(_) => {
                handle.retry(|files| files.truncate(&path.text, 0))?;
                0
            }
        };
        Ok(Self { path, offset: length, collected: Vec::new() })
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.collected.extend(bytes);
        if self.collected.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Hands what has been collected to the file system.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn flush(&mut self) -> Result<()> {
        let bytes = core::mem::take(&mut self.collected);
        self.path.inside()?.retry(|files| files.write(&self.path.text, self.offset, &bytes))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// The paths that `word` may be the beginning of; none with characters that would have to be quoted.
pub fn completed(word: &str) -> Vec<String> {
    let Some((directory, _)) = word.rsplit_once('/').filter(|_| word.starts_with('/')) else { return Vec::new() };
    let entries = Path::new(directory).and_then(|directory| directory.list()).unwrap_or_default();
    let paths = entries.into_iter().map(|entry| {
        let end = if entry.status.kind == Kind::Directory { "/" } else { "" };
        format!("{directory}/{}{end}", entry.name)
    });
    paths
        .filter(|path| !path.contains(|character: char| character.is_whitespace() || "'\">".contains(character)))
        .collect()
}

/// All volumes of all file systems.
///
/// # Errors
/// [`Error::Gone`], when a file system goes meanwhile.
pub fn volumes() -> Result<Vec<abi::file::Volume>> {
    let mut volumes = Vec::new();
    for handle in registry::all::<dyn FileSystem>() {
        volumes.extend(handle.retry(|files| Ok(files.volumes()))?);
    }
    Ok(volumes)
}

/// Has all file systems write out what has changed.
///
/// # Errors
/// Those of [`FileSystem::sync`], and [`Error::Gone`].
pub fn sync() -> Result<()> {
    registry::all::<dyn FileSystem>().into_iter().try_for_each(|handle| handle.retry(|files| files.sync()))
}

/// The file system that has that volume.
fn file_system(volume: &str) -> Result<Handle<dyn FileSystem>> {
    let has_it =
        |handle: &Handle<dyn FileSystem>| handle.retry(|files| files.find(volume)).is_ok_and(|found| found.is_some());
    let found = registry::all::<dyn FileSystem>().into_iter().find(has_it);
    found.ok_or_else(|| Error::Invalid(format!("there is no volume {volume}; mount lists them")))
}
