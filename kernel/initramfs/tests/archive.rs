//! Archives by cpio(1) are read, ours are read by cpio(1), and damage costs only what lies behind it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use initramfs::{Archive, Entry, Error, Writer};
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("modules/index", b"arm,pl011 arm-pl011\n".to_vec()),
        ("modules/arm-pl011.o", (0..=255).cycle().take(1001).collect()),
        ("modules/deep/er/empty", Vec::new()),
        ("motd", b"hello".to_vec()),
    ]
}

fn archive() -> Vec<u8> {
    let mut writer = Writer::default();
    for (path, data) in files() {
        writer.file(path, &data).unwrap();
    }
    writer.finish()
}

/// An empty directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs cpio(1) in `directory` and returns what it prints.
fn cpio(directory: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("cpio")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs cpio (Debian package cpio)");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "cpio: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What cpio(1) makes of `files()`, each in the order of the list.
fn archive_by_cpio(name: &str) -> Vec<u8> {
    let directory = directory(name);
    for (path, data) in files() {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    let list: String = files().iter().map(|(path, _)| format!("./{path}\n")).collect();
    cpio(&directory, &["-o", "-H", "newc"], list.as_bytes())
}

fn entries(bytes: &[u8]) -> Vec<Entry<'_>> {
    Archive::new(bytes).entries().collect::<Result<_, _>>().unwrap()
}

/// The good entries and the sentence after them.
fn salvage(bytes: &[u8]) -> (Vec<Entry<'_>>, String) {
    let mut items: Vec<_> = Archive::new(bytes).entries().take(1000).collect();
    let error = items.pop().unwrap().unwrap_err();
    (items.into_iter().map(Result::unwrap).collect(), error.to_string())
}

#[test]
fn reads_what_cpio_writes() {
    let bytes = archive_by_cpio("reads");
    let found: Vec<_> = entries(&bytes).iter().map(|entry| (entry.name, entry.data.to_vec())).collect();
    assert_eq!(found, files());
    for (path, data) in files() {
        for spelled in [path.to_string(), format!("/{path}"), format!("./{path}")] {
            assert_eq!(Archive::new(&bytes).find(&spelled).unwrap().data, data);
        }
    }
    assert_eq!(Archive::new(&bytes).find("modules/missing.o"), None);
}

#[test]
fn cpio_lists_and_unpacks_what_we_write() {
    let directory = directory("unpacks");
    let list = String::from_utf8(cpio(&directory, &["-t"], &archive())).unwrap();
    let expected = [
        "modules",
        "modules/index",
        "modules/arm-pl011.o",
        "modules/deep",
        "modules/deep/er",
        "modules/deep/er/empty",
        "motd",
    ];
    assert_eq!(list.lines().collect::<Vec<_>>(), expected);

    // Without -d cpio makes no directory by itself, so this shows that the directories come before what is in them.
    cpio(&directory, &["-i", "--no-preserve-owner"], &archive());
    for (path, data) in files() {
        assert_eq!(fs::read(directory.join(path)).unwrap(), data, "{path}");
    }
}

#[test]
fn reads_what_it_writes_and_writes_the_same_twice() {
    let bytes = archive();
    assert_eq!(bytes, archive());
    let found: Vec<_> =
        entries(&bytes).into_iter().filter(Entry::is_file).map(|entry| (entry.name, entry.data.to_vec())).collect();
    assert_eq!(found, files());
    assert!(entries(&bytes).iter().all(|entry| entry.data.as_ptr().addr() % 4 == bytes.as_ptr().addr() % 4));
}

#[test]
fn directories_are_not_found_as_files() {
    assert_eq!(Archive::new(&archive()).find("modules"), None);
}

#[test]
fn archives_in_a_row_are_one() {
    let mut more = Writer::default();
    more.file("motd", b"second").unwrap();
    let more = more.finish();
    for padding in [0, 4, 508] {
        let mut bytes = archive_by_cpio(&format!("row{padding}"));
        bytes.resize(bytes.len() + padding, 0);
        bytes.extend_from_slice(&more);
        bytes.resize(bytes.len() + padding, 0);
        assert_eq!(entries(&bytes).len(), files().len() + 1);
        assert_eq!(Archive::new(&bytes).find("motd").unwrap().data, b"second", "the last one counts");
    }
}

#[test]
fn a_truncated_archive_gives_what_is_whole_and_says_what_is_not() {
    let bytes = archive();
    let whole = entries(&bytes);
    for end in 0..bytes.len() {
        // Past the trailer's name only padding is missing.
        let trailer = bytes.windows(11).position(|window| window == b"TRAILER!!!\0").unwrap() + 11;
        if end >= trailer {
            assert_eq!(entries(&bytes[..end]), whole);
            continue;
        }
        let (good, error) = salvage(&bytes[..end]);
        assert_eq!(good, whole[..good.len()]);
        assert!(error.contains("truncated"), "{error}");
        // An entry is lost only if one of its bytes is.
        let next = whole[good.len()..]
            .first()
            .map_or(trailer, |entry| entry.data.as_ptr_range().end.addr() - bytes.as_ptr().addr());
        assert!(end < next, "'{}' was lost to '{error}'", whole[good.len()].name);
    }

    let data = bytes.windows(4).position(|window| window == [0, 1, 2, 3]).unwrap();
    let (_, error) = salvage(&bytes[..data + 1]);
    assert_eq!(
        error,
        format!(
            "the archive ends inside 'modules/arm-pl011.o' at offset {data} of {}: it's truncated, 1000 bytes are \
             missing",
            data + 1
        )
    );
    assert_eq!(salvage(&[]).1, "the archive ends after 0 bytes without its last entry, 'TRAILER!!!': it's truncated");
}

#[test]
fn damage_is_named() {
    let bytes = archive();
    let second = bytes.windows(6).skip(1).position(|window| window == b"070701").unwrap() + 1;

    let mut magic = bytes.clone();
    magic[second..second + 6].copy_from_slice(b"\x1f\x8b0701");
    let (good, error) = salvage(&magic);
    assert_eq!(good.len(), 1);
    assert_eq!(
        error,
        format!(
            "the archive should have a header that begins with '070701' (cpio newc) at offset {second}, found \
             '\\x1f\\x8b0701'"
        )
    );

    let mut number = bytes.clone();
    number[second + 6 + 6 * 8] = b'G';
    assert_eq!(
        salvage(&number).1,
        format!("the archive's header at offset {second} should give the file size in 8 hexadecimal digits")
    );

    let mut name = bytes.clone();
    name[second + 110] = 0xff;
    let items: Vec<_> = Archive::new(&name).entries().collect();
    assert_eq!(items.iter().filter(|item| item.is_err()).collect::<Vec<_>>(), [&Err(Error::Name { offset: second })]);
    assert_eq!(items.len(), entries(&bytes).len(), "only the entry itself is lost");

    let mut size = bytes.clone();
    size[second + 6 + 6 * 8..][..8].copy_from_slice(b"FFFFFFFF");
    assert!(salvage(&size).1.contains("inside 'modules/index' at offset"), "{}", salvage(&size).1);
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    for path in ["", "/", "TRAILER!!!", "a\0b"] {
        assert!(Writer::default().file(path, &[]).is_err(), "{path:?}");
    }
}

#[test]
fn twenty_thousand_damaged_archives_are_read_to_an_end() {
    let bytes = archive();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random.usize(..4) {
            damaged[random.usize(..bytes.len())] = [random.u8(..), b'0', b'F', 0][random.usize(..4)];
        }
        if random.u8(..4) == 0 {
            damaged.truncate(random.usize(..bytes.len()));
        }
        let archive = Archive::new(&damaged);
        let items: Vec<_> = archive.entries().take(damaged.len()).collect();
        assert!(items.len() <= damaged.len() / 110 + 1, "more entries than headers fit");
        let goes_on = |item: &Result<_, _>| matches!(item, Ok(_) | Err(Error::Name { .. }));
        assert!(items.iter().rev().skip(1).all(goes_on), "only an unreadable name may be followed by anything");
        archive.find("motd");
    }
}
