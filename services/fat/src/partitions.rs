//! What is on a disk: a file system, or partitions with one each.

use crate::disk::{Disk, DiskError, DiskResult};
use crate::volume::Volume;
use abi::prelude::*;
use alloc::sync::Arc;
use core::ops::ControlFlow;
use hadris_fs::ErrorKind;
use hadris_part::Partition;

/// How many partitions of a disk are looked at: as many as a GPT usually has room for.
const MOST: usize = 128;

/// Mounts all that can be mounted of a disk with that name, whose changes raise `changed`. What can't is told in
/// the log.
pub fn mount(name: &str, disk: Disk, changed: Signal) -> Vec<Arc<Volume>> {
    let size = disk.geometry().size();
    if size == 0 {
        info!("{name}: the device is empty");
        return Vec::new();
    }
    // A file system comes first: its first sector ends as a partition table does, and may well look like one.
    let whole = match Volume::mount(name.to_owned(), hadris_storage::Partition::new(disk, 0, size), changed) {
        Ok(volume) => return vec![Arc::new(volume)],
        Err(error) => error,
    };
    let (partitions, table) = partitions(disk);
    match (table, whole.kind()) {
        (Err(error), ErrorKind::NotRecognized) if error.kind() != ErrorKind::NotRecognized => {
            complain(name, "partition table", &error);
        }
        (_, ErrorKind::NotRecognized) if partitions.is_empty() => {
            info!("{name}: there is neither a partition nor a FAT file system");
        }
        _ if partitions.is_empty() => complain(name, "file system", &whole),
        // That a disk with partitions begins like a file system is chance.
        _ => {}
    }
    let number = |partition: &Partition| partition.slot() + 1;
    let mut volumes = Vec::new();
    for partition in &partitions {
        let label = format!("{name}{}", number(partition));
        let overlaps = |other: &&Partition| {
            other.slot() != partition.slot() && other.start() < partition.end() && partition.start() < other.end()
        };
        let overlapped = partitions.iter().find(overlaps).map(number);
        match (hadris_part::sync::open(disk, partition), overlapped) {
            (Err(_), _) => warn!("{label}: the partition is not mounted, since it ends beyond the end of the disk"),
            (_, Some(other)) => warn!("{label}: the partition is not mounted, since it overlaps partition {other}"),
            (Ok(place), None) => match Volume::mount(label.clone(), place, changed) {
                Ok(volume) => volumes.push(Arc::new(volume)),
                Err(error) if error.kind() == ErrorKind::NotRecognized => info!("{label}: there is no FAT file system"),
                Err(error) => complain(&label, "file system", &error),
            },
        }
    }
    volumes
}

/// The partitions that the disk's MBR or GPT lists, as far as it can be read.
fn partitions(mut disk: Disk) -> (Vec<Partition>, DiskResult<()>) {
    let mut partitions = Vec::new();
    let table = hadris_part::sync::scan(&mut disk, |partition| {
        if !partition.is_empty() {
            partitions.push(partition);
        }
        if partitions.len() == MOST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (partitions, table.map(|_| ()))
}

fn complain(name: &str, what: &str, error: &DiskError) {
    match error.device_error() {
        // The disk or this module goes: nobody wants to know any more.
        Some(Error::Gone | Error::Stopping) => {}
        Some(error) => warn!("{name}: its {what} can't be used: {error}"),
        None => warn!("{name}: its {what} can't be used: {error}"),
    }
}
