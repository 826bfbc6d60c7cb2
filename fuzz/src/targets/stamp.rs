//! The stamp of a module, compared with a kernel's.

use std::str;

use object::{Object as _, ObjectSection as _};
use stamp::{LARGEST, SECTION, Stamp};

use crate::{Target, heap, real};

/// The kernel's stamp follows the module's, with a zero byte between them; without one, the two are the same.
pub const TARGET: Target = Target {
    name: "stamp",
    summary: "the stamps of a module and of a kernel, a zero byte between them",
    check,
    real_inputs: || {
        let stamps = real::modules()?.into_iter().filter_map(|module| {
            let file = object::File::parse(&*module).ok()?;
            let stamp = file.section_by_name(SECTION)?.data().ok()?;
            Some([stamp, b"\0", stamp].concat())
        });
        Ok(stamps.collect())
    },
    structure: |_| Vec::new(),
};

fn check(input: &[u8]) -> bool {
    let mut stamps = input.splitn(2, |byte| *byte == 0);
    let module = stamps.next().unwrap_or_default();
    let kernel = stamps.next().unwrap_or(module);
    let Some(module) = parse(module) else { return false };
    let Some(kernel) = parse(kernel) else { return false };

    // A comparison needs no memory; its sentences are not longer than the two stamps.
    let count = heap::within(0, || module.differences(&kernel).count());
    heap::within(2 * LARGEST + heap::SLACK, || {
        assert!(module.differences(&kernel).all(|difference| !difference.to_string().is_empty()));
    });
    assert!(count <= module.entries().count() + kernel.entries().count());
    assert_eq!(count == 0, kernel.differences(&module).next().is_none(), "being in lockstep is mutual");
    assert_eq!(count == 0, entries(&module) == entries(&kernel), "in lockstep are those that say the same");
    true
}

fn parse(bytes: &[u8]) -> Option<Stamp<'_>> {
    let stamp = heap::within(0, || Stamp::parse(bytes));
    // A second opinion on what a stamp is.
    let lines = str::from_utf8(bytes).ok().map(|text| text.split_terminator('\n').map(|line| line.split_once('=')));
    let entries: Option<Vec<_>> = lines.and_then(Iterator::collect);
    let is_stamp = entries.as_deref().is_some_and(|entries| {
        let mut keys: Vec<_> = entries.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        entries.first() == Some(&("format", "1")) && keys.len() == entries.len() && bytes.len() <= LARGEST
    });
    assert_eq!(stamp.is_ok(), is_stamp, "{stamp:?}");
    let stamp = super::hear(stamp)?;
    assert!(stamp.entries().eq(entries.into_iter().flatten()));
    assert!(stamp.entries().all(|(key, value)| stamp.get(key) == Some(value)));
    assert_eq!(stamp.differences(&stamp).count(), 0);

    let written = stamp::write(stamp.entries().skip(1)).expect("what is read can be written");
    let again = Stamp::parse(written.as_bytes()).expect("and read again");
    assert!(stamp.entries().eq(again.entries()), "{:?} was written, {:?} read", stamp.text(), again.text());
    Some(stamp)
}

fn entries<'a>(stamp: &Stamp<'a>) -> Vec<(&'a str, &'a str)> {
    let mut entries: Vec<_> = stamp.entries().collect();
    entries.sort_unstable();
    entries
}
