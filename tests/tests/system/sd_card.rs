//! SD cards behind the host controllers of the Raspberry Pis: what is read and written is on the card, and what can go wrong
//! with one is told.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tests::{DiskImage, Machine, Setup};

use crate::raspberry_pi::{pi_3, pi_4};

const MIB: u64 = 1 << 20;

/// One FAT32 partition at 1 MiB.
const TABLE: &str = "label: dos\nstart=1MiB, size=40MiB, type=c\n";
const PARTITION: std::ops::Range<u64> = MIB..41 * MIB;

/// A host controller, and how a card gets into its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Where QEMU has the card of a Raspberry Pi 4, though its pins lead to the other.
    Sdhci,
    /// Where the card of a real Raspberry Pi 4 is.
    Emmc2,
    /// Where the card of a Raspberry Pi 3 is.
    Sdhost,
}

impl Slot {
    const ALL: [Self; 3] = [Self::Sdhci, Self::Emmc2, Self::Sdhost];

    fn node(self) -> &'static str {
        match self {
            Self::Sdhci => "/soc/mmc@7e300000",
            Self::Emmc2 => "/emmc2bus/mmc@7e340000",
            Self::Sdhost => "/soc/mmc@7e202000",
        }
    }

    fn module(self) -> &'static str {
        if self == Self::Sdhost { "bcm2835-sdhost" } else { "bcm2835-sdhci" }
    }

    /// What QEMU calls the drive.
    fn drive(self) -> &'static str {
        if self == Self::Emmc2 { "card" } else { "sd0" }
    }

    /// A board with a card, which may be none.
    fn with(self, card: Option<&Path>) -> Setup {
        let file = card.map(|path| format!(",format=raw,file={}", path.display())).unwrap_or_default();
        match self {
            Self::Sdhci => pi_4().argument("-drive", &format!("if=sd{file}")),
            Self::Sdhost => pi_3().argument("-drive", &format!("if=sd{file}")),
            // The controller that has been added last is the first of that name.
            Self::Emmc2 => pi_4()
                .argument("-drive", &format!("if=none,id=card{file}"))
                .argument("-device", "sd-card,drive=card,bus=/generic-sdhci/sd-bus"),
        }
        .monitored()
    }
}

/// Gives a command to QEMU's monitor, and waits until it is done.
#[track_caller]
pub fn monitor(machine: &Machine, command: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", machine.ports()[0])).expect("QEMU listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    let mut shown = Vec::new();
    let mut wait_for_prompt = |stream: &mut TcpStream| {
        let (mut byte, begin) = ([0], shown.len());
        while !shown[begin..].ends_with(b"(qemu) ") {
            stream.read_exact(&mut byte).expect("QEMU answers");
            shown.push(byte[0]);
        }
        String::from_utf8_lossy(&shown[begin..]).into_owned()
    };
    wait_for_prompt(&mut stream);
    stream.write_all(format!("{command}\n").as_bytes()).expect("QEMU listens");
    let answer = wait_for_prompt(&mut stream);
    assert!(!answer.contains("Error"), "{command}: {answer}");
}

fn pull(machine: &Machine, slot: Slot) {
    monitor(machine, &format!("eject -f {}", slot.drive()));
}

fn put_in(machine: &Machine, slot: Slot, card: &DiskImage) {
    monitor(machine, &format!("change {} {} raw", slot.drive(), card.path().display()));
}

/// Has the driver begin anew, as for a card that wasn't there before.
fn begin_anew(machine: &mut Machine, slot: Slot) {
    assert_eq!(machine.command(&format!("rmmod {}", slot.module())), "");
    assert_eq!(machine.command(&format!("insmod {}", slot.module())), "");
}

/// Bytes that are the same in every run.
fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(length as u64).fill(&mut bytes);
    bytes
}

fn partitioned() -> DiskImage {
    DiskImage::new(64 * MIB).with_table(TABLE).with_fat(32, PARTITION, &["-s", "1"])
}

/// What the shell's `sha256sum` prints for these bytes.
fn sum(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}  vda")
}

fn power_off(mut machine: Machine) {
    machine.type_in("poweroff\r");
    assert!(machine.wait_for_exit().0.success());
}

