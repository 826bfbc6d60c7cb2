//! Block devices: listing, showing, summing and copying them.

use crate::{DISK, OTHER_DISK, Screen, shell};
use abi::block::{BlockDevice, Geometry};
use abi::{Class, Error, Interface};
use fake_kernel::{publish, wait_until};
use std::sync::Mutex;

struct FakeDisk {
    geometry: Geometry,
    bytes: Mutex<Vec<u8>>,
    /// A block that can't be read.
    bad: Option<u64>,
    /// How often each call came.
    calls: Mutex<[usize; 3]>,
}

impl FakeDisk {
    /// A disk in which each byte depends on its place.
    fn publish(number: u32, block_size: usize, blocks: u64, read_only: bool, bad: Option<u64>) -> &'static Self {
        let geometry = Geometry { block_size, blocks, read_only };
        let bytes = (0..geometry.size()).map(|offset| (offset ^ offset >> 8) as u8).collect();
        let disk: &'static Self =
            Box::leak(Box::new(Self { geometry, bytes: Mutex::new(bytes), bad, calls: Mutex::default() }));
        publish(number, Class::BlockDevice, || Interface::BlockDevice(disk));
        disk
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl BlockDevice for FakeDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, first: u64, buffer: &mut [u8]) -> abi::Result<()> {
        self.geometry.check(first, buffer.len())?;
        self.calls.lock().unwrap()[0] += 1;
        let size = self.geometry.block_size;
        if self.bad.is_some_and(|bad| (first..first + (buffer.len() / size) as u64).contains(&bad)) {
            return Err(Error::Io("the disk is scratched".into()));
        }
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[first as usize * size..][..buffer.len()]);
        Ok(())
    }

    fn write(&self, first: u64, buffer: &[u8]) -> abi::Result<()> {
        self.geometry.check_write(first, buffer.len())?;
        self.calls.lock().unwrap()[1] += 1;
        self.bytes.lock().unwrap()[first as usize * self.geometry.block_size..][..buffer.len()].copy_from_slice(buffer);
        Ok(())
    }

    fn flush(&self) -> abi::Result<()> {
        self.calls.lock().unwrap()[2] += 1;
        Ok(())
    }
}

#[test]
fn block_devices_are_listed() {
    let (_session, screen) = shell(|| ());
    screen.command("lsblk", "NAME  SIZE  RO  BLOCK  DEVICE\n");
    FakeDisk::publish(DISK, 512, 3, false, None);
    FakeDisk::publish(OTHER_DISK, 4096, 640, true, None);
    screen.command(
        "lsblk",
        "\
NAME  SIZE  RO  BLOCK  DEVICE
vda   1.5K   0    512  /device@6
vdb   2.5M   1   4096  /device@7
",
    );
}

#[test]
fn any_bytes_of_a_disk_are_shown_the_way_hexdump_does() {
    let (_session, screen) = shell(|| ());
    FakeDisk::publish(DISK, 4096, 2, false, None);
    screen.command(
        "hexdump -C -s 4090 -n 0x14 vda",
        "\
00000ffa  f5 f4 f3 f2 f1 f0 10 11  12 13 14 15 16 17 18 19  |................|
0000100a  1a 1b 1c 1d                                       |....|
0000100e
",
    );
    screen.command("hexdump vda -C -s 8K", "");
    screen.command(
        "hexdump -C -n 2 -s 8191 vda",
        "00001fff  e0                                                |.|\n00002000\n",
    );
    screen.command("hexdump -C -s 8193 vda", "hexdump: vda ends at byte 8192\n");
    screen.command("hexdump -C vdb", "hexdump: there is no block device `vdb`; lsblk lists them\n");
    screen.command("hexdump -C -n 1k vda", "hexdump: `1k` is no number like 4096, 0x1000 or 4K\n");
    for line in ["hexdump vda", "hexdump -C", "hexdump -C vda -s", "hexdump -C -x vda", "hexdump -C vda vdb"] {
        screen.command(line, "usage: hexdump -C [-s OFFSET] [-n LENGTH] NAME\n");
    }
}

