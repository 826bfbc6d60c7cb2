//! The archive with the modules.

use std::ops::Range;

use initramfs::{Archive, Entry, Error, Writer};

use crate::{Target, heap, real};

pub const TARGET: Target = Target {
    name: "initramfs",
    summary: "the archive with the modules, cpio newc",
    check,
    real_inputs: || Ok(vec![real::archive()?]),
    structure,
};

/// The size of a header, in bytes, in front of a name (cpio(5), "New ASCII Format").
const HEADER: usize = 110;

/// How many files are looked for by name: each look-up reads the whole archive.
const LOOK_UPS: usize = 16;

fn check(bytes: &[u8]) -> bool {
    // Nothing is copied but a name into the sentence about its entry.
    let entries: Vec<_> = heap::within(3 * bytes.len() + heap::SLACK, || {
        let mut entries = Archive::new(bytes).entries();
        entries.by_ref().for_each(|entry| _ = super::hear(entry));
        assert!(entries.next().is_none(), "what has ended has ended");
        Archive::new(bytes).entries().collect()
    });
    assert!(entries.len() <= bytes.len() / HEADER + 1, "more entries than headers fit");
    let may_go_on = |entry: &Result<_, _>| matches!(entry, Ok(_) | Err(Error::Name { .. }));
    assert!(entries.iter().rev().skip(1).all(may_go_on), "only an unreadable name may be followed by anything");
    let is_whole = entries.iter().all(Result::is_ok);
    let entries: Vec<_> = entries.into_iter().filter_map(Result::ok).collect();

    let position = |part: &[u8]| part.as_ptr().addr() - bytes.as_ptr().addr();
    let mut end = 0;
    for Entry { name, data, .. } in &entries {
        assert!(!name.starts_with('/') && !name.starts_with("./") && !name.contains('\0'));
        assert!(position(name.as_bytes()) >= end + HEADER, "a name lies behind its header");
        end = position(name.as_bytes()) + name.len();
        if !data.is_empty() {
            assert!(position(data) >= end && position(data).is_multiple_of(4));
            end = position(data) + data.len();
        }
        assert!(end <= bytes.len());
    }
    let files: Vec<_> = entries.into_iter().filter(Entry::is_file).collect();
    for file in files.iter().take(LOOK_UPS) {
        let last = files.iter().rfind(|other| other.name == file.name);
        assert_eq!(Archive::new(bytes).find(file.name).as_ref(), last, "{}", file.name);
        assert_eq!(Archive::new(bytes).find(&format!("./{}", file.name)).as_ref(), last);
    }
    write(&files);
    is_whole
}

/// Files that were read can be written, unless their name has a meaning of its own, and are then read as they were.
fn write(files: &[Entry<'_>]) {
    let mut writer = Writer::default();
    let written: Vec<_> = files.iter().filter(|file| writer.file(file.name, file.data).is_ok()).collect();
    assert!(files.iter().filter(|file| !matches!(file.name, "" | "TRAILER!!!")).count() <= written.len());
    let bytes = writer.finish();
    let again = Archive::new(&bytes).entries().map(|entry| entry.expect("what was written is whole"));
    let again = again.filter(Entry::is_file).map(|file| (file.name, file.data));
    assert!(again.eq(written.into_iter().map(|file| (file.name, file.data))));
}

/// The headers with their names.
fn structure(bytes: &[u8]) -> Vec<Range<usize>> {
    let starts = bytes.windows(6).enumerate().filter(|(_, window)| window == b"070701").map(|(start, _)| start);
    starts.map(|start| start..(start + HEADER + 32).min(bytes.len())).collect()
}
