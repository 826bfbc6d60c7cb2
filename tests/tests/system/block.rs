//! Block devices: what the shell reads is what the host has in the image's file, and what it writes arrives there.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tests::{Initramfs, Machine, Setup, test_module};

use crate::plain;

/// A folder with images.
struct Images(TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// An image of random bytes, the same in every run.
    fn random(&self, name: &str, size: usize) -> Image {
        let mut bytes = vec![0; size];
        fastrand::Rng::with_seed(size as u64).fill(&mut bytes);
        self.image(name, bytes)
    }

    fn image(&self, name: &str, bytes: Vec<u8>) -> Image {
        let path = self.0.path().join(name);
        std::fs::write(&path, &bytes).expect("the temporary folder can be written to");
        Image { path, bytes }
    }
}

/// An image, and what is in it at first.
struct Image {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Image {
    fn now(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("the image can be read")
    }

    /// Adds it to a machine, with more options of QEMU's for the drive and for the device. The first that is added is
    /// the last in the device tree.
    fn add(&self, setup: Setup, drive: &str, device: &str) -> Setup {
        add(setup, &self.path.display().to_string(), drive, device)
    }
}

fn add(setup: Setup, file: &str, drive: &str, device: &str) -> Setup {
    let identifier = Path::new(file).file_stem().expect("a name").display().to_string();
    setup
        .argument("-drive", &format!("if=none,id={identifier},format=raw,file={file}{drive}"))
        .argument("-device", &format!("virtio-blk-device,drive={identifier}{device}"))
}

/// What the shell's `sha256sum` prints for these bytes of that device.
fn sum(bytes: &[u8], name: &str) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}  {name}")
}

#[track_caller]
fn power_off(mut machine: Machine) {
    machine.type_in("poweroff\r");
    let (status, _) = machine.wait_for_exit();
    assert!(status.success(), "{status}");
}

#[test]
fn what_is_read_is_what_the_host_has() {
    for arguments in [None, Some("virtio-mmio.force-legacy=false")] {
        let images = Images::new();
        // More than a piece of the shell's, and neither whole pages nor whole requests.
        let image = images.random("image", (5 << 20) + 3 * 512);
        let setup = arguments.into_iter().fold(plain(), |setup, value| setup.argument("-global", value));
        let mut machine = image.add(setup, "", "").boot();
        assert_eq!(machine.row("lsblk", "vda"), ["vda", "5M", "0", "512", "/virtio_mmio@a003e00/device2"]);
        assert_eq!(machine.command("sha256sum vda"), sum(&image.bytes, "vda"));
        let part = &image.bytes[1_000_001..3_000_004];
        assert_eq!(machine.command("sha256sum -s 1000001 -n 2000003 vda"), sum(part, "vda"));
        let dump = machine.command("hexdump -C -s 0x100000 -n 16 vda");
        let bytes: Vec<_> = image.bytes[1 << 20..][..16].iter().map(|byte| format!("{byte:02x}")).collect();
        machine.expect(&dump, &format!("00100000  {}  {}  |", bytes[..8].join(" "), bytes[8..].join(" ")));
        assert!(machine.table("lsdev").iter().any(|row| row[1..] == ["virtio,device2", "virtio-blk", "bound"]));
    }
}

#[test]
fn what_is_written_is_what_the_host_gets() {
    for legacy in ["true", "false"] {
        let images = Images::new();
        let (target, source) = (images.random("target", 3 << 20), images.random("source", (2 << 20) + 512));
        let mut machine = plain().argument("-global", &format!("virtio-mmio.force-legacy={legacy}"));
        for image in [&target, &source] {
            machine = image.add(machine, "", "");
        }
        let mut machine = machine.boot();
        let sizes: Vec<_> = machine.table("lsblk").into_iter().map(|row| [row[0].clone(), row[1].clone()]).collect();
        assert_eq!(sizes, [["vda", "2M"], ["vdb", "3M"]]);

        let output = machine.command("dd if=vda of=vdb bs=1K skip=100 seek=200");
        machine.expect(&output, "1948+1 records out\n1995264 bytes copied, ");
        let output = machine.command("dd if=zero of=vdb bs=4K count=3 seek=1");
        machine.expect(&output, "3+0 records out\n12288 bytes copied, ");
        let mut expected = target.bytes.clone();
        expected[200 << 10..][..1_995_264].copy_from_slice(&source.bytes[100 << 10..]);
        expected[4096..16384].fill(0);
        assert_eq!(machine.command("sha256sum vdb"), sum(&expected, "vdb"));
        // It had been flushed: without a proper end it is there all the same.
        assert!(target.now() == expected);

        let output = machine.command("dd if=vda of=vdb bs=512 seek=6000");
        machine.expect(&output, "144+0 records out\n73728 bytes copied, ");
        machine.expect(&output, "dd: vdb is full");
        expected[6000 * 512..].copy_from_slice(&source.bytes[..73728]);
        power_off(machine);
        assert!(target.now() == expected);
        assert!(source.now() == source.bytes);
    }
}