#[test]
fn sums_are_those_of_sha256sum() {
    let (_session, screen) = shell(|| ());
    FakeDisk::publish(DISK, 512, 2048, false, None);
    // python3 -c 'import sys; sys.stdout.buffer.write(bytes((o ^ o >> 8) & 255 for o in range(1 << 20)))' | sha256sum
    screen.command("sha256sum vda", "87f8143519166a35fa92c895c8462a9ec2af6e595b66116914f48d935f599f4f  vda\n");
    // ... | tail -c +1001 | head -c 700000 | sha256sum
    screen.command(
        "sha256sum -s 1000 -n 700000 vda",
        "44b4251a19224eb59d5a8c4693a4e433ed7cb7b8ee6b767a11589d6117d7d0c1  vda\n",
    );
    screen.command("sha256sum -n 0 vda", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  vda\n");
    screen.command("sha256sum", "usage: sha256sum [-s OFFSET] [-n LENGTH] NAME\n");
}

#[test]
fn a_block_that_can_not_be_read_is_an_error() {
    let (_session, screen) = shell(|| ());
    FakeDisk::publish(DISK, 512, 2048, false, Some(1500));
    screen.command("sha256sum vda", "sha256sum: the disk is scratched\n");
    screen.command(
        "sha256sum -s 750K -n 0 vda",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  vda\n",
    );
}

/// Types a `dd` and returns what it shows, without the time that it took.
fn dd(screen: &Screen, operands: &str) -> String {
    screen.enter(&format!("dd {operands}\r"));
    wait_until("prompt", || screen.shown().ends_with("\nlockstep> "));
    let shown = screen.shown().replace("\r\n", "\n");
    screen.shown.lock().unwrap().clear();
    let output = shown.strip_prefix(&format!("dd {operands}\n")).unwrap().strip_suffix("lockstep> ").unwrap();
    let lines = output.lines().map(|line| line.split_once(" copied, ").map_or(line, |(bytes, _)| bytes));
    lines.collect::<Vec<_>>().join("; ")
}

#[test]
fn dd_copies_what_its_operands_say() {
    let (_session, screen) = shell(|| ());
    let source = FakeDisk::publish(DISK, 512, 2047, false, None).bytes();
    let target = FakeDisk::publish(OTHER_DISK, 512, 2047, false, None);
    let mut expected = source.clone();
    let output = dd(screen, "if=vda of=vdb bs=1K skip=3 seek=100 count=600");
    assert_eq!(output, "600+0 records in; 600+0 records out; 614400 bytes");
    expected[100 << 10..700 << 10].copy_from_slice(&source[3 << 10..603 << 10]);
    assert!(target.bytes() == expected);
    assert_eq!(target.calls.lock().unwrap()[2], 1, "and is not done before that lasts");

    // 512 bytes a record when nothing is said; an input that ends within a record.
    let output = dd(screen, "of=vdb if=vda skip=1 count=1");
    assert_eq!(output, "1+0 records in; 1+0 records out; 512 bytes");
    expected[..512].copy_from_slice(&source[512..1024]);
    let output = dd(screen, "if=vda of=vdb bs=4096 skip=255 seek=1");
    assert_eq!(output, "0+1 records in; 0+1 records out; 3584 bytes");
    expected[4096..4096 + 3584].copy_from_slice(&source[255 * 4096..]);
    assert!(target.bytes() == expected);

    // Zeros until there is no more room.
    let output = dd(screen, "if=zero of=vdb bs=1M seek=0");
    assert_eq!(output, "0+1 records in; 0+1 records out; 1048064 bytes; dd: vdb is full");
    assert!(target.bytes().iter().all(|byte| *byte == 0));
    assert_eq!(dd(screen, "if=zero of=vdb count=0"), "0+0 records in; 0+0 records out; 0 bytes");
}

#[test]
fn dd_refuses_what_it_can_not_do_before_it_writes() {
    let (_session, screen) = shell(|| ());
    let target = FakeDisk::publish(DISK, 4096, 4, false, None);
    FakeDisk::publish(OTHER_DISK, 512, 8, true, None);
    for (operands, answer) in [
        ("if=vdb of=vda", "dd: bs must be a multiple of 4096 bytes, of which vda has its blocks"),
        ("if=vdb of=vda bs=0", "dd: bs must be a multiple of 4096 bytes, of which vda has its blocks"),
        ("if=vda of=vdb", "dd: vdb is read-only"),
        ("if=vdb of=vda bs=4K skip=2", "dd: vdb ends at byte 4096"),
        ("if=vdb of=vda bs=4K seek=5", "dd: vda ends at byte 16384"),
        ("if=vdc of=vda", "dd: there is no block device `vdc`; lsblk lists them"),
        ("if=vdb of=zero", "dd: there is no block device `zero`; lsblk lists them"),
        ("if=vdb of=vda conv=sync", "dd: there is no operand `conv` here"),
        ("if=vdb of=vda bs=4k", "dd: `4k` is no number like 4096, 0x1000 or 4K"),
        ("if=vdb", "usage: dd if=NAME|zero of=NAME [bs=N] [count=N] [skip=N] [seek=N]"),
        ("vda vdb", "usage: dd if=NAME|zero of=NAME [bs=N] [count=N] [skip=N] [seek=N]"),
    ] {
        assert_eq!(dd(screen, operands), answer, "{operands}");
    }
    assert_eq!(target.calls.lock().unwrap()[1], 0);
}

#[test]
fn control_c_ends_what_takes_long() {
    let (_session, screen) = shell(|| ());
    let disk = FakeDisk::publish(DISK, 512, 1 << 15, false, None);
    for line in ["sha256sum vda", "hexdump -C vda", "dd if=zero of=vda"] {
        let before = *disk.calls.lock().unwrap();
        // The disk doesn't get on with it before the key is typed.
        let held = disk.bytes.lock().unwrap();
        screen.enter(&format!("{line}\r"));
        wait_until("first piece", || *disk.calls.lock().unwrap() != before);
        screen.enter("\x03");
        drop(held);
        wait_until("prompt", || screen.shown().ends_with("\r\nlockstep> "));
        assert!(screen.shown().contains("^C\r\n"), "{line}");
        screen.shown.lock().unwrap().clear();
    }
    assert_eq!(disk.calls.lock().unwrap()[2], 0, "nothing was written to the end");
}
