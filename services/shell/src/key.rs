//! From the bytes that a terminal sends to the keys that they stand for.

use core::mem;

/// What a person has pressed, or what it means to a line editor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character to insert.
    Character(char),
    /// The end of the line: CR, LF, or both.
    Enter,
    /// Tab.
    Tab,
    /// Removes the character before the cursor.
    Backspace,
    /// Removes the character at the cursor.
    Delete,
    /// The cursor keys.
    Left,
    /// See [`Left`](Self::Left).
    Right,
    /// See [`Left`](Self::Left).
    Up,
    /// See [`Left`](Self::Left).
    Down,
    /// The start of the line: Home or Ctrl-A.
    Home,
    /// The end of the line: End or Ctrl-E.
    End,
    /// Ctrl-U: removes all before the cursor.
    EraseBefore,
    /// Ctrl-K: removes all from the cursor on.
    EraseAfter,
    /// Ctrl-W: removes the word before the cursor.
    EraseWord,
    /// Ctrl-L: clears the screen.
    Clear,
    /// Ctrl-C: throws the line away.
    Cancel,
}

/// Ctrl-C as a terminal sends it.
pub const CANCEL: u8 = 0x03;

/// Recognizes keys in a stream of bytes, however it is cut. Bytes that stand for no known key are passed over: whole
/// escape sequences (ECMA-48, section 5.4) as well as broken UTF-8.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After CR: an LF belongs to it.
    Return,
    /// After ESC.
    Escape,
    /// After ESC O (SS3): one letter follows.
    Single,
    /// After ESC [ (CSI): parameters and a final byte follow.
    Sequence { parameter: u8, is_complete: bool },
    /// Within a character of several bytes.
    Character { bytes: [u8; 4], length: usize, needed: usize },
}

impl Decoder {
    /// Takes one byte; returns the key that it completes.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        match (mem::take(&mut self.state), byte) {
            (State::Return, b'\n') => None,
            (State::Escape, b'[') => self.enter(State::Sequence { parameter: 0, is_complete: false }),
            (State::Escape, b'O') => self.enter(State::Single),
            (State::Escape, b' '..=b'~') => None,
            (State::Single, b' '..=b'~') => cursor_key(byte),
            (State::Sequence { parameter, is_complete: false }, b'0'..=b'9') => {
                let parameter = parameter.saturating_mul(10).saturating_add(byte - b'0');
                self.enter(State::Sequence { parameter, is_complete: false })
            }
            // Parameters after the first only say which modifiers were held.
            (State::Sequence { parameter, .. }, b' '..=b'?') => {
                self.enter(State::Sequence { parameter, is_complete: true })
            }
            (State::Sequence { parameter, .. }, b'~') => match parameter {
                1 | 7 => Some(Key::Home),
                3 => Some(Key::Delete),
                4 | 8 => Some(Key::End),
                _ => None,
            },
            (State::Sequence { .. }, b'@'..=b'}') => cursor_key(byte),
            (State::Character { mut bytes, length, needed }, 0x80..=0xbf) => {
                if let Some(slot) = bytes.get_mut(length) {
                    *slot = byte;
                }
                if length + 1 < needed {
                    return self.enter(State::Character { bytes, length: length + 1, needed });
                }
                let text = core::str::from_utf8(bytes.get(..needed)?).ok()?;
                text.chars().next().filter(|character| !character.is_control()).map(Key::Character)
            }
            (_, byte) => self.ground(byte),
        }
    }

    fn enter(&mut self, state: State) -> Option<Key> {
        self.state = state;
        None
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        let needed = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        if needed > 1 {
            return self.enter(State::Character { bytes: [byte, 0, 0, 0], length: 1, needed });
        }
        match byte {
            b' '..=b'~' => Some(Key::Character(char::from(byte))),
            b'\r' => {
                self.state = State::Return;
                Some(Key::Enter)
            }
            b'\n' => Some(Key::Enter),
            b'\t' => Some(Key::Tab),
            0x01 => Some(Key::Home),
            CANCEL => Some(Key::Cancel),
            0x04 => Some(Key::Delete),
            0x05 => Some(Key::End),
            0x08 | 0x7f => Some(Key::Backspace),
            0x0b => Some(Key::EraseAfter),
            0x0c => Some(Key::Clear),
            0x15 => Some(Key::EraseBefore),
            0x17 => Some(Key::EraseWord),
            0x1b => self.enter(State::Escape),
            _ => None,
        }
    }
}

fn cursor_key(letter: u8) -> Option<Key> {
    match letter {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Right),
        b'D' => Some(Key::Left),
        b'F' => Some(Key::End),
        b'H' => Some(Key::Home),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|&byte| decoder.feed(byte)).collect()
    }

    #[test]
    fn every_end_of_line_is_one_enter() {
        let (a, b) = (Key::Character('a'), Key::Character('b'));
        for end in ["\r", "\n", "\r\n"] {
            let text = ["a", end, "b", end].concat();
            assert_eq!(keys(text.as_bytes()), [a, Key::Enter, b, Key::Enter], "{end:?}");
        }
        assert_eq!(keys(b"\r\n\r\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\r\r"), [Key::Enter; 2]);
        assert_eq!(keys(b"\n\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\n\r"), [Key::Enter; 2]);
    }

    #[test]
    fn keys_of_common_terminals() {
        let cases: [(&[u8], Key); 12] = [
            (b"\x1b[A", Key::Up),
            (b"\x1bOA", Key::Up),
            (b"\x1b[B", Key::Down),
            (b"\x1b[1;5C", Key::Right),
            (b"\x1b[D", Key::Left),
            (b"\x1b[H", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1bOF", Key::End),
            (b"\x1b[4~", Key::End),
            (b"\x1b[3~", Key::Delete),
            (b"\x7f", Key::Backspace),
            (b"\x08", Key::Backspace),
        ];
        for (bytes, key) in cases {
            assert_eq!(keys(bytes), [key], "{bytes:x?}");
        }
    }

    #[test]
    fn unknown_sequences_vanish_whole() {
        for sequence in ["\x1b[5~", "\x1b[200~", "\x1b[?1;2c", "\x1b[24;80R", "\x1bOP", "\x1bx", "\x1b[999999999999z"] {
            let text = [sequence, "a"].concat();
            assert_eq!(keys(text.as_bytes()), [Key::Character('a')], "{sequence:?}");
        }
        assert_eq!(keys(b"\x00\x02\x1c\x1f"), []);
    }

    #[test]
    fn a_control_character_ends_a_sequence_that_was_cut_off() {
        assert_eq!(keys(b"\x1b[1\r"), [Key::Enter]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Up]);
        assert_eq!(keys(b"\xe2\x82\r"), [Key::Enter]);
    }

    #[test]
    fn utf_8_passes_and_broken_utf_8_vanishes() {
        let text = "aé€😀";
        assert_eq!(keys(text.as_bytes()), text.chars().map(Key::Character).collect::<Vec<_>>());
        assert_eq!(keys(b"\xff\x80\xc0\xaf\xed\xa0\x80z"), [Key::Character('z')]);
        assert_eq!(keys(b"\xc3z"), [Key::Character('z')]);
        assert_eq!(keys("\u{9b}".as_bytes()), vec![]);
    }
}
