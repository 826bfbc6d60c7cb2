//! What `./x image` makes, which a Raspberry Pi 4 starts from: read by other programs, and by this system.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::{DiskImage, built};

use crate::plain;

/// Where its one partition is.
const START: u64 = 4 << 20;
const END: u64 = 64 << 20;

/// What is on it: names, and the files that they are copies of, unless they are part of the image's own source.
const FILES: [(&str, Option<&str>); 7] = [
    ("LICENCE.broadcom", Some("firmware/LICENCE.broadcom")),
    ("bcm2711-rpi-4-b.dtb", Some("firmware/bcm2711-rpi-4-b.dtb")),
    ("config.txt", None),
    ("fixup4.dat", Some("firmware/fixup4.dat")),
    ("initramfs.cpio", Some("initramfs.cpio")),
    ("kernel8.img", Some("kernel.img")),
    ("start4.elf", Some("firmware/start4.elf")),
];

#[test]
fn the_card_of_a_pi_4_holds_what_was_built_and_its_firmware() {
    let path = built("rpi4.img");
    let table = Command::new("/usr/sbin/sfdisk").arg("--json").arg(&path).output().expect("sfdisk is installed");
    let table: Value = serde_json::from_slice(&table.stdout).expect("sfdisk writes JSON");
    let partitions = table["partitiontable"]["partitions"].as_array().expect("there is a table");
    let [partition] = &partitions[..] else { panic!("{partitions:?}") };
    assert_eq!(
        [&partition["start"], &partition["size"]].map(Value::as_u64),
        [START, END - START].map(|n| Some(n / 512))
    );
    assert_eq!(partition["type"], "c");

    let image = DiskImage::from_bytes(&fs::read(&path).expect("it can be read"));
    assert_eq!(image.complaints(START..END), "");
    let tree = image.tree(START);
    assert_eq!(tree.keys().collect::<Vec<_>>(), FILES.map(|(name, _)| name).iter().collect::<Vec<_>>());
    for (name, source) in FILES {
        if let Some(source) = source {
            let source = fs::read(built(source)).expect("it can be read");
            assert!(tree[name].as_ref() == Some(&source), "{name}");
        }
    }
}

#[test]
fn lockstep_reads_the_card_of_a_pi_4() {
    let image = built("rpi4.img");
    let mut machine = plain()
        .argument("-drive", &format!("if=none,id=card,format=raw,snapshot=on,file={}", image.display()))
        .argument("-device", "virtio-blk-device,drive=card")
        .boot();
    machine.command_until("mount", |table| table.contains("/vda1"));
    let rows = machine.table("ls -l /vda1");
    for (name, source) in FILES {
        let row = rows.iter().find(|row| row.last().is_some_and(|last| last == name));
        let row = row.unwrap_or_else(|| panic!("{name}: {rows:?}"));
        if let Some(source) = source {
            let length = built(source).metadata().expect("it is there").len();
            assert_eq!(row[..2], [length.to_string(), "1980-01-01T00:00:00Z".to_owned()], "{name}");
        }
    }
    assert!(machine.command("cat /vda1/config.txt").contains("\nenable_uart=1"));
}
