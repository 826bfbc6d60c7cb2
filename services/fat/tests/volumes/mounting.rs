//! Disks and partitions: what is found on them, and what becomes of it when they come and go.

use crate::{DISK, FakeDisk, MIB, OTHER_DISK, contents, files, mounted, tree, volumes};
use abi::Error;
use abi::file::Kind;
use fake_kernel::{Session, await_log, wait_until, withdraw};
use tests::DiskImage;

/// A partition of the kinds that follow: 4 MiB from there on.
fn partition(start: u64) -> std::ops::Range<u64> {
    start..start + 4 * MIB
}

const MBR: &str =
    "label: dos\nstart=1MiB, size=4MiB, type=c\nstart=5MiB, size=4MiB, type=83\nstart=9MiB, size=4MiB, type=6\n";
const GPT: &str = "label: gpt\nstart=1MiB, size=4MiB\nstart=5MiB, size=4MiB, type=U\nstart=9MiB, size=4MiB\n";
const LOGICAL: &str = "label: dos\nstart=1MiB, size=4MiB, type=4\nstart=5MiB, size=26MiB, type=5\nstart=6MiB, size=4MiB, type=4\nstart=12MiB, size=4MiB, type=4\n";

#[test]
fn partitions_have_the_numbers_and_contents_that_others_give_them() {
    for (table, numbers, starts) in
        [(MBR, ["1", "3"], [1, 9]), (GPT, ["1", "3"], [1, 9]), (LOGICAL, ["5", "6"], [6, 12])]
    {
        let mut image = DiskImage::new(32 * MIB).with_table(table);
        for start in starts {
            image = image.with_fat(12, partition(start * MIB), &[]).with_file(
                start * MIB,
                "where",
                start.to_string().as_bytes(),
            );
        }
        let session = Session::start(|| ());
        let disk = FakeDisk::publish(DISK, &image);
        let files = files(&session);
        assert_eq!(volumes(files), numbers.map(|number| format!("vda{number}")));
        for (number, start) in numbers.iter().zip(starts) {
            let path = format!("/vda{number}/where");
            assert_eq!(contents(files, &path, start.to_string().len() as u64), start.to_string().as_bytes());
            files.write(&path, 0, b"written").unwrap();
        }
        drop(session);
        for start in starts {
            assert_eq!(disk.image().tree(start * MIB)["where"], Some(b"written".to_vec()));
            assert_eq!(disk.image().complaints(partition(start * MIB)), "");
        }
    }
}

#[test]
fn a_disk_whose_blocks_cannot_be_is_left_out() {
    let session = Session::start(|| ());
    FakeDisk::new(vec![], 1 << 30, false).publish_as(DISK);
    await_log(
        "vda, /device@1, can't be used: the device misbehaved: its driver says that its blocks have 1073741824 bytes, a power \
         of two from 512 to 65536 is expected",
    );
    FakeDisk::publish(OTHER_DISK, &DiskImage::new(4 * MIB).with_fat(16, 0..4 * MIB, &["-s", "1"]));
    assert_eq!(volumes(files(&session)), ["vdb"]);
}

#[test]
fn volumes_come_and_go_with_their_disks() {
    // FAT16 notes whether there is something left to write out.
    let empty = || DiskImage::new(4 * MIB).with_fat(16, 0..4 * MIB, &["-s", "1"]);
    let image = |text: &str| empty().with_file(0, "f", text.as_bytes());
    let (session, disk) = mounted(&image("one"));
    let files = files(&session);
    let other = FakeDisk::publish(OTHER_DISK, &image("two"));
    wait_until("second volume", || files.volumes().len() == 2);
    assert_eq!(volumes(files), ["vda", "vdb"]);
    assert_eq!(files.volumes()[1].device, "/device@2");
    files.create("/vda/g", Kind::File).unwrap();
    files.create("/vdb/h", Kind::File).unwrap();

    // The second is the first now, also by its name.
    withdraw(DISK);
    wait_until("change of name", || files.volumes().iter().map(|volume| &*volume.name).eq(["vda"]));
    assert_eq!(contents(files, "/vda/f", 3), b"two");
    assert_eq!(files.find("/vda/h").unwrap().map(|status| status.kind), Some(Kind::File));
    // All that was changed before has been written out on that occasion.
    assert_eq!(other.image().complaints(0..4 * MIB), "");

    // It is the same disk that comes back: nothing has been remembered that wasn't written.
    disk.publish_as(DISK);
    wait_until("first volume again", || files.volumes().len() == 2);
    assert_eq!(contents(files, "/vda/f", 3), b"one");
    assert_eq!(contents(files, "/vdb/f", 3), b"two");
}