#[test]
fn what_is_written_to_a_card_is_there_after_a_reboot_and_on_the_host() {
    for slot in Slot::ALL {
        let file = random(700_001);
        let card = partitioned().with_file(MIB, "file.bin", &file);
        let before = card.bytes();
        let mut machine = slot.with(Some(&card.path())).boot();
        assert_eq!(machine.row("lsdev", slot.node())[2..], [slot.module(), "bound"]);
        assert_eq!(machine.row("lsblk", "vda"), ["vda", "64M", "0", "512", slot.node()]);
        machine.command_until("mount", |table| table.contains("/vda1"));
        let part = &before[1_000_001..][..2_000_003];
        assert_eq!(machine.command("sha256sum -s 1000001 -n 2000003 vda"), sum(part), "{slot:?}");
        let interrupts = |output: &str| {
            let row = output.lines().find(|line| line.ends_with(slot.node())).unwrap_or_default();
            row.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok()).sum::<u64>()
        };
        assert!(interrupts(&machine.command("irqs")) > 0, "{slot:?}");
        for command in ["mkdir /vda1/new", "cp /vda1/file.bin /vda1/new/copy", "echo hello card > /vda1/new/greeting"] {
            assert_eq!(machine.command(command), "", "{slot:?}: {command}");
        }
        machine.type_in("reboot\r");
        machine.wait_for_shell();
        machine.command_until("mount", |table| table.contains("/vda1"));
        assert_eq!(machine.command("cat /vda1/new/greeting"), "hello card", "{slot:?}");
        power_off(machine);

        assert_eq!(card.complaints(PARTITION), "", "{slot:?}");
        let tree = card.tree(MIB);
        assert!(tree["file.bin"].as_ref() == Some(&file) && tree["new/copy"].as_ref() == Some(&file), "{slot:?}");
        assert_eq!(tree["new/greeting"], Some(b"hello card\n".to_vec()), "{slot:?}");
    }
}

#[test]
fn a_card_of_more_than_2_gib_is_addressed_in_blocks() {
    for slot in Slot::ALL {
        let size = 4096 * MIB;
        let card = DiskImage::new(size);
        let file = File::options().read(true).write(true).open(card.path()).expect("the image can be opened");
        // At the end, and where counting in bytes would lead to.
        let (first, last) = (random(512), random(1024));
        file.write_all_at(&first, 512).expect("the image can be written");
        file.write_all_at(&last[..512], size - 512).expect("the image can be written");
        let mut machine = slot.with(Some(&card.path())).boot();
        assert_eq!(machine.row("lsblk", "vda")[1], "4G", "{slot:?}");
        assert_eq!(machine.command("sha256sum -s 512 -n 512 vda"), sum(&first), "{slot:?}");
        assert_eq!(machine.command(&format!("sha256sum -s {} -n 512 vda", size - 512)), sum(&last[..512]), "{slot:?}");
        let output = machine.command("dd if=vda of=vda skip=1 seek=8000000 count=1");
        machine.expect(&output, "1+0 records out");
        power_off(machine);
        let mut written = [0; 512];
        file.read_exact_at(&mut written, 8_000_000 * 512).expect("the image can be read");
        assert_eq!(written, first[..], "{slot:?}");
    }
}

#[test]
fn empty_slots_are_told_and_a_card_is_found_later() {
    for slot in Slot::ALL {
        let mut machine = slot.with(None).boot();
        assert_eq!(machine.command("lsblk"), "NAME  SIZE  RO  BLOCK  DEVICE");
        let state = machine.row("lsdev", slot.node());
        assert_eq!(state.last().map(String::as_str), Some("empty: its driver found nothing there"), "{slot:?}");
        let log = machine.command("dmesg");
        machine.expect(&log, &format!("{}: no SD memory card answers", slot.node()));

        let card = partitioned().with_file(MIB, "file", b"text\n");
        put_in(&machine, slot, &card);
        begin_anew(&mut machine, slot);
        machine.command_until("mount", |table| table.contains("/vda1"));
        assert_eq!(machine.command("cat /vda1/file"), "text", "{slot:?}");
    }
}

