//! Files on disks: what the shell writes is there after a reboot, and on the host; what is broken is told.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tests::{DiskImage, Initramfs, Machine, PROMPT, Setup, test_module};

use crate::plain;

const MIB: u64 = 1 << 20;

/// Two partitions: FAT32 at 1 MiB, FAT16 at 41 MiB.
const TABLE: &str = "label: dos\nstart=1MiB, size=40MiB, type=c\nstart=41MiB, size=16MiB, type=6\n";

fn partitioned() -> DiskImage {
    let image = DiskImage::new(64 * MIB).with_table(TABLE);
    image.with_fat(32, MIB..41 * MIB, &["-s", "1"]).with_fat(16, 41 * MIB..57 * MIB, &[])
}

/// Adds a disk, with more options for its drive. The first that is added is the last in the device tree.
fn add(setup: Setup, name: &str, path: PathBuf, drive: &str) -> Setup {
    setup
        .argument("-drive", &format!("if=none,id={name},format=raw,file={}{drive}", path.display()))
        .argument("-device", &format!("virtio-blk-device,drive={name}"))
}

/// Waits until there are that many volumes, and returns the table of them.
fn volumes(machine: &mut Machine, count: usize) -> Vec<Vec<String>> {
    machine.command_until("mount", |table| table.lines().count() == count + 1);
    machine.table("mount")
}

/// Bytes that are the same in every run.
fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

#[test]
fn what_is_written_is_there_after_a_reboot_and_on_the_host() {
    let long = random(5_000_003);
    let image = partitioned().with_directory(MIB, "over lays").with_file(MIB, "over lays/long one.bin", &long);
    let mut machine = add(plain(), "disk", image.path(), "").boot();
    let table = volumes(&mut machine, 2);
    let rows: Vec<_> = table.iter().map(|row| [&*row[0], &row[1], &row[4], &row[5]]).collect();
    let device = "/virtio_mmio@a003e00/device2";
    assert_eq!(rows, [["/vda1", "FAT32", "0", device], ["/vda2", "FAT16", "0", device]]);
    assert_eq!(table[0][3], "4.8M");
    assert_eq!(machine.command("ls"), "vda1/\nvda2/");

    for command in [
        "mkdir /vda2/notes /vda2/empty",
        "echo first line > /vda2/notes/today",
        "echo 'second  line' >> /vda2/notes/today",
        "cp '/vda1/over lays/long one.bin' /vda2/notes/copy",
        "cp -r /vda2/notes /vda1/more",
        "mv /vda1/more/today /vda1/TODAY.TXT",
        "mv '/vda1/over lays' /vda2/moved",
        "rm /vda2/notes/copy",
        "help > /vda2/help",
        "rm -r /vda2/empty",
    ] {
        assert_eq!(machine.command(command), "", "{command}");
    }
    machine.type_in("reboot\r");
    machine.wait_for_shell();
    volumes(&mut machine, 2);
    assert_eq!(machine.command("cat /vda1/TODAY.TXT"), "first line\nsecond  line");
    assert_eq!(machine.command("ls /vda2 /vda1/more"), "/vda2:\nhelp\nmoved/\nnotes/\n/vda1/more:\ncopy");
    let row = machine.row("ls -l /vda2/moved", "5000003");
    assert_eq!(row[2], "long one.bin");
    machine.expect(&row[1], "T");
    let help = machine.command("help");
    machine.type_in("poweroff\r");
    machine.wait_for_exit();

    assert_eq!(image.complaints(MIB..41 * MIB), "");
    assert_eq!(image.complaints(41 * MIB..57 * MIB), "");
    let text = || Some(b"first line\nsecond  line\n".to_vec());
    let expected = [("TODAY.TXT", text()), ("more", None), ("more/copy", Some(long.clone()))];
    assert!(image.tree(MIB) == expected.map(|(name, contents)| (name.to_owned(), contents)).into());
    let expected = [
        ("help", Some(format!("{help}\n").into_bytes())),
        ("moved", None),
        ("moved/long one.bin", Some(long)),
        ("notes", None),
        ("notes/today", text()),
    ];
    assert!(image.tree(41 * MIB) == expected.map(|(name, contents)| (name.to_owned(), contents)).into());
}

