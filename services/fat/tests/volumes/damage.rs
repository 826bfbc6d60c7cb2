//! Disks that hold nonsense: each is told in a sentence, and everything else works.

use crate::{DISK, FakeDisk, MIB, OTHER_DISK, contents, files, volumes};
use abi::Error;
use abi::file::{FileSystem, Kind};
use fake_kernel::{Session, await_log, wait_until, withdraw};
use tests::DiskImage;

/// Where the entries of an MBR or an extended boot record begin.
const ENTRIES: usize = 446;
const SECTOR: usize = 512;

/// The first sector of a partition in such an entry, and how many there are.
const FIRST: usize = 8;
const COUNT: usize = 12;

fn put(bytes: &mut [u8], place: usize, value: u32) {
    bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
}

/// Two partitions of 1 MiB each, with a file system, on a disk of 4 MiB.
fn two_partitions(label: &str) -> Vec<u8> {
    let table = format!("label: {label}\nstart=1MiB, size=1MiB\nstart=2MiB, size=1MiB\n");
    let image = DiskImage::new(4 * MIB).with_table(&table);
    image.with_fat(12, MIB..2 * MIB, &[]).with_fat(12, 2 * MIB..3 * MIB, &[]).bytes()
}

/// A primary partition, and a logical one behind its own record at 2 MiB.
fn logical() -> Vec<u8> {
    let table =
        "label: dos\nstart=1MiB, size=1MiB, type=4\nstart=2MiB, size=2MiB, type=5\nstart=3MiB, size=1MiB, type=4\n";
    DiskImage::new(4 * MIB).with_table(table).with_fat(12, MIB..2 * MIB, &[]).bytes()
}

/// CRC-32 as the UEFI Specification wants it (5.3.2).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// A GPT whose both headers, or entries, someone has changed without leaving a trace in the check sums.
fn forged(change: impl Fn(&mut [u8], &mut [u8])) -> Vec<u8> {
    let mut bytes = two_partitions("gpt");
    let last = bytes.len() - SECTOR;
    for header in [SECTOR, last] {
        let entries = u64::from_le_bytes(bytes[header + 72..header + 80].try_into().unwrap()) as usize * SECTOR;
        let mut list = bytes[entries..entries + 128 * 128].to_vec();
        change(&mut bytes[header..header + SECTOR], &mut list);
        bytes[entries..entries + 128 * 128].copy_from_slice(&list);
        put(&mut bytes, header + 88, crc(&list));
        put(&mut bytes, header + 16, 0);
        let sum = crc(&bytes[header..header + 92]);
        put(&mut bytes, header + 16, sum);
    }
    bytes
}

fn changed(mut bytes: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut bytes);
    bytes
}

