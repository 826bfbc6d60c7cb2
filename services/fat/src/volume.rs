//! One file system.

use crate::disk::{Disk, DiskError, DiskResult};
use abi::file::{self, Entry, Kind, Status};
use abi::prelude::*;
use abi::registry;
use core::sync::atomic::{AtomicBool, Ordering};
use hadris_fat::CacheOptions;
use hadris_fat::sync::FatFs;
use hadris_fs::{
    DateTime, DirCursor, ErrorKind, Metadata, MountOptions, Name, NoClock, NodeId, OpenMode, RenameMode, Resolve,
    SetAttr,
};
use hadris_storage::Partition;

/// How much of a file system is remembered: blocks of its tables, places in files, and names of one directory.
const CACHE: CacheOptions = CacheOptions::new().with_blocks(64).with_directory_entries(128);

/// How many files that are being read or written are remembered.
const RECENT: usize = 8;

/// A FAT file system on a disk or a partition.
pub struct Volume {
    name: String,
    device: String,
    /// None when it has been ended.
    mounted: Mutex<Option<Mounted>>,
    /// Whether there may be something to [`sync`](Self::sync).
    is_changed: AtomicBool,
    /// Raised when there is.
    changed: Signal,
}

type Fat = FatFs<Partition<Disk>>;

struct Mounted {
    fat: Fat,
    /// The files that were read or written last, the latest at the end. It is known where in their chains that was, as long
    /// as they aren't forgotten: else each piece of a long file would begin with a walk along all before it.
    recent: Vec<NodeId>,
}

impl Volume {
    /// The file system that fills this partition. Changes raise the signal.
    ///
    /// # Errors
    /// [`ErrorKind::NotRecognized`] when there is none, [`ErrorKind::Corrupt`] when it contradicts itself,
    /// [`ErrorKind::Io`] when it can't be read.
    pub fn mount(name: String, partition: Partition<Disk>, changed: Signal) -> DiskResult<Self> {
        let device = partition.get_ref().handle().provider().name();
        let fat = Fat::mount(partition, MountOptions::new().with_clock(&TimeOfDay))?.with_cache(CACHE);
        if fat.was_dirty() {
            warn!("{name}: it was switched off or taken away in the middle of a change; fsck.fat finds what that left");
        }
        info!("{name}: mounted, {}", format(&fat));
        Ok(Self {
            name,
            device,
            mounted: Mutex::new(Some(Mounted { fat, recent: Vec::new() })),
            is_changed: AtomicBool::new(false),
            changed,
        })
    }

    /// What paths to it begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it stands.
    ///
    /// # Errors
    /// As all functions below: those of [`FileSystem`].
    pub fn status(&self) -> Result<file::Volume> {
        self.call(&[], |Mounted { fat, .. }| {
            let usage = fat.statfs()?;
            Ok(file::Volume {
                name: self.name.clone(),
                device: self.device.clone(),
                format: format(fat),
                size: usage.total_bytes(),
                used: usage.total_bytes() - usage.free_bytes(),
                read_only: fat.is_read_only(),
            })
        })
    }