#[test]
fn cards_without_anything_or_with_nonsense_are_told_and_the_next_one_works() {
    let empty = DiskImage::new(4 * MIB);
    let overlapping = DiskImage::new(64 * MIB)
        .with_table("label: dos\nstart=1MiB, size=40MiB, type=c\nstart=41MiB, size=16MiB, type=6\n")
        .with_fat(32, PARTITION, &["-s", "1"]);
    let mut bytes = overlapping.bytes();
    // The second partition begins within the first.
    bytes[446 + 16 + 8..][..4].copy_from_slice(&4096_u32.to_le_bytes());
    overlapping.set_bytes(&bytes);
    let cut = DiskImage::new(4 * MIB).with_fat(12, 0..4 * MIB, &[]);
    cut.set_bytes(&cut.bytes()[..MIB as usize]);
    let good = partitioned().with_file(MIB, "file", b"text\n");

    let slot = Slot::Sdhost;
    let mut machine = slot.with(Some(&empty.path())).boot();
    for (card, sentence) in [
        (None, "fat: vda: there is neither a partition nor a FAT file system"),
        (Some(&overlapping), "fat: vda1: the partition is not mounted, since it overlaps partition 2"),
        (Some(&cut), "fat: vda: its file system can't be used: volume is larger than the device"),
    ] {
        if let Some(card) = card {
            pull(&machine, slot);
            put_in(&machine, slot, card);
            begin_anew(&mut machine, slot);
        }
        machine.command_until("dmesg", |log| log.contains(sentence));
        assert_eq!(machine.table("mount").len(), 0, "{sentence}");
    }
    pull(&machine, slot);
    put_in(&machine, slot, &good);
    begin_anew(&mut machine, slot);
    machine.command_until("mount", |table| table.contains("/vda1"));
    assert_eq!(machine.command("cat /vda1/file"), "text");
}

#[test]
fn of_two_cards_behind_one_interrupt_line_one_is_used_and_the_other_told() {
    let (one, other) = (DiskImage::new(4 * MIB), DiskImage::new(8 * MIB));
    let mut machine = Slot::Emmc2
        .with(Some(&one.path()))
        .argument("-drive", &format!("if=sd,format=raw,file={}", other.path().display()))
        .boot();
    let nodes = [Slot::Emmc2.node(), Slot::Sdhci.node()];
    let states = nodes.map(|node| machine.row("lsdev", node).pop().unwrap_or_default());
    let used = states.iter().position(|state| state == "bound");
    let used = used.unwrap_or_else(|| machine.fail(&format!("no card is used: {states:?}")));
    let line = "interrupt line 158 of /soc/interrupt-controller@40041000 is taken";
    machine.expect(&states[1 - used], line);
    let log = machine.command("dmesg");
    machine.expect(&log, &format!("{}: module bcm2835-sdhci: ", nodes[1 - used]));
    machine.command("sha256sum vda");
    assert_eq!(machine.table("lsblk").len(), 1);
}

#[test]
fn a_card_that_is_pulled_while_it_is_read_is_an_error_and_the_rest_works() {
    for slot in Slot::ALL {
        let card = DiskImage::new(256 * MIB).with_table(TABLE).with_fat(32, PARTITION, &["-s", "1"]);
        let card = card.with_file(MIB, "file", b"text\n");
        let mut machine = slot.with(Some(&card.path())).boot();
        machine.command_until("mount", |table| table.contains("/vda1"));
        machine.type_in("sha256sum vda\r");
        std::thread::sleep(Duration::from_secs(1));
        pull(&machine, slot);
        machine.wait_for("sha256sum: block");
        let sentence = machine.wait_for("\n");
        assert!(sentence.ends_with(" can't be read: no SD memory card answers"), "{slot:?}: {sentence}");
        machine.wait_for(tests::PROMPT);
        let failed = machine.command("dd if=zero of=vda count=1");
        machine.expect(&failed, "block 0 can't be written: no SD memory card answers");
        assert_eq!(machine.command("vcgencmd measure_temp"), "temp=25.0'C", "{slot:?}");

        // Another one is not taken for it.
        let other = DiskImage::new(4 * MIB);
        put_in(&machine, slot, &other);
        let failed = machine.command("dd if=zero of=vda count=1");
        machine.expect(&failed, "block 0 can't be written: another card is in the slot than at first");
        pull(&machine, slot);
        put_in(&machine, slot, &card);
        assert_eq!(machine.command("cat /vda1/file"), "text", "{slot:?}");
        assert_eq!(machine.command("echo more >> /vda1/file"), "", "{slot:?}");
        power_off(machine);
        assert_eq!(card.tree(MIB)["file"], Some(b"text\nmore\n".to_vec()), "{slot:?}");
    }
}