#[test]
fn another_medium_in_the_same_device_is_noticed_and_gets_nothing_of_the_first() {
    let image = |serial: &str, name: &str| {
        let options = ["-s", "1", "-i", serial];
        DiskImage::new(4 * MIB).with_fat(16, 0..4 * MIB, &options).with_file(0, name, b"x")
    };
    let (session, _) = mounted(&image("12345678", "first"));
    let files = files(&session);
    files.create("/vda/lost", Kind::File).unwrap();
    // The first was out for so short a time that nobody saw it.
    let image = image("87654321", "second");
    let second = FakeDisk::publish(DISK, &image);
    await_log("vda: ended before its last changes were written out: vda: its disk is gone");
    wait_until("second medium", || matches!(files.find("/vda/second"), Ok(Some(_))));
    assert_eq!(tree(files, "/vda"), image.tree(0));
    drop(session);
    assert!(second.written.lock().unwrap().is_empty());
}

#[test]
fn a_disk_that_goes_in_the_middle_is_an_error_of_the_call() {
    let image = DiskImage::new(4 * MIB).with_fat(12, 0..4 * MIB, &[]).with_file(0, "f", &[7; 2_000_000]);
    let (session, disk) = mounted(&image);
    let files = files(&session);
    let mut buffer = vec![0; 2_000_000];
    // The call that comes upon this block finds the disk gone.
    *disk.bad.lock().unwrap() = Some((3000..3001, Error::Gone));
    let gone = Error::Io("vda: its disk is gone".into());
    assert_eq!(files.read("/vda/f", 0, &mut buffer), Err(gone.clone()));
    assert_eq!(files.write("/vda/f", 0, &buffer), Err(gone));
    withdraw(DISK);
    wait_until("end of the volume", || files.volumes().is_empty());
    assert_eq!(
        files.read("/vda/f", 0, &mut buffer),
        Err(Error::Invalid("there is no volume vda; mount lists them".into()))
    );
}

#[test]
fn an_error_of_the_medium_is_told_and_concerns_nothing_else() {
    let image = DiskImage::new(4 * MIB)
        .with_fat(12, 0..4 * MIB, &[])
        .with_file(0, "f", &[7; 2_000_000])
        .with_file(0, "g", b"g");
    let (session, disk) = mounted(&image);
    let files = files(&session);
    let mut buffer = vec![0; 2_000_000];
    *disk.bad.lock().unwrap() = Some((3000..3001, Error::Io("block 3000 is scratched".into())));
    let scratched = Error::Io("vda: block 3000 is scratched".into());
    assert_eq!(files.read("/vda/f", 0, &mut buffer), Err(scratched.clone()));
    assert_eq!(files.write("/vda/f", 0, &buffer), Err(scratched));
    assert_eq!(files.read("/vda/f", 0, &mut buffer[..1_000_000]), Ok(1_000_000));
    assert_eq!(contents(files, "/vda/g", 1), b"g");
    files.create("/vda/h", Kind::File).unwrap();
    *disk.bad.lock().unwrap() = None;
    assert_eq!(files.read("/vda/f", 0, &mut buffer), Ok(2_000_000));
    drop(session);
    assert_eq!(disk.image().complaints(0..4 * MIB), "");
}

#[test]
fn what_is_read_only_stays_as_it_is() {
    let image = DiskImage::new(4 * MIB).with_fat(16, 0..4 * MIB, &["-s", "1"]).with_file(0, "f", b"f");
    let session = Session::start(|| ());
    FakeDisk::new(image.bytes(), 512, true).publish_as(DISK);
    let files = files(&session);
    volumes(files);
    assert!(files.volumes()[0].read_only);
    assert_eq!(contents(files, "/vda/f", 1), b"f");
    let refused = Err(Error::Invalid("vda is read-only".into()));
    assert_eq!(files.create("/vda/g", Kind::File), refused);
    assert_eq!(files.write("/vda/f", 0, b"g"), refused);
    assert_eq!(files.remove("/vda/f"), refused);
    assert_eq!(files.sync(), Ok(()));
}

#[test]
fn a_volume_that_was_switched_off_in_the_middle_says_so() {
    let (size, options): (_, &[&str]) = (4 * MIB, &["-s", "1"]);
    let (session, disk) = mounted(&DiskImage::new(size).with_fat(16, 0..size, options));
    files(&session).create("/vda/f", Kind::File).unwrap();
    let image = disk.image();
    drop(session);
    let (session, _) = mounted(&image);
    await_log("vda: it was switched off or taken away in the middle of a change; fsck.fat finds what that left");
    assert!(files(&session).find("/vda/f").unwrap().is_some());
}