    /// See [`FileSystem::find`].
    pub fn find(&self, path: &[&str]) -> Result<Option<Status>> {
        self.call(path, |Mounted { fat, .. }| match with_node(fat, path, |fat, node| fat.stat(node)) {
            Ok(metadata) => Ok(Some(status(&metadata))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// See [`FileSystem::list`].
    pub fn list(&self, path: &[&str]) -> Result<Vec<Entry>> {
        let list = |fat: &mut Fat, directory| {
            let (mut entries, mut cursor) = (Vec::new(), DirCursor::START);
            while let Some(entry) = fat.readdir(directory, cursor)? {
                let name = String::from_utf8_lossy(entry.name().as_bytes()).into_owned();
                entries.push(Entry { name, status: status(entry.metadata()) });
                cursor = entry.next_cursor();
            }
            Ok(entries)
        };
        self.call(path, |mounted| with_node(&mut mounted.fat, path, list))
    }

    /// See [`FileSystem::read`].
    pub fn read(&self, path: &[&str], offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = |fat: &mut Fat, file| {
            let mut length = 0;
            while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
                match fat.read(file, offset.saturating_add(length as u64), rest)? {
                    0 => break,
                    more => length += more,
                }
            }
            Ok(length)
        };
        self.call(path, |mounted| with_file(mounted, path, read))
    }

    /// See [`FileSystem::write`].
    pub fn write(&self, path: &[&str], mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        let write = |fat: &mut Fat, file| {
            if offset > fat.stat(file)?.len() {
                return Err(DiskError::new(ErrorKind::InvalidInput, "it ends before the place to write to"));
            }
            while !bytes.is_empty() {
                let written = fat.write(file, offset, bytes)?;
                bytes = bytes.get(written..).filter(|_| written > 0).ok_or(ErrorKind::FileTooLarge)?;
                offset += written as u64;
            }
            Ok(())
        };
        self.change(path, |mounted| with_open_file(mounted, path, write))
    }

    /// See [`FileSystem::truncate`].
    pub fn truncate(&self, path: &[&str], length: u64) -> Result<()> {
        let truncate = |fat: &mut Fat, file| match fat.stat(file)?.len() > length {
            true => fat.truncate(file, length),
            false => Ok(()),
        };
        self.change(path, |mounted| with_open_file(mounted, path, truncate))
    }

    /// See [`FileSystem::create`].
    pub fn create(&self, path: &[&str], kind: Kind) -> Result<()> {
        let create = |fat: &mut Fat, directory, name: &str| {
            let node = match kind {
                Kind::File => fat.create(directory, Name::new(name), &SetAttr::new())?,
                Kind::Directory => fat.mkdir(directory, Name::new(name), &SetAttr::new())?,
            };
            fat.forget(node, 1);
            Ok(())
        };
        self.change(path, |mounted| with_directory(&mut mounted.fat, path, create))
    }

    /// See [`FileSystem::remove`].
    pub fn remove(&self, path: &[&str]) -> Result<()> {
        let remove = |fat: &mut Fat, directory, name: &str| match fat.unlink(directory, Name::new(name)) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => fat.rmdir(directory, Name::new(name)),
            result => result,
        };
        self.change(path, |mounted| with_directory(&mut mounted.fat, path, remove))
    }

    /// See [`FileSystem::rename`].
    pub fn rename(&self, from: &[&str], to: &[&str]) -> Result<()> {
        // First, so that all that can be wrong later is wrong with `to`.
        self.call(from, |mounted| with_node(&mut mounted.fat, from, |fat, node| fat.stat(node)))?;
        let rename = |fat: &mut Fat, source, old: &str| {
            with_directory(fat, to, |fat, target, new| {
                fat.rename(source, Name::new(old), target, Name::new(new), RenameMode::Replace)
            })
        };
        self.change(to, |mounted| with_directory(&mut mounted.fat, from, rename))
    }

    /// See [`FileSystem::sync`]. Does nothing when nothing has changed.
    pub fn sync(&self) -> Result<()> {
        if !self.is_changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let result = self.call(&[], |mounted| mounted.fat.sync());
        if result.is_err() {
            self.is_changed.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Ends it, once nobody uses it any more. If its medium `is_there`, what is left to write is written.
    pub fn end(&self, is_there: bool) {
        match if is_there { self.sync() } else { Err(self.gone()) } {
            Err(error) if self.is_changed.load(Ordering::Relaxed) => {
                warn!("{}: ended before its last changes were written out: {error}", self.name);
            }
            _ => info!("{}: ended", self.name),
        }
        if let Ok(mut mounted) = self.mounted.lock() {
            *mounted = None;
        }
    }

    /// Uses the file system; `path` is what errors are about.
    fn call<R>(&self, path: &[&str], action: impl FnOnce(&mut Mounted) -> DiskResult<R>) -> Result<R> {
        let mut mounted = self.mounted.lock()?;
        let mounted = mounted.as_mut().ok_or_else(|| self.gone())?;
        action(mounted).map_err(|error| self.explain(&error, path))
    }

    /// Uses the file system to change something.
    fn change<R>(&self, path: &[&str], action: impl FnOnce(&mut Mounted) -> DiskResult<R>) -> Result<R> {
        let result = self.call(path, action);
        self.is_changed.store(true, Ordering::Relaxed);
        self.changed.raise();
        result
    }

    fn gone(&self) -> Error {
        Error::Io(format!("{}: its disk is gone", self.name))
    }

    /// What to say of an error of a call about that path.
    fn explain(&self, error: &DiskError, path: &[&str]) -> Error {
        let volume = &self.name;
        let path = path.iter().fold(format!("/{volume}"), |path, name| path + "/" + name);
        match error.kind() {
            ErrorKind::Io => match error.device_error() {
                Some(Error::Gone) => self.gone(),
                Some(Error::Stopping) => Error::Stopping,
                Some(other) => Error::Io(format!("{volume}: {other}")),
                None => Error::Io(format!("{volume}: {error}")),
            },
            ErrorKind::NotFound => Error::Invalid(format!("there is no {path}")),
            ErrorKind::AlreadyExists => Error::Invalid(format!("{path} is there already")),
            ErrorKind::NotADirectory => Error::Invalid(format!("{path} is no directory, or leads through a file")),
            ErrorKind::IsADirectory => Error::Invalid(format!("{path} is a directory")),
            ErrorKind::DirectoryNotEmpty => Error::Invalid(format!("{path} is not empty")),
            ErrorKind::ReadOnly => Error::Invalid(format!("{volume} is read-only")),
            ErrorKind::NoSpace => Error::Io(format!("{volume} is full")),
            ErrorKind::FileTooLarge => Error::Io(format!("{path} would be longer than FAT allows, 4 GiB")),
            ErrorKind::Corrupt => Error::Io(format!("{path}: the file system is damaged: {error}")),
            _ => Error::Invalid(format!("{path}: {error}")),
        }
    }
}

/// Calls `action` with what `path` leads to.
fn with_node<R>(fat: &mut Fat, path: &[&str], action: impl FnOnce(&mut Fat, NodeId) -> DiskResult<R>) -> DiskResult<R> {
    let node = fat.resolve(path.join("/").as_bytes(), Resolve::Lexical)?;
    let result = action(fat, node);
    fat.forget(node, 1);
    result
}

/// Calls `action` with the file that `path` leads to, and remembers it.
fn with_file<R>(
    Mounted { fat, recent }: &mut Mounted,
    path: &[&str],
    action: impl FnOnce(&mut Fat, NodeId) -> DiskResult<R>,
) -> DiskResult<R> {
    let file = fat.resolve(path.join("/").as_bytes(), Resolve::Lexical)?;
    match recent.iter().position(|known| *known == file) {
        // It isn't to be forgotten as often as it has been used.
        Some(place) => fat.forget(recent.remove(place), 1),
        None if recent.len() == RECENT => fat.forget(recent.remove(0), 1),
        None => {}
    }
    recent.push(file);
    action(fat, file)
}

/// As [`with_file`]; what `action` changes is on the disk when this returns.
fn with_open_file(
    mounted: &mut Mounted,
    path: &[&str],
    action: impl FnOnce(&mut Fat, NodeId) -> DiskResult<()>,
) -> DiskResult<()> {
    with_file(mounted, path, |fat, file| {
        fat.open(file, OpenMode::Write)?;
        let result = action(fat, file);
        result.and(fat.close(file))
    })
}

/// Calls `action` with the directory that holds the last name of `path`, and with that name.
fn with_directory(
    fat: &mut Fat,
    path: &[&str],
    action: impl FnOnce(&mut Fat, NodeId, &str) -> DiskResult<()>,
) -> DiskResult<()> {
    let (name, directory) = path.split_last().ok_or_else(a_volume)?;
    with_node(fat, directory, |fat, directory| action(fat, directory, name))
}

fn a_volume() -> DiskError {
    DiskError::new(ErrorKind::InvalidInput, "a volume can't be made, removed or renamed")
}

fn status(metadata: &Metadata) -> Status {
    let kind = if metadata.file_type().is_dir() { Kind::Directory } else { Kind::File };
    let seconds = metadata.modified().and_then(|moment| u64::try_from(moment.unix_seconds()).ok());
    Status { kind, length: metadata.len(), modified: seconds.map(UnixTime::from_secs) }
}

fn format(fat: &Fat) -> String {
    format!("{:?}", fat.info().kind()).to_uppercase()
}

/// The clock that files are stamped by: the machine's, in UTC.
struct TimeOfDay;

impl hadris_fs::Clock for TimeOfDay {
    fn now(&self) -> DateTime {
        let clock = registry::first::<dyn Clock>();
        let now = clock.and_then(|clock| clock.call(|clock| clock.now()).ok());
        let seconds = now.and_then(|now| i64::try_from(now.as_secs()).ok());
        // Without a clock, the first moment that FAT knows.
        seconds.and_then(|seconds| DateTime::from_unix_seconds(seconds).ok()).unwrap_or(NoClock::TIME)
    }
}
