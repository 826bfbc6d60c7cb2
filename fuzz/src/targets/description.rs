//! The descriptions of `abi` that a module and a kernel were built with, compared.

use std::str;

use object::{Object as _, ObjectSection as _};
use stamp::description::{Description, LARGEST, SECTION};

use super::hear;
use crate::{Target, heap, real};

/// The kernel's description follows the module's, with a zero byte between them, both as text: of what is packed, a
/// change would leave little to compare. The input as a whole is unpacked too.
pub const TARGET: Target = Target {
    name: "description",
    summary: "the descriptions of abi of a module and of a kernel, a zero byte between them; or a packed one",
    check,
    real_inputs: || {
        let descriptions = real::modules()?.into_iter().filter_map(|module| {
            let file = object::File::parse(&*module).ok()?;
            let packed = file.section_by_name(SECTION)?.data().ok()?;
            let text = Description::unpack(packed).ok()?.text().to_owned();
            Some([text.as_bytes(), b"\0", text.as_bytes()].concat())
        });
        Ok(descriptions.collect())
    },
    structure: |_| Vec::new(),
};

fn check(input: &[u8]) -> bool {
    let is_packed = heap::within(3 * LARGEST + heap::SLACK, || hear(Description::unpack(input)).is_some());
    let mut texts = input.splitn(2, |byte| *byte == 0);
    let module = texts.next().unwrap_or_default();
    let kernel = texts.next().unwrap_or(module);
    let (Some(module), Some(kernel)) = (parse(module), parse(kernel)) else { return is_packed };

    // A sentence may repeat a line of each side, and there are descriptions of one line.
    heap::within(16 * LARGEST, || {
        assert!(module.differences(&kernel).all(|difference| !difference.to_string().is_empty()));
    });
    assert_eq!(module.differences(&module).count(), 0);
    true
}

fn parse(bytes: &[u8]) -> Option<Description> {
    let text = str::from_utf8(bytes).ok()?.to_owned();
    let description = hear(heap::within(heap::SLACK, || Description::parse(text)))?;
    assert_eq!(description.text().as_bytes(), bytes);
    assert_eq!(Description::unpack(&description.pack()).as_ref(), Ok(&description), "what is packed can be unpacked");
    Some(description)
}
