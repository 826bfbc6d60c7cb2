//! The cells of an `interrupts` entry, as the Linux bindings `arm,gic.yaml` and `arm,gic-v3.yaml` define them.

use abi::interrupt::{Line, Trigger};
use abi::prelude::*;

/// Reads the three cells type, number and flags; a fourth (GICv3, a set of processors) is not needed.
pub fn translate(specifier: &[u32]) -> Result<Line> {
    let &[kind, number, flags, ..] = specifier else {
        return Err(invalid(specifier, "it needs three cells"));
    };
    let (first, count) = match kind {
        0 => (32, 988),
        1 => (16, 16),
        _ => return Err(invalid(specifier, "its first cell must be 0 (shared) or 1 (private)")),
    };
    if number >= count {
        return Err(invalid(specifier, "there is no line of that number"));
    }
    // Bits 8 to 15 may list the processors that a private line belongs to. The polarity is the hardware's own: only
    // private lines may be said to be active low or falling.
    let trigger = match (flags & 0xf, kind) {
        (1, _) | (2, 1) => Trigger::Edge,
        (4, _) | (8, 1) => Trigger::Level,
        _ => return Err(invalid(specifier, "its third cell names no trigger that the line can have")),
    };
    Ok(Line { number: first + number, trigger })
}

fn invalid(specifier: &[u32], reason: &str) -> Error {
    Error::Invalid(format!("the interrupt specifier {specifier:x?} is not one of this GIC: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_trees_of_real_boards_say() {
        let line = |cells: &[u32]| translate(cells).map(|line| (line.number, line.trigger));
        // QEMU virt: the PL011, a virtio-mmio slot, the timer.
        assert_eq!(line(&[0, 1, 4]), Ok((33, Trigger::Level)));
        assert_eq!(line(&[0, 0x10, 1]), Ok((48, Trigger::Edge)));
        assert_eq!(line(&[1, 14, 0x104]), Ok((30, Trigger::Level)));
        // Raspberry Pi 4: the timer of four processors, active low.
        assert_eq!(line(&[1, 14, 0xf08]), Ok((30, Trigger::Level)));
        // GICv3 with a fourth cell.
        assert_eq!(line(&[1, 7, 4, 0]), Ok((23, Trigger::Level)));
        assert_eq!(line(&[0, 987, 4]), Ok((1019, Trigger::Level)));
    }

    #[test]
    fn refuses_the_rest_with_a_reason() {
        for (cells, reason) in [
            (&[0, 1][..], "three cells"),
            (&[2, 1, 4], "first cell"),
            (&[0, 988, 4], "no line"),
            (&[1, 16, 4], "no line"),
            (&[0, u32::MAX, 4], "no line"),
            (&[0, 1, 0], "third cell"),
            (&[0, 1, 8], "third cell"),
            (&[1, 1, 3], "third cell"),
        ] {
            let answer = translate(cells).map_err(|error| error.to_string());
            assert!(answer.as_ref().is_err_and(|error| error.contains(reason)), "{answer:?}");
        }
    }
}