#[test]
fn tables_that_make_no_sense_are_told_and_what_they_leave_is_mounted() {
    let whole = DiskImage::new(MIB).with_fat(12, 0..MIB, &[]).bytes();
    let table = |why: &str| format!("vda: its partition table can't be used: {why}");
    let damaged = |why: &str| format!("vda: its file system can't be used: {why}");
    let nothing = "vda: there is neither a partition nor a FAT file system".to_owned();
    let cases: Vec<(Vec<u8>, String, &[&str])> = vec![
        (vec![], "vda: the device is empty".into(), &[]),
        (vec![0; SECTOR], nothing.clone(), &[]),
        (vec![0; 1 << 20], nothing.clone(), &[]),
        (vec![0xff; 1 << 20], nothing.clone(), &[]),
        (changed(two_partitions("dos"), |bytes| bytes[510] = 0), nothing.clone(), &[]),
        (changed(two_partitions("dos"), |bytes| bytes[ENTRIES] = 1), table("invalid MBR partition entry"), &[]),
        (
            changed(two_partitions("dos"), |bytes| put(bytes, ENTRIES + 16 + FIRST, 4000)),
            "vda2: the partition is not mounted, since it overlaps partition 1".into(),
            &[],
        ),
        (
            changed(two_partitions("dos"), |bytes| put(bytes, ENTRIES + 16 + COUNT, 4097)),
            "vda2: the partition is not mounted, since it ends beyond the end of the disk".into(),
            &["vda1"],
        ),
        (
            changed(two_partitions("dos"), |bytes| put(bytes, ENTRIES + 16 + FIRST, u32::MAX)),
            "vda2: the partition is not mounted, since it ends beyond the end of the disk".into(),
            &["vda1"],
        ),
        (
            changed(two_partitions("dos"), |bytes| bytes[2 << 20..3 << 20].fill(0)),
            "vda2: there is no FAT file system".into(),
            &["vda1"],
        ),
        // The record of the logical partition leads back to itself.
        (
            changed(logical(), |bytes| {
                let link = (2 << 20) + ENTRIES + 16;
                bytes[link + 4] = 5;
                put(bytes, link + FIRST, 0);
                put(bytes, link + COUNT, 100);
            }),
            table("invalid extended boot record chain"),
            &["vda1"],
        ),
        (
            changed(two_partitions("gpt"), |bytes| {
                bytes[SECTOR + 20] ^= 1;
                let last = bytes.len() - SECTOR;
                bytes[last + 20] ^= 1;
            }),
            table("GPT header CRC mismatch"),
            &[],
        ),
        // One of the two copies is enough.
        (
            changed(two_partitions("gpt"), |bytes| bytes[SECTOR..34 * SECTOR].fill(0)),
            "vda1: mounted, FAT12".into(),
            &["vda1", "vda2"],
        ),
        // The list of partitions is to lie where the header itself is.
        (forged(|header, _| put(header, 72, 1)), table("invalid GPT partition entry array"), &[]),
        (forged(|header, _| put(header, 80, u32::MAX)), table("invalid GPT partition entry array"), &[]),
        (
            forged(|_, list| put(list, 128 + 32, 4000)),
            "vda1: the partition is not mounted, since it overlaps partition 2".into(),
            &[],
        ),
        (
            forged(|_, list| list[128 + 40..128 + 48].fill(0xff)),
            "vda2: the partition is not mounted, since it ends beyond the end of the disk".into(),
            &["vda1"],
        ),
        // It ends before it begins.
        (forged(|_, list| put(list, 128 + 40, 5)), "vda1: mounted, FAT12".into(), &["vda1"]),
        // 3 sectors a cluster.
        (changed(whole.clone(), |bytes| bytes[13] = 3), nothing, &[]),
        (changed(whole.clone(), |bytes| bytes[16] = 0), damaged("BPB fat_count must be 1 or 2"), &[]),
        (whole[..whole.len() / 2].to_vec(), damaged("volume is larger than the device"), &[]),
    ];
    for (bytes, sentence, expected) in cases {
        let session = Session::start(|| ());
        let size = bytes.len();
        FakeDisk::new(bytes, SECTOR, false).publish_as(DISK);
        let other = DiskImage::from_bytes(&whole).with_file(0, "f", b"f");
        FakeDisk::publish(OTHER_DISK, &other);
        let files = files(&session);
        wait_until("volume on the other disk", || files.find("/vdb/f").unwrap().is_some());
        await_log(&sentence);
        let expected: Vec<_> = expected.iter().copied().chain(["vdb"]).collect();
        assert_eq!(volumes(files), expected, "{sentence} ({size} bytes)");
    }
}

/// FAT16 with one sector a cluster: the entry of each cluster is 2 bytes, and the table begins behind the first sector.
fn small_clusters() -> DiskImage {
    let image = DiskImage::new(4 * MIB).with_fat(16, 0..4 * MIB, &["-s", "1", "-R", "1", "-f", "1"]);
    let long: Vec<u8> = (0..50_000_u32).map(|index| index as u8).collect();
    image
        .with_file(0, "long", &long)
        .with_directory(0, "directory")
        .with_file(0, "directory/f", b"f")
        .with_file(0, "whole", b"w")
}

/// Where the table has the entry of a cluster.
fn entry(cluster: usize) -> usize {
    SECTOR + 2 * cluster
}

