//! Text that one module gives to others, and that people see.

use crate::{Error, Result};
use alloc::format;
use alloc::string::String;

/// How many characters a name may have that a module gives to something.
pub const LONGEST_NAME: usize = 64;

/// Checks the name that a module gives to a `what`, such as a thread: from 1 to [`LONGEST_NAME`] printable ASCII characters.
/// The kernel refuses others.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if !(1..=LONGEST_NAME).contains(&name.len()) {
        let found = name.len();
        return Err(Error::Invalid(format!(
            "the module names a {what} with {found} bytes, 1 to {LONGEST_NAME} are expected"
        )));
    }
    if !name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        let name = name.escape_default();
        return Err(Error::Invalid(format!("the module names a {what} `{name}`, printable ASCII is expected")));
    }
    Ok(())
}

/// The text with its control characters as Rust writes them, `\u{1b}`: a terminal does nothing but show it. Line breaks stay.
pub fn printable(text: String) -> String {
    let is_shown = |character: char| character == '\n' || !character.is_control();
    if text.chars().all(is_shown) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_shown(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::string::ToString;

    #[test]
    fn names_are_short_and_printable() {
        let check = |name: &str| check_name("thread", name).map_err(|error| error.to_string());
        for name in ["a", "idle/0", "one of many", &"x".repeat(LONGEST_NAME)] {
            assert_eq!(check(name), Ok(()));
        }
        let length = |found| Err(format!("the module names a thread with {found} bytes, 1 to 64 are expected"));
        assert_eq!([check(""), check(&"x".repeat(65))], [length(0), length(65)]);
        let characters = |name| Err(format!("the module names a thread `{name}`, printable ASCII is expected"));
        assert_eq!(check("\x1b[2J\r\n"), characters("\\u{1b}[2J\\r\\n"));
        assert_eq!(check("\u{9b}2J"), characters("\\u{9b}2J"));
    }

    #[test]
    fn no_control_character_but_a_line_break_reaches_a_terminal() {
        let all: String = (0..=0x2000).filter_map(char::from_u32).collect();
        assert!(!printable(all).contains(|character: char| character.is_control() && character != '\n'));
        assert_eq!(printable("one\ntwo\r\x1b[2J\u{9b}\x7f".to_owned()), "one\ntwo\\r\\u{1b}[2J\\u{9b}\\u{7f}");
        assert_eq!(printable("naïve C:\\ \"text\"".to_owned()), "naïve C:\\ \"text\"");
    }
}
