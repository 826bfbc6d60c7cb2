//! FAT12, FAT16 and FAT32 on whatever block devices there are, read and write.
//!
//! One thread watches block devices come and go, and mounts the file systems on them and on their partitions (MBR and
//! GPT); another writes out what has been changed. The formats are the crates `hadris-fat`'s and `hadris-part`'s.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod disk;
mod partitions;
mod volume;

use abi::file::{self, Entry, Kind, Status};
use abi::prelude::*;
use abi::{Class, block, registry, thread, time};
use alloc::sync::Arc;
use disk::Disk;
use volume::Volume;

abi::service!(FatVolumes: FileSystem, needs = BlockDevice, summary = "FAT file systems on disks and partitions");

/// How long a change may wait until it is made safe from a loss of power.
const PATIENCE: Duration = Duration::from_secs(1);

struct FatVolumes {
    disks: Arc<Disks>,
}

/// The disks that there are; none before they have been looked at for the first time.
type Disks = Lock<Option<Vec<Known>>>;

/// A disk that has been looked at.
#[derive(Clone)]
struct Known {
    name: String,
    disk: Disk,
    /// What it began with, if that could be read: another medium in the same device has another serial number there.
    first_block: Option<Vec<u8>>,
    volumes: Vec<Arc<Volume>>,
}

impl Service for FatVolumes {
    fn start(_resources: &mut Resources) -> Result<Self> {
        let disks = Arc::new(Lock::new(None));
        let (appeared, changed) = (Event::new()?, Event::new()?);
        let signal = changed.signal();
        registry::watch(Class::BlockDevice, appeared.signal());
        let watched = disks.clone();
        thread::spawn("fat", move || {
            loop {
                match_disks(&watched, signal);
                if appeared.wait(None).is_err() {
                    break;
                }
            }
        })?;
        let written = disks.clone();
        thread::spawn("fat-sync", move || {
            while changed.wait(None).and_then(|_| time::sleep(PATIENCE)).is_ok() {
                for volume in mounted(&written) {
                    if let Err(error) = volume.sync() {
                        warn!("{}: changes can't be written out: {error}", volume.name());
                    }
                }
            }
        })?;
        Ok(Self { disks })
    }
}

impl Drop for FatVolumes {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            warn!("changes can't be written out: {error}");
        }
    }
}

impl FatVolumes {
    /// All volumes. Where the module has just been started, it waits for the disks to be looked at, so that nobody finds
    /// a volume missing that was there before.
    fn mounted(&self) -> Result<Vec<Arc<Volume>>> {
        while self.disks.lock().is_none() {
            time::sleep(Duration::from_millis(1))?;
        }
        Ok(mounted(&self.disks))
    }

    /// The volume that a path begins with, and the names behind that.
    fn find_volume<'p>(&self, path: &'p str) -> Result<(Arc<Volume>, Vec<&'p str>)> {
        let mut names = names(path);
        if names.is_empty() {
            return Err(Error::Invalid(format!("`{path}` names no volume")));
        }
        let name = names.remove(0);
        let found = self.mounted()?.into_iter().find(|volume| volume.name() == name);
        Ok((found.ok_or_else(|| Error::Invalid(format!("there is no volume {name}; mount lists them")))?, names))
    }
}

impl FileSystem for FatVolumes {
    fn volumes(&self) -> Vec<file::Volume> {
        // One whose device has just gone is left out.
        self.mounted().unwrap_or_default().iter().filter_map(|volume| volume.status().ok()).collect()
    }

    fn find(&self, path: &str) -> Result<Option<Status>> {
        match self.find_volume(path) {
            Ok((volume, path)) => volume.find(&path),
            Err(Error::Invalid(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let (volume, path) = self.find_volume(directory)?;
        volume.list(&path)
    }

    fn read(&self, file: &str, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let (volume, path) = self.find_volume(file)?;
        volume.read(&path, offset, buffer)
    }

    fn write(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let (volume, path) = self.find_volume(file)?;
        volume.write(&path, offset, bytes)
    }

    fn truncate(&self, file: &str, length: u64) -> Result<()> {
        let (volume, path) = self.find_volume(file)?;
        volume.truncate(&path, length)
    }

    fn create(&self, path: &str, kind: Kind) -> Result<()> {
        let (volume, path) = self.find_volume(path)?;
        volume.create(&path, kind)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let (volume, path) = self.find_volume(path)?;
        volume.remove(&path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (volume, source) = self.find_volume(from)?;
        let (other, target) = self.find_volume(to)?;
        match Arc::ptr_eq(&volume, &other) {
            true => volume.rename(&source, &target),
            false => Err(Error::Invalid(format!("{from} and {to} are on different volumes"))),
        }
    }

    fn sync(&self) -> Result<()> {
        mounted(&self.disks).iter().try_for_each(|volume| volume.sync())
    }
}

/// The names that a path consists of, as [`abi::file`] explains.
fn names(path: &str) -> Vec<&str> {
    path.split('/').fold(Vec::new(), |mut names, name| {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
        names
    })
}

fn mounted(disks: &Disks) -> Vec<Arc<Volume>> {
    disks.lock().iter().flatten().flat_map(|disk| disk.volumes.iter().cloned()).collect()
}

/// Mounts what new disks hold, and ends the volumes of those that are gone or have another name.
fn match_disks(disks: &Disks, changed: Signal) {
    let (known, devices) = (disks.lock().clone().unwrap_or_default(), block::named());
    let mut kept: Vec<Known> = Vec::new();
    for disk in known {
        let is_there = disk.has_same_medium();
        if is_there && disk.is_one_of(&devices) {
            kept.push(disk);
        } else {
            disk.volumes.iter().for_each(|volume| volume.end(is_there));
        }
    }
    let mut now = Vec::new();
    for (name, handle) in devices {
        let same = |disk: &&Known| disk.disk.handle().provider() == handle.provider();
        match kept.iter().find(same).map_or_else(|| Known::new(&name, handle, changed), |disk| Ok(disk.clone())) {
            Ok(disk) => now.push(disk),
            // It has just gone.
            Err(Error::Gone | Error::Stopping) => {}
            Err(error) => warn!("{name}, {}, can't be used: {error}", handle.provider().name()),
        }
    }
    *disks.lock() = Some(now);
}

impl Known {
    /// Mounts what is on a disk.
    fn new(name: &str, handle: Handle<dyn BlockDevice>, changed: Signal) -> Result<Self> {
        let disk = Disk::new(handle)?;
        let first_block = disk.first_block().ok();
        Ok(Self { name: name.to_owned(), disk, first_block, volumes: partitions::mount(name, disk, changed) })
    }

    /// Whether one of these devices is this disk, and by the same name.
    fn is_one_of(&self, devices: &[(String, Handle<dyn BlockDevice>)]) -> bool {
        let is_this = |(name, handle): &(String, Handle<dyn BlockDevice>)| {
            *name == self.name && handle.provider() == self.disk.handle().provider()
        };
        devices.iter().any(is_this)
    }

    /// Whether the disk is still there, and not another in the same device.
    fn has_same_medium(&self) -> bool {
        let now = Disk::new(self.disk.handle()).map(|disk| (disk.geometry(), disk.first_block()));
        match now {
            Err(_) | Ok((_, Err(Error::Gone))) => false,
            // Who can't be read at the moment is thought to be the same.
            Ok((geometry, Err(_))) => geometry == self.disk.geometry(),
            Ok((geometry, Ok(block))) => geometry == self.disk.geometry() && self.first_block == Some(block),
        }
    }
}
