#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread::sleep;
use std::time::Duration;

use ::tests::DiskImage;
use serde_json::Value;

use super::*;

/// Files that need one cluster, several, and none.
fn some_files() -> Files {
    let long: Vec<u8> = (0..3_000_001_u32).map(|number| (number / 3) as u8).collect();
    let files = [("config.txt", CONFIGURATION.as_bytes()), (KERNEL, &long), ("LICENCE.broadcom", b"")];
    files.map(|(name, contents)| (name.to_owned(), contents.to_vec())).into()
}

#[test]
fn an_image_has_one_partition_whose_files_other_programs_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.img");
    write(&path, &some_files()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, SIZE);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);

    let table = Command::new("/usr/sbin/sfdisk").arg("--json").arg(&path).output().unwrap();
    let table: Value = serde_json::from_slice(&table.stdout).unwrap();
    let table = &table["partitiontable"];
    assert_eq!(table["label"], "dos");
    let partitions = table["partitions"].as_array().unwrap();
    let [partition] = &partitions[..] else { panic!("{partitions:?}") };
    assert_eq!([&partition["start"], &partition["size"]].map(Value::as_u64), [Some(8192), Some(122_880)]);
    assert_eq!(partition["type"], "c");

    let image = DiskImage::from_bytes(&bytes);
    assert_eq!(image.complaints(START..SIZE), "");
    let expected = some_files().into_iter().map(|(name, contents)| (name, Some(contents))).collect();
    assert!(image.tree(START) == expected, "{:?}", image.tree(START).keys());

    let kernel = extract(&path, KERNEL, &folder.path().join("extracted")).unwrap();
    assert!(std::fs::read(kernel).unwrap() == some_files()[KERNEL]);
}

#[test]
fn the_same_files_give_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first.img", "second.img"].map(|name| folder.path().join(name));
    write(&first, &some_files()).unwrap();
    // FAT's clock ticks every other second.
    sleep(Duration::from_millis(2100));
    write(&second, &some_files()).unwrap();
    assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap());
}

#[test]
fn an_image_stays_when_there_is_no_room_for_the_files_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.img");
    std::fs::write(&path, b"the last one").unwrap();
    let files = Files::from([("large".to_owned(), vec![1; 60 << 20])]);
    let error = write(&path, &files).unwrap_err().to_string();
    assert_eq!(error, "mcopy: Disk full");
    assert_eq!(std::fs::read(&path).unwrap(), b"the last one");
}

#[test]
fn the_configuration_names_what_is_on_the_card_and_says_why() {
    let lines: Vec<&str> = CONFIGURATION.lines().collect();
    let options: Vec<&str> = lines.iter().copied().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let tree = format!("device_tree={}", firmware::RASPBERRY_PI_4);
    let [kernel, archive] = [format!("kernel={KERNEL}"), format!("initramfs {INITRAMFS} followkernel")];
    assert_eq!(options, ["arm_64bit=1", &kernel, &archive, &tree, "enable_uart=1"]);
    for pair in lines.windows(2).filter(|pair| options.contains(&pair[1])) {
        assert!(pair[0].starts_with("# "), "{}", pair[1]);
    }
    // The firmware reads no more of a line (Raspberry Pi documentation, "File format").
    assert!(lines.iter().all(|line| line.len() <= 98));
}