#[test]
fn what_has_been_written_out_outlives_a_loss_of_power() {
    let image = partitioned();
    let mut machine = add(plain(), "disk", image.path(), "").boot();
    volumes(&mut machine, 2);
    assert_eq!(machine.command("echo hello > /vda1/file"), "");
    assert_eq!(machine.command("sync"), "");
    drop(machine);
    assert_eq!(image.tree(MIB)["file"], Some(b"hello\n".to_vec()));
    assert_eq!(image.complaints(MIB..41 * MIB), "");
}

#[test]
fn mistakes_are_told() {
    let image = partitioned().with_file(MIB, "file", b"text\n").with_directory(MIB, "directory");
    let mut machine = add(plain(), "disk", image.path(), "").boot();
    volumes(&mut machine, 2);
    for (command, answer) in [
        ("ls /vdb", "ls: there is no volume vdb; mount lists them"),
        ("ls /vda1/x", "ls: there is no /vda1/x"),
        ("cat /vda1/directory", "cat: /vda1/directory is a directory"),
        ("cat /", "cat: / holds nothing but volumes"),
        ("cat", "usage: cat PATH..."),
        ("ls -a /", "usage: ls [-l] [PATH...]"),
        ("cp /vda1/file /vda1/FILE", "cp: /vda1/file can't be copied to itself"),
        ("cp /vda1/directory /vda2", "cp: /vda1/directory is a directory; -r copies what is in it"),
        ("cp -r /vda1/directory /vda1/directory/x", "cp: /vda1/directory/x lies within /vda1/directory"),
        ("cp /vda1/file /vda1/directory /vda1/file", "cp: /vda1/file is no directory"),
        ("mv /vda1/x /vda2", "mv: there is no /vda1/x"),
        ("mv /vda1/file", "usage: mv SOURCE... TARGET"),
        ("rm /vda1/directory", "rm: /vda1/directory is a directory; -r removes it with what is in it"),
        ("mkdir /vda1/directory", "mkdir: /vda1/directory is there already"),
        ("mkdir /vda1/a/b", "mkdir: there is no /vda1/a/b"),
        ("echo x > /vda1/directory", "echo: /vda1/directory is a directory"),
        ("echo x > /vda3/f", "echo: there is no volume vda3; mount lists them"),
        ("echo x >", "a path has to follow `>`"),
        ("echo 'x", "the quotation that ' begins has no end"),
        ("dd if=zero of=/vda1/file", "dd: there is no block device `/vda1/file`; lsblk lists them"),
    ] {
        assert_eq!(machine.command(command), answer, "{command}");
    }
    assert_eq!(machine.command("cat /vda1/file /vda1/file"), "text\ntext");
    // Tab completes paths.
    machine.type_in("cat /vd\t1/f\t\r");
    machine.wait_for(&format!("cat /vda1/file \ntext\n{PROMPT}"));
}

#[test]
fn disks_without_anything_or_with_nonsense_are_told_and_the_rest_works() {
    assert_eq!(plain().boot().command("mount"), "PATH  TYPE  SIZE  USED  RO  DEVICE");

    let good = DiskImage::new(4 * MIB).with_fat(12, 0..4 * MIB, &[]).with_file(0, "file", b"text\n");
    let empty = DiskImage::new(4 * MIB);
    let overlapping = partitioned();
    let mut bytes = overlapping.bytes();
    // The second partition begins within the first.
    bytes[446 + 16 + 8..][..4].copy_from_slice(&4096_u32.to_le_bytes());
    overlapping.set_bytes(&bytes);
    let looping =
        DiskImage::new(4 * MIB).with_fat(16, 0..4 * MIB, &["-s", "1", "-R", "1"]).with_file(0, "file", &[b'x'; 5000]);
    let mut bytes = looping.bytes();
    // Cluster 6 leads back to cluster 3.
    bytes[512 + 2 * 6] = 3;
    looping.set_bytes(&bytes);
    let cut = DiskImage::from_bytes(&good.bytes()[..1 << 20]);
    let mut setup = plain();
    for (name, image) in [("e", &cut), ("d", &looping), ("c", &overlapping), ("b", &empty), ("a", &good)] {
        setup = add(setup, name, image.path(), "");
    }
    let mut machine = setup.boot();
    // Warnings come upon the console until this.
    let log = machine.command_until("dmesg", |log| log.contains("fat: vde: "));
    let paths: Vec<_> = volumes(&mut machine, 2).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(paths, ["/vda", "/vdd"]);
    for sentence in [
        "fat: vdb: there is neither a partition nor a FAT file system",
        "fat: vdc1: the partition is not mounted, since it overlaps partition 2",
        "fat: vdc2: the partition is not mounted, since it overlaps partition 1",
        "fat: vde: its file system can't be used: volume is larger than the device",
    ] {
        machine.expect(&log, sentence);
    }
    let answer = machine.command("cat /vdd/file > /vda/x");
    machine.expect(&answer, "cat: /vdd/file: the file system is damaged: ");
    assert_eq!(machine.command("cat /vda/file"), "text");
}

