//! How the types of a crate lie in memory, as rustc tells with `-Zprint-type-sizes`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

/// Where a type's parts lie in memory.
#[derive(PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub alignment: u64,
    /// The fields and their offsets in bytes, in the order of the offsets: `start 0, size 8`. A field of an enum's
    /// variant has the variant's name and a dot before its own.
    pub offsets: String,
}

/// The layouts of the types without generic parameters (lifetimes apart), by their paths.
///
/// The compiler prints a type's parts in the order of their offsets, with their sizes and the gaps between them; only
/// what overlaps, as in a union, has its offset said:
///
/// ```text
/// print-type-size type: `abi::node::Node`: 16 bytes, alignment: 8 bytes
/// print-type-size     field `.irq`: 8 bytes
/// print-type-size     field `.line`: 4 bytes
/// print-type-size     end padding: 4 bytes
/// ```
pub fn parse(output: &str) -> Result<BTreeMap<String, Layout>> {
    let mut layouts: BTreeMap<String, Layout> = BTreeMap::new();
    let mut current = None;
    let (mut variant, mut discriminant, mut offset) = (String::new(), 0, 0);
    for line in output.lines().filter_map(|line| line.strip_prefix("print-type-size ")) {
        let (what, name, numbers) = match line.splitn(3, '`').collect::<Vec<_>>()[..] {
            [what, name, numbers] => (what.trim(), name, numbers),
            _ => line.trim().split_once(':').map_or((line, "", ""), |(what, numbers)| (what, "", numbers)),
        };
        let size = number(numbers, "").with_context(|| format!("rustc's line {line:?} has no size"))?;
        match what {
            "type:" => {
                let alignment = number(numbers, "alignment:").with_context(|| format!("{name} has no alignment"))?;
                discriminant = 0;
                (variant, offset) = (String::new(), discriminant);
                let layout = Layout { size, alignment, offsets: String::new() };
                current = path(name).map(|path| layouts.entry(path.to_owned()).insert_entry(layout).into_mut());
            }
            "discriminant" => (discriminant, offset) = (size, size),
            "variant" => (variant, offset) = (format!("{name}."), discriminant),
            "padding" => offset += size,
            "field" => {
                offset = number(numbers, "offset:").unwrap_or(offset);
                if let Some(layout) = &mut current {
                    let comma = if layout.offsets.is_empty() { "" } else { ", " };
                    write!(layout.offsets, "{comma}{variant}{} {offset}", name.trim_start_matches('.'))?;
                }
                offset += size;
            }
            // The padding at the end, and the parts of closures.
            _ => {}
        }
    }
    Ok(layouts)
}

/// The number with this key in a text such as `: 8 bytes, alignment: 4 bytes`; the first has no key.
fn number(numbers: &str, key: &str) -> Option<u64> {
    numbers.split(',').find_map(|part| {
        let number = part.trim_start_matches(':').trim().strip_prefix(key)?;
        number.trim().strip_suffix(" bytes")?.parse().ok()
    })
}

/// The path in a type's name, without the lifetimes behind it; nothing if it has other generic arguments.
fn path(name: &str) -> Option<&str> {
    match name.split_once('<') {
        None => Some(name),
        Some((path, arguments)) => {
            let mut arguments = arguments.trim_end_matches('>').split(", ");
            arguments.all(|argument| argument.starts_with('\'')).then_some(path)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_from_sizes_gaps_and_what_is_said_of_overlaps() {
        let output = "print-type-size type: `node::Status<'_, '_>`: 32 bytes, alignment: 8 bytes\n\
            print-type-size     field `.name`: 16 bytes\n\
            print-type-size     field `.flag`: 1 bytes\n\
            print-type-size     padding: 7 bytes\n\
            print-type-size     field `.count`: 8 bytes, alignment: 8 bytes\n\
            print-type-size type: `State`: 16 bytes, alignment: 8 bytes\n\
            print-type-size     discriminant: 1 bytes\n\
            print-type-size     variant `Idle`: 0 bytes\n\
            print-type-size     variant `Busy`: 15 bytes\n\
            print-type-size         field `.1`: 1 bytes\n\
            print-type-size         padding: 6 bytes\n\
            print-type-size         field `.0`: 8 bytes, alignment: 8 bytes\n\
            print-type-size type: `Word`: 4 bytes, alignment: 4 bytes\n\
            print-type-size     variant `Word`: 4 bytes\n\
            print-type-size         field `.whole`: 4 bytes\n\
            print-type-size         field `.low`: 2 bytes, offset: 0 bytes, alignment: 2 bytes\n\
            print-type-size type: `Generic<u8>`: 1 bytes, alignment: 1 bytes\n\
            print-type-size     field `.0`: 1 bytes\n";
        let layouts = parse(output).unwrap();
        let told = |path: &str| (layouts[path].size, layouts[path].alignment, layouts[path].offsets.as_str());
        assert_eq!(told("node::Status"), (32, 8, "name 0, flag 16, count 24"));
        assert_eq!(told("State"), (16, 8, "Busy.1 1, Busy.0 8"));
        assert_eq!(told("Word"), (4, 4, "Word.whole 0, Word.low 0"));
        assert_eq!(layouts.len(), 3);
    }

    #[test]
    fn an_output_of_another_form_is_refused() {
        for output in ["print-type-size type: `A`: 8 bytes", "print-type-size field `.a`", "print-type-size"] {
            let line = format!("{output} \n");
            assert!(parse(&line).is_err(), "{output}");
        }
    }
}
