//! The index of what modules claim.

use std::{collections::BTreeMap, str};

use initramfs::{Archive, INDEX_PATH, Index, SERVICE, write_index};

use crate::{Target, heap, real};

pub const TARGET: Target = Target {
    name: "index",
    summary: "the initramfs's index of which module claims which device",
    check,
    real_inputs: || {
        let archive = real::archive()?;
        Ok(Archive::new(&archive).find(INDEX_PATH).into_iter().map(|index| index.data.to_vec()).collect())
    },
    structure: |_| Vec::new(),
};

/// What an index takes at most, for each byte of it: 48 when all lines are as short as can be and its list of them has
/// just grown.
const BOUND: usize = 64;

fn check(text: &[u8]) -> bool {
    let index = heap::within(BOUND * text.len() + heap::SLACK, || Index::parse(text));

    // A second opinion on what the lines say.
    let mut claims = BTreeMap::<_, Vec<_>>::new();
    let mut bad_lines = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let words: Option<Vec<_>> = str::from_utf8(line).ok().map(|line| line.split_whitespace().collect());
        match words.as_deref() {
            _ if line.trim_ascii_start().starts_with(b"#") => {}
            Some([]) if line.trim_ascii_start().is_empty() => {}
            Some([claim, module]) if !claim.starts_with('#') => claims.entry(*claim).or_default().push(*module),
            _ => bad_lines += 1,
        }
    }
    assert_eq!(index.bad_lines().len(), bad_lines);
    assert!(index.bad_lines().iter().all(|line| !line.to_string().is_empty() && line.number > 0));
    for (claim, modules) in &claims {
        assert!(index.modules_for(claim).eq(modules.iter().copied()), "{claim}");
    }
    let conflicts: Vec<_> =
        index.conflicts().map(|conflict| (conflict.compatible, conflict.modules().collect())).collect();
    let several = |(claim, modules): &(&&str, &Vec<_>)| modules.len() > 1 && claim.split(':').next() != Some(SERVICE);
    assert!(claims.iter().filter(several).map(|(claim, modules)| (*claim, modules.clone())).eq(conflicts));

    let all = || claims.iter().flat_map(|(claim, modules)| modules.iter().map(move |module| (*claim, *module)));
    let written = write_index(all());
    let again = Index::parse(written.as_bytes());
    assert!(again.bad_lines().is_empty());
    for (claim, module) in all() {
        assert!(again.modules_for(claim).any(|found| found == module), "{claim} {module}");
    }
    index.bad_lines().is_empty()
}