/// A machine with a slow disk on which a module reads a file of 12 MiB, and the sum of that.
fn reading() -> (DiskImage, Machine, String) {
    let bytes = random(12 << 20);
    let image = DiskImage::new(16 * MIB).with_fat(16, 0..16 * MIB, &[]).with_file(0, "file", &bytes);
    let archive = Initramfs::shipped().with_module("test-file-reader", test_module("test-file-reader"));
    let setup = plain().initramfs(&archive);
    let mut machine = add(setup, "disk", image.path(), ",throttling.bps-read=4194304").boot();
    volumes(&mut machine, 1);
    assert_eq!(machine.command("insmod test-file-reader path=/vda/file"), "");
    machine.command_until("dmesg", |log| log.contains("test-file-reader: begins to read"));
    let sum = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (image, machine, sum)
}

#[test]
fn a_disk_that_goes_while_it_is_read_is_an_error_and_comes_back() {
    let (_image, mut machine, _) = reading();
    assert_eq!(machine.command("rmmod virtio-blk"), "");
    let log = machine.command_until("dmesg", |log| log.contains("test-file-reader: ended: "));
    assert!(
        ["vda: its disk is gone", "there is no volume vda; mount lists them"]
            .iter()
            .any(|why| log.contains(&format!("test-file-reader: ended: {why}"))),
        "{log}"
    );
    assert_eq!(
        machine.command_until("mount", |table| table.lines().count() == 1),
        "PATH  TYPE  SIZE  USED  RO  DEVICE"
    );
    assert_eq!(machine.command("insmod virtio-blk"), "");
    volumes(&mut machine, 1);
    assert_eq!(machine.command("echo fine > /vda/note"), "");
    assert_eq!(machine.command("cat /vda/note"), "fine");
}

#[test]
fn a_reader_notices_nothing_when_disk_driver_and_file_system_are_replaced() {
    let (_image, mut machine, sum) = reading();
    for _ in 0..3 {
        assert_eq!(machine.command("insmod --replace virtio-blk"), "");
        assert_eq!(machine.command("insmod --replace fat"), "");
    }
    assert!(!machine.command("dmesg").contains("test-file-reader: read "), "the read was to be disturbed");
    machine.command_until("dmesg", |log| log.contains(&format!("test-file-reader: read {sum}")));
}

#[test]
fn file_systems_are_looked_for_when_there_is_the_first_disk() {
    // It is a block device, and comes to nothing at boot.
    let archive = Initramfs::shipped().without_file("modules/arm-pl031.o").with_claims("arm,pl031 test-faults\n");
    let archive = archive.with_module("test-faults", test_module("test-faults"));
    let mut machine = plain().initramfs(&archive).boot_arguments("test-faults.blocks=0").boot();
    let is_loaded = |machine: &mut Machine| machine.table("lsmod").iter().any(|row| row[0] == "fat");
    assert!(!is_loaded(&mut machine));
    assert_eq!(machine.command("rmmod test-faults"), "");
    assert_eq!(machine.command("insmod test-faults blocks=4"), "");
    assert!(is_loaded(&mut machine));
    // Who has taken it out means that.
    for command in ["rmmod fat", "rmmod test-faults", "insmod test-faults blocks=4"] {
        assert_eq!(machine.command(command), "");
    }
    assert!(!is_loaded(&mut machine));
}

#[test]
fn a_file_system_that_is_removed_leaves_everything_written() {
    let image = partitioned();
    let mut machine = add(plain(), "disk", image.path(), "").boot();
    volumes(&mut machine, 2);
    assert_eq!(machine.command("echo hello > /vda1/file"), "");
    assert_eq!(machine.command("rmmod fat"), "");
    assert_eq!(machine.command("cat /vda1/file"), "cat: there is no volume vda1; mount lists them");
    assert_eq!(image.complaints(MIB..41 * MIB), "");
    assert_eq!(machine.command("insmod fat"), "");
    volumes(&mut machine, 2);
    assert_eq!(machine.command("cat /vda1/file"), "hello");
}
