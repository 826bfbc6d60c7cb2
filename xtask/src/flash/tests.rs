#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// What a system says of its disks: a card reader on USB at 8:16, with a card that has two partitions.
const DISK: &str = "devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host0/target0:0:0/0:0:0:0/block/sdb";
const FILES: [(&str, &str); 14] = [
    ("dev", "8:16"),
    ("size", "62333952"),
    ("removable", "1"),
    ("ro", "0"),
    ("queue/rotational", "1"),
    ("device/vendor", "Generic "),
    ("device/model", "STORAGE DEVICE  "),
    ("sdb1/partition", "1"),
    ("sdb1/dev", "8:17"),
    ("sdb1/size", "524288"),
    ("sdb2/partition", "2"),
    ("sdb2/dev", "8:18"),
    ("sdb2/size", "61800448"),
    ("sdb2/holders/none", ""),
];
const ROOT: &str = "24 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n";

struct Sysfs {
    folder: TempDir,
    disk: &'static str,
    mounts: String,
    swaps: String,
}

impl Sysfs {
    /// That disk, at this place among the devices.
    fn new(disk: &'static str) -> Self {
        let sysfs = Self { folder: tempfile::tempdir().unwrap(), disk, mounts: ROOT.into(), swaps: String::new() };
        for (name, contents) in FILES {
            sysfs.set(name, contents);
        }
        fs::remove_file(sysfs.path("sdb2/holders/none")).unwrap();
        let links = sysfs.folder.path().join("dev/block");
        fs::create_dir_all(&links).unwrap();
        for (number, place) in [("8:16", disk.to_owned()), ("8:17", format!("{disk}/sdb1"))] {
            symlink(Path::new("../..").join(place), links.join(number)).unwrap();
        }
        sysfs
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(self.disk).join(name)
    }

    fn set(&self, name: &str, contents: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), format!("{contents}\n")).unwrap();
    }

    fn read(&self, number: &str) -> Result<Disk> {
        Disk::read(&System { sysfs: self.folder.path(), mounts: &self.mounts, swaps: &self.swaps }, number)
    }

    /// What is said against erasing the disk.
    fn refusal(&self) -> String {
        self.read("8:16").unwrap().check().unwrap_err().to_string()
    }
}

#[test]
fn a_card_in_a_reader_is_described_and_may_be_erased() {
    let disk = Sysfs::new(DISK).read("8:16").unwrap();
    disk.check().unwrap();
    assert_eq!(disk.to_string(), "sdb: Generic STORAGE DEVICE, 31.91 GB\n  sdb1  268.44 MB\n  sdb2  31.64 GB\n");
}

#[test]
fn a_disk_of_the_machine_is_refused() {
    const SATA: &str = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sdb";
    let sysfs = Sysfs::new(SATA);
    sysfs.read("8:16").unwrap().check().unwrap();
    sysfs.set("removable", "0");
    assert!(sysfs.refusal().starts_with("sdb (Generic STORAGE DEVICE) is no removable disk: "));
    // On USB none has to say so.
    let sysfs = Sysfs::new(DISK);
    sysfs.set("removable", "0");
    sysfs.read("8:16").unwrap().check().unwrap();
}

#[test]
fn an_sd_card_may_be_erased_and_memory_on_the_board_not() {
    const MMC: &str = "devices/platform/emmc2bus/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0";
    let sysfs = Sysfs::new(MMC);
    sysfs.set("removable", "0");
    for file in ["device/vendor", "device/model"] {
        fs::remove_file(sysfs.path(file)).unwrap();
    }
    sysfs.set("device/name", "SC32G");
    sysfs.set("device/type", "SD");
    let disk = sysfs.read("8:16").unwrap();
    disk.check().unwrap();
    assert!(disk.to_string().starts_with("mmcblk0: SC32G, "));
    sysfs.set("device/type", "MMC");
    assert!(sysfs.refusal().contains("no removable disk"));
}

#[test]
fn a_partition_is_refused_with_the_disk_that_is_meant() {
    let error = Sysfs::new(DISK).read("8:17").err().unwrap().to_string();
    assert!(error.starts_with("sdb1 is a partition; ") && error.ends_with("the whole disk, sdb"), "{error}");
    let error = Sysfs::new(DISK).read("9:9").err().unwrap().to_string();
    assert_eq!(error, "the system knows no disk 9:9");
}