#[test]
fn a_read_only_drive_is_not_written_to() {
    let images = Images::new();
    let image = images.random("image", 1 << 20);
    let mut machine = image.add(plain(), ",readonly=on", "").boot();
    assert_eq!(machine.row("lsblk", "vda")[..4], ["vda", "1M", "1", "512"]);
    assert_eq!(machine.command("dd if=zero of=vda"), "dd: vda is read-only");
    assert_eq!(machine.command("sha256sum vda"), sum(&image.bytes, "vda"));
    power_off(machine);
    assert!(image.now() == image.bytes);
}

#[test]
fn drives_of_any_size_and_none() {
    let images = Images::new();
    let setup = plain();
    assert_eq!(setup.boot().command("lsblk"), "NAME  SIZE  RO  BLOCK  DEVICE");

    // QEMU makes whole sectors of what is no multiple of 512.
    let (odd, empty) = (images.random("odd", 1_000_001), images.random("empty", 0));
    let blocks = images.random("blocks", 9 * 4096);
    let mut setup = odd.add(plain(), "", "");
    setup = empty.add(setup, "", "");
    setup = blocks.add(setup, "", ",logical_block_size=4096,physical_block_size=4096");
    let mut machine = setup.boot();
    let rows: Vec<_> = machine.table("lsblk").into_iter().map(|row| row[..4].join(" ")).collect();
    assert_eq!(rows, ["vda 36K 0 4096", "vdb 0B 0 512", "vdc 977K 0 512"]);
    assert_eq!(machine.command("sha256sum vda"), sum(&blocks.bytes, "vda"));
    assert_eq!(machine.command("sha256sum vdb"), sum(&[], "vdb"));
    let sectors = [&odd.bytes[..], &[0; 447]].concat();
    assert_eq!(machine.command("sha256sum vdc"), sum(&sectors, "vdc"));
    assert_eq!(machine.command("hexdump -C vdb"), "");
    let output = machine.command("dd if=vdc of=vdb");
    machine.expect(&output, "0+0 records out");
    machine.expect(&output, "dd: vdb is full");
    let output = machine.command("dd if=vdc of=vda bs=4K count=2 skip=3 seek=5");
    machine.expect(&output, "2+0 records out");
    power_off(machine);
    let mut expected = blocks.bytes.clone();
    expected[5 * 4096..7 * 4096].copy_from_slice(&odd.bytes[3 * 4096..5 * 4096]);
    assert!(blocks.now() == expected);
}

#[test]
fn the_driver_goes_and_comes_back() {
    let images = Images::new();
    let image = images.random("image", 1 << 20);
    let mut machine = image.add(plain(), "", "").boot();
    let mut round = || {
        assert_eq!(machine.command("sha256sum vda"), sum(&image.bytes, "vda"));
        assert_eq!(machine.command("rmmod virtio-blk"), "");
        assert_eq!(machine.table("lsblk"), Vec::<Vec<String>>::new());
        let answer = machine.command("sha256sum vda");
        assert_eq!(answer, "sha256sum: there is no block device `vda`; lsblk lists them");
        let memory = machine.row("free", "Mem:");
        assert_eq!(machine.command("insmod virtio-blk"), "");
        memory
    };
    round();
    let before = round();
    for _ in 0..10 {
        assert_eq!(round(), before);
    }
}

