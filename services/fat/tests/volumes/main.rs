//! The whole module on the host, with disks that others have made and others read: sfdisk, mkfs.fat, fsck.fat, mtools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod damage;
mod mounting;

use abi::block::{BlockDevice, Geometry};
use abi::file::{FileSystem, Kind};
use abi::{Class, Error, Interface};
use fake_kernel::{Session, publish, wait_until};
use fat as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::{DiskImage, Tree};

const DISK: u32 = 1;
const OTHER_DISK: u32 = 2;

const MIB: u64 = 1 << 20;

/// A disk in memory.
struct FakeDisk {
    geometry: Geometry,
    bytes: Mutex<Vec<u8>>,
    /// Blocks that can't be read or written, and what a call that touches one returns.
    bad: Mutex<Option<(Range<u64>, Error)>>,
    /// All that has been written, in its order.
    written: Mutex<Vec<(usize, Vec<u8>)>>,
    /// How often it has been read from.
    reads: AtomicUsize,
}

impl FakeDisk {
    fn new(bytes: Vec<u8>, block_size: usize, read_only: bool) -> &'static Self {
        let geometry = Geometry { block_size, blocks: (bytes.len() / block_size) as u64, read_only };
        let (bytes, bad, written) = (Mutex::new(bytes), Mutex::default(), Mutex::default());
        Box::leak(Box::new(Self { geometry, bytes, bad, written, reads: AtomicUsize::new(0) }))
    }

    /// A disk with the content of an image, as provider `number`.
    fn publish(number: u32, image: &DiskImage) -> &'static Self {
        let disk = Self::new(image.bytes(), 512, false);
        disk.publish_as(number);
        disk
    }

    fn publish_as(&'static self, number: u32) {
        publish(number, Class::BlockDevice, move || Interface::BlockDevice(self));
    }

    fn image(&self) -> DiskImage {
        DiskImage::from_bytes(&self.bytes.lock().unwrap())
    }

    /// The place of a request among the bytes.
    fn place(&self, first: u64, length: usize) -> abi::Result<Range<usize>> {
        self.geometry.check(first, length)?;
        let start = first as usize * self.geometry.block_size;
        match &*self.bad.lock().unwrap() {
            Some((bad, error)) if bad.start * 512 < (start + length) as u64 && bad.end * 512 > start as u64 => {
                Err(error.clone())
            }
            _ => Ok(start..start + length),
        }
    }
}

impl BlockDevice for FakeDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, first: u64, buffer: &mut [u8]) -> abi::Result<()> {
        let place = self.place(first, buffer.len())?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[place]);
        Ok(())
    }

    fn write(&self, first: u64, buffer: &[u8]) -> abi::Result<()> {
        self.geometry.check_write(first, buffer.len())?;
        let place = self.place(first, buffer.len())?;
        self.written.lock().unwrap().push((place.start, buffer.to_vec()));
        self.bytes.lock().unwrap()[place].copy_from_slice(buffer);
        Ok(())
    }

    fn flush(&self) -> abi::Result<()> {
        Ok(())
    }
}

/// What the module publishes.
fn files(session: &Session) -> &dyn FileSystem {
    let Interface::FileSystem(files) = session.interface(Class::FileSystem) else { panic!("another class") };
    files
}

/// The names of the volumes, once there are some.
fn volumes(files: &dyn FileSystem) -> Vec<String> {
    wait_until("volume", || !files.volumes().is_empty());
    files.volumes().into_iter().map(|volume| volume.name).collect()
}

/// A session with a disk on which a whole volume `vda` is mounted.
fn mounted(image: &DiskImage) -> (Session, &'static FakeDisk) {
    let session = Session::start(|| ());
    let disk = FakeDisk::publish(DISK, image);
    assert_eq!(volumes(files(&session)), ["vda"]);
    (session, disk)
}

/// All that is in a directory and below, as the module finds it.
fn tree(files: &dyn FileSystem, path: &str) -> Tree {
    let mut tree = Tree::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for entry in files.list(&format!("{path}/{directory}")).unwrap() {
            let name = format!("{directory}{}", entry.name);
            let contents = match entry.status.kind {
                Kind::Directory => {
                    directories.push(format!("{name}/"));
                    None
                }
                Kind::File => Some(contents(files, &format!("{path}/{name}"), entry.status.length)),
            };
            assert_eq!(tree.insert(name.clone(), contents), None, "{name} is listed twice");
        }
    }
    tree
}

/// A file's bytes, which must be so many.
fn contents(files: &dyn FileSystem, path: &str, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize + 1];
    assert_eq!(files.read(path, 0, &mut bytes), Ok(length as usize), "{path}");
    bytes.pop();
    bytes
}