#[test]
fn chains_that_lead_nowhere_or_back_concern_only_what_they_belong_to() {
    for (what, next) in [
        ("a loop", 10_u16),
        ("a cluster that isn't there", 0xfff0),
        ("a free cluster", 0),
        ("an end that comes early", 0xffff),
    ] {
        let session = Session::start(|| ());
        let image = small_clusters();
        let damage = |bytes: &mut [u8]| bytes[entry(40)..entry(41)].copy_from_slice(&next.to_le_bytes());
        FakeDisk::new(changed(image.bytes(), damage), SECTOR, false).publish_as(DISK);
        let files = files(&session);
        volumes(files);
        let mut buffer = vec![0; 50_000];
        let read = files.read("/vda/long", 0, &mut buffer);
        match read {
            Err(Error::Io(sentence)) => {
                assert!(sentence.starts_with("/vda/long: the file system is damaged: "), "{what}: {sentence}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(contents(files, "/vda/whole", 1), b"w", "{what}");
        assert_eq!(contents(files, "/vda/directory/f", 1), b"f", "{what}");
        files.write("/vda/whole", 1, &[b'w'; 100_000]).unwrap();
        files.sync().unwrap();
    }
}

#[test]
fn a_directory_that_never_ends_ends() {
    let session = Session::start(|| ());
    let mut bytes = small_clusters().bytes();
    // The directory's first cluster comes behind the 98 of `long`; without an end in it, it leads to itself.
    let directory = 2 + 98;
    bytes[entry(directory)..entry(directory + 1)].copy_from_slice(&(directory as u16).to_le_bytes());
    let place = bytes.windows(11).position(|name| name == b".          ").unwrap();
    for slot in (place + 64..place + SECTOR).step_by(32) {
        bytes[slot] = 0xe5;
    }
    FakeDisk::new(bytes, SECTOR, false).publish_as(DISK);
    let files = files(&session);
    volumes(files);
    let says = |result: abi::Result<()>| match result {
        Err(Error::Io(sentence)) => assert!(sentence.contains(": the file system is damaged: "), "{sentence}"),
        other => panic!("{other:?}"),
    };
    says(files.list("/vda/directory").map(drop));
    says(files.find("/vda/directory/x").map(drop));
    says(files.create("/vda/directory/x", Kind::File));
    assert_eq!(contents(files, "/vda/whole", 1), b"w");
}

/// Looks at all that can be reached, as far as a person would.
fn explore(files: &dyn FileSystem, path: &str, depth: usize, left: &mut usize) {
    for entry in files.list(path).unwrap_or_default() {
        let path = format!("{path}/{}", entry.name);
        *left = left.saturating_sub(1);
        if *left == 0 || depth == 5 {
            return;
        }
        match entry.status.kind {
            Kind::Directory => explore(files, &path, depth + 1, left),
            Kind::File => drop(files.read(&path, 0, &mut vec![0; 20_000])),
        }
    }
}

#[test]
fn no_damage_at_all_does_more_than_cause_errors() {
    let mut random = fastrand::Rng::with_seed(7);
    let images: Vec<_> = [two_partitions("dos"), two_partitions("gpt"), logical(), small_clusters().bytes()]
        .into_iter()
        .map(|bytes| {
            // Where the tables and directories are.
            let used: Vec<usize> =
                bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(place, _)| place).collect();
            (bytes, used)
        })
        .collect();
    let session = Session::start(|| ());
    let files = files(&session);
    for round in 0..400 {
        let (bytes, used) = &images[round % images.len()];
        let mut bytes = bytes.clone();
        for _ in 0..random.usize(1..20) {
            let place = used[..used.len().min(3000)][random.usize(..used.len().min(3000))] + random.usize(..4);
            bytes[place] = random.u8(..);
        }
        let looked = fake_kernel::log().len();
        FakeDisk::new(bytes, SECTOR, false).publish_as(DISK);
        wait_until("word about the disk", || fake_kernel::log().len() > looked);
        for volume in files.volumes() {
            let root = format!("/{}", volume.name);
            explore(files, &root, 0, &mut 500);
            let _ = files.create(&format!("{root}/new directory"), Kind::Directory);
            let _ = files.create(&format!("{root}/new directory/new file"), Kind::File);
            let _ = files.write(&format!("{root}/new directory/new file"), 0, &[1; 10_000]);
            let _ = files.rename(&format!("{root}/long"), &format!("{root}/new directory/long"));
            let _ = files.truncate(&format!("{root}/whole"), 0);
            let _ = files.remove(&format!("{root}/directory/f"));
            let _ = files.sync();
        }
        withdraw(DISK);
        wait_until("end of all volumes", || files.volumes().is_empty());
    }
}