#[test]
fn a_disk_in_use_is_refused() {
    let mount = |line: &str| {
        let mut sysfs = Sysfs::new(DISK);
        sysfs.mounts.push_str(line);
        sysfs.refusal()
    };
    let refusal = mount("60 24 8:17 / /media/card rw,relatime shared:9 - vfat /dev/sdb1 rw\n");
    assert_eq!(refusal, "sdb (Generic STORAGE DEVICE) is in use: sdb1 is mounted at /media/card");
    assert!(mount("60 24 8:16 / /mnt rw - vfat /dev/sdb rw\n").ends_with(": sdb is mounted at /mnt"));
    // The source may be another name of it.
    assert!(mount("60 24 8:18 / /mnt rw - ext4 /dev/root rw\n").ends_with(": sdb2 is mounted at /mnt"));
    // btrfs has a device number of its own.
    let refusal = mount("60 24 0:44 /root / rw - btrfs /dev/sdb2 rw,subvol=/root\n");
    assert!(refusal.ends_with(": this system runs from sdb2"));
    // Another disk's.
    let mut sysfs = Sysfs::new(DISK);
    sysfs.mounts.push_str("60 24 8:1 / /media/other rw - vfat /dev/sda1 rw\n");
    sysfs.read("8:16").unwrap().check().unwrap();

    let mut sysfs = Sysfs::new(DISK);
    sysfs.swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/sdb2  partition\t8388604\t0\t-2\n".to_owned();
    assert!(sysfs.refusal().ends_with(": this system swaps to sdb2"));

    let sysfs = Sysfs::new(DISK);
    fs::create_dir_all(sysfs.path("sdb2/holders/dm-0")).unwrap();
    assert!(sysfs.refusal().ends_with(": dm-0 is on sdb2"));
}

#[test]
fn a_reader_without_a_card_and_a_protected_card_are_refused() {
    let sysfs = Sysfs::new(DISK);
    sysfs.set("ro", "1");
    assert!(sysfs.refusal().contains("is read-only"));
    sysfs.set("size", "0");
    assert!(sysfs.refusal().ends_with("has no card in it"));
}

#[test]
fn only_yes_is_a_yes() {
    for (answer, agreed) in
        [("yes\n", true), (" yes ", true), ("y\n", false), ("no\n", false), ("Yes!\n", false), ("", false)]
    {
        assert_eq!(agrees(&mut answer.as_bytes()).unwrap(), agreed, "{answer:?}");
    }
}

/// More than two pieces, the last not whole.
fn image() -> Vec<u8> {
    (0..2_500_000_u32).map(|number| (number / 7) as u8).collect()
}

/// A file in place of a disk, with something on it.
fn target(size: usize) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![0xee; size]).unwrap();
    (folder, path)
}

#[test]
fn what_is_written_is_read_back_and_what_follows_stays() {
    let image = image();
    let (_folder, path) = target(image.len() + 1000);
    let mut file = copy::open(&path, image.len()).unwrap();
    copy::write(&image, &mut file).unwrap();
    copy::compare(&image, &mut file).unwrap();
    let written = fs::read(&path).unwrap();
    assert!(written[..image.len()] == image && written[image.len()..] == [0xee; 1000]);
}

#[test]
fn a_card_that_reads_back_otherwise_is_told() {
    let image = image();
    for place in [0, 1_048_576, image.len() - 1] {
        let (_folder, path) = target(image.len());
        let mut file = copy::open(&path, image.len()).unwrap();
        copy::write(&image, &mut file).unwrap();
        let mut written = fs::read(&path).unwrap();
        written[place] ^= 1;
        fs::write(&path, written).unwrap();
        let error = copy::compare(&image, &mut file).unwrap_err().to_string();
        assert_eq!(error, format!("it reads back otherwise than it was written, from byte {place} on"));
    }
    // It ends too soon.
    let (_folder, path) = target(image.len());
    let mut file = copy::open(&path, image.len()).unwrap();
    copy::write(&image, &mut file).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(2_000_000).unwrap();
    assert!(copy::compare(&image, &mut file).unwrap_err().to_string().starts_with("cannot read it back"));
}

#[test]
fn a_card_that_is_too_small_is_left_alone() {
    let image = image();
    let (_folder, path) = target(image.len() - 1);
    let error = copy::open(&path, image.len()).unwrap_err().to_string();
    assert!(error.ends_with("is too small: it has 2.50 MB, and the image 2.50 MB"), "{error}");
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0xee));
}