#[test]
fn an_error_of_the_drive_is_told_and_does_not_last() {
    let images = Images::new();
    let image = images.random("image", 1 << 20);
    // Sector 1000 can't be read, sector 1500 can't be written.
    let rules: String = [("read_aio", 1000), ("write_aio", 1500)]
        .map(|(event, sector)| format!("[inject-error]\nevent = \"{event}\"\nerrno = \"5\"\nsector = \"{sector}\"\n"))
        .concat();
    let rules = images.image("rules", rules.into_bytes());
    let file = format!("blkdebug:{}:{}", rules.path.display(), image.path.display());
    // QEMU makes one request of several where it can: all would fail with one of them.
    let mut machine = add(plain(), &file, "", ",request-merging=off").boot();
    let answer = machine.command("sha256sum vda");
    assert_eq!(answer, "sha256sum: blocks 896 to 1023 can't be read: the device reports an I/O error");
    let answer = machine.command("hexdump -C -s 512000 -n 1 vda");
    assert_eq!(answer, "hexdump: blocks 1000 to 1000 can't be read: the device reports an I/O error");
    for (from, to) in [(0, 1000), (1001, 2048)] {
        let (skip, length) = (from * 512, (to - from) * 512);
        let answer = machine.command(&format!("sha256sum -s {skip} -n {length} vda"));
        assert_eq!(answer, sum(&image.bytes[skip..skip + length], "vda"));
    }
    let output = machine.command("dd if=zero of=vda bs=512 seek=1500 count=2");
    machine.expect(&output, "dd: blocks 1500 to 1501 can't be written: the device reports an I/O error");
    let output = machine.command("dd if=zero of=vda bs=512 seek=1501 count=2");
    machine.expect(&output, "2+0 records out\n1024 bytes copied, ");
    power_off(machine);
    let mut expected = image.bytes.clone();
    expected[1501 * 512..1503 * 512].fill(0);
    assert!(image.now() == expected);
}

/// A machine whose drive gives this many bytes a second, with a module that reads it as a whole.
fn slow(image: &Image, bytes: usize) -> Machine {
    let archive = Initramfs::shipped().with_module("test-reader", test_module("test-reader"));
    let setup = plain().initramfs(&archive);
    image.add(setup, &format!(",throttling.bps-read={bytes}"), "").boot()
}

#[test]
fn a_long_read_goes_on_when_the_driver_has_come_back() {
    let images = Images::new();
    let image = images.random("image", 12 << 20);
    let mut machine = slow(&image, 4 << 20);
    assert_eq!(machine.command("insmod test-reader"), "");
    for _ in 0..3 {
        machine.command_until("dmesg", |log| log.contains("test-reader: begins to read"));
        assert_eq!(machine.command("rmmod virtio-blk"), "");
        assert!(machine.table("lsmod").iter().all(|row| row[0] != "virtio-blk"));
        assert_eq!(machine.command("insmod virtio-blk"), "");
    }
    let log = machine.command_until("dmesg", |log| log.contains("test-reader: read "));
    let (_, result) = log.split_once("test-reader: read ").expect("it is there");
    assert_eq!(format!("{}  vda", &result[..64]), sum(&image.bytes, "vda"));
    machine.expect(result, " in 12 pieces by ");
    assert!(!result.contains("by 12 calls"), "the read was to be disturbed: {result}");
}

#[test]
fn a_reader_that_is_removed_leaves_the_driver_in_order() {
    let images = Images::new();
    let image = images.random("image", 12 << 20);
    let mut machine = slow(&image, 1 << 20);
    for _ in 0..3 {
        assert_eq!(machine.command("insmod test-reader"), "");
        machine.command_until("dmesg", |log| log.contains("test-reader: begins to read"));
        assert_eq!(machine.command("rmmod test-reader"), "");
        machine.command_until("dmesg", |log| log.contains("test-reader: ended: the module is being removed"));
        assert_eq!(machine.command("sha256sum -n 64K vda"), sum(&image.bytes[..64 << 10], "vda"));
    }
    // What the device still has doesn't keep the driver from being removed.
    assert_eq!(machine.command("insmod test-reader"), "");
    assert_eq!(machine.command("rmmod test-reader"), "");
    assert_eq!(machine.command("rmmod virtio-blk"), "");
    assert_eq!(machine.command("insmod virtio-blk"), "");
    assert_eq!(machine.command("sha256sum -n 64K vda"), sum(&image.bytes[..64 << 10], "vda"));
}
