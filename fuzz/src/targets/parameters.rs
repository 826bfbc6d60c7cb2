//! The values of modules' parameters.

use std::str;

use abi::parameter::{Parameter, Settable};

use super::hear;
use crate::{Target, heap};

pub const TARGET: Target = Target {
    name: "parameters",
    summary: "the value of a module's parameter, as a boolean, a text, and whole numbers with a range and without",
    check,
    real_inputs: || Ok(["1400", "0x578", "-1", "y", "off", "a text", ""].map(|text| text.as_bytes().to_vec()).into()),
    structure: |_| Vec::new(),
};

fn check(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let texts: Parameter<String> = Parameter::new("text", "", None);
    let numbers: Parameter<i64> = Parameter::new("number", 0, None);
    let ranged: Parameter<u16> = Parameter::new("ranged", 1500, Some((68, 9000)));
    let switches: Parameter<bool> = Parameter::new("switch", false, None);
    // A refusal repeats the value, of which each character may have become six to be readable.
    let set =
        |parameter: &dyn Settable| heap::within(16 * text.len() + heap::SLACK, || hear(parameter.set(text)).is_some());

    assert!(set(&texts));
    assert_eq!(texts.get(), text);
    let number = number(text);
    assert_eq!(set(&numbers).then(|| numbers.get().into()), number.filter(|number| i64::try_from(*number).is_ok()));
    let in_range = number.filter(|number| (68..=9000).contains(number));
    assert_eq!(set(&ranged).then(|| ranged.get().into()), in_range.filter(|_| !text.starts_with('-')));
    let known = ["", "y", "Y", "1", "yes", "on", "true", "n", "N", "0", "no", "off", "false"];
    assert_eq!(set(&switches), known.contains(&text));
    true
}

/// A second opinion on whole numbers: an optional sign and decimal digits, or hexadecimal digits behind `0x`.
fn number(text: &str) -> Option<i128> {
    let (radix, sign, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', digits @ ..] => (16, 1, digits),
        [b'-', digits @ ..] => (10, -1, digits),
        [b'+', digits @ ..] => (10, 1, digits),
        digits => (10, 1, digits),
    };
    let mut number: i128 = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix)?;
        // More than any type holds is as good as the most that this one does.
        number = number.saturating_mul(radix.into()).saturating_add(digit.into()).min(1 << 100);
    }
    (!digits.is_empty()).then_some(sign * number)
}
