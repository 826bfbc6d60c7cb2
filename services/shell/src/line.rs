//! Editing one line, with a history of earlier ones.
//!
//! The crate `noline` was tried first; it asks the terminal for the cursor's position before each line, and waits for
//! ever for an answer that a pipe doesn't give.

use crate::key::{Decoder, Key};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

/// How many characters a line can have.
const LONGEST: usize = 256;

/// How many lines are remembered.
const REMEMBERED: usize = 32;

const BACK: char = '\x08';
const BELL: char = '\x07';
const ERASE_TO_END: &str = "\x1b[K";
const ERASE_SCREEN: &str = "\x1b[H\x1b[2J";

/// A line being edited.
///
/// What the terminal has to show is appended to a string at each step, with `\n` for a new line and no more of escape
/// sequences than a VT100 has.
pub struct Editor {
    prompt: &'static str,
    completions: fn(&str) -> Vec<String>,
    decoder: Decoder,
    line: Vec<char>,
    cursor: usize,
    history: History,
}

#[derive(Default)]
struct History {
    /// The oldest comes first.
    lines: VecDeque<Vec<char>>,
    /// Which of them is shown, if any.
    shown: Option<usize>,
    /// What was being typed when the history was entered.
    draft: Vec<char>,
}

impl Editor {
    /// An empty line after `prompt`, whose last word Tab completes to one of those that `completions` has for the line.
    pub fn new(prompt: &'static str, completions: fn(&str) -> Vec<String>) -> Self {
        Self {
            prompt,
            completions,
            decoder: Decoder::default(),
            line: Vec::new(),
            cursor: 0,
            history: History::default(),
        }
    }

    /// Shows prompt and line, where the terminal shows nothing of them.
    pub fn show(&self, echo: &mut String) {
        echo.push_str(self.prompt);
        echo.extend(&self.line);
        go_back(self.line.len() - self.cursor, echo);
    }

    /// Takes one byte of input; returns the line when it is complete. The next begins with [`show`](Self::show).
    pub fn feed(&mut self, byte: u8, echo: &mut String) -> Option<String> {
        match self.decoder.feed(byte)? {
            Key::Character(character) => self.insert(character, echo),
            Key::Enter => {
                echo.push('\n');
                return Some(self.take());
            }
            Key::Tab => self.complete(echo),
            Key::Backspace => self.erase(self.cursor.saturating_sub(1), self.cursor, echo),
            Key::Delete => self.erase(self.cursor, (self.cursor + 1).min(self.line.len()), echo),
            Key::Left => self.move_to(self.cursor.saturating_sub(1), echo),
            Key::Right => self.move_to((self.cursor + 1).min(self.line.len()), echo),
            Key::Home => self.move_to(0, echo),
            Key::End => self.move_to(self.line.len(), echo),
            Key::Up => self.recall(History::older, echo),
            Key::Down => self.recall(History::newer, echo),
            Key::EraseBefore => self.erase(0, self.cursor, echo),
            Key::EraseAfter => self.erase(self.cursor, self.line.len(), echo),
            Key::EraseWord => self.erase(self.word_start(), self.cursor, echo),
            Key::Clear => {
                echo.push_str(ERASE_SCREEN);
                self.show(echo);
            }
            Key::Cancel => {
                echo.push_str("^C\n");
                self.line.clear();
                self.cursor = 0;
                self.history.leave();
                self.show(echo);
            }
        }
        None
    }

    /// Ends the line and remembers it.
    fn take(&mut self) -> String {
        let line = mem::take(&mut self.line);
        self.cursor = 0;
        self.history.leave();
        let text = line.iter().collect();
        self.history.remember(line);
        text
    }

    fn insert(&mut self, character: char, echo: &mut String) {
        if self.line.len() == LONGEST {
            echo.push(BELL);
            return;
        }
        self.line.insert(self.cursor, character);
        self.cursor += 1;
        echo.push(character);
        let rest = self.line.get(self.cursor..).unwrap_or_default();
        echo.extend(rest);
        go_back(rest.len(), echo);
    }

    /// Removes what lies from `start` to `end`; the cursor is at one of them.
    fn erase(&mut self, start: usize, end: usize, echo: &mut String) {
        if start == end {
            return;
        }
        self.move_to(start, echo);
        self.line.drain(start..end);
        let rest = self.line.get(self.cursor..).unwrap_or_default();
        echo.extend(rest);
        echo.push_str(ERASE_TO_END);
        go_back(rest.len(), echo);
    }

    fn move_to(&mut self, position: usize, echo: &mut String) {
        go_back(self.cursor.saturating_sub(position), echo);
        echo.extend(self.line.get(self.cursor..position).unwrap_or_default());
        self.cursor = position;
    }

    /// Where the word before the cursor starts.
    fn word_start(&self) -> usize {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let end = before.iter().rposition(|character| *character != ' ').map_or(0, |last| last + 1);
        let word = before.get(..end).unwrap_or_default();
        word.iter().rposition(|character| *character == ' ').map_or(0, |space| space + 1)
    }

    fn recall(&mut self, step: fn(&mut History, &[char]) -> Option<Vec<char>>, echo: &mut String) {
        let Some(line) = step(&mut self.history, &self.line) else { return };
        go_back(self.cursor, echo);
        echo.extend(&line);
        echo.push_str(ERASE_TO_END);
        self.cursor = line.len();
        self.line = line;
    }

    /// Completes the last word as far as it is certain, or lists what it may become.
    fn complete(&mut self, echo: &mut String) {
        let typed: String = self.line.iter().collect();
        if self.cursor < self.line.len() {
            return;
        }
        let word = typed.rsplit(' ').next().unwrap_or_default();
        let mut candidates = (self.completions)(&typed);
        candidates.retain(|candidate| candidate.starts_with(word));
        let Some((first, others)) = candidates.split_first() else { return };
        let common = others.iter().fold(first.len(), |length, other| {
            first.bytes().zip(other.bytes()).take(length).take_while(|(a, b)| a == b).count()
        });
        // Two characters may begin with the same bytes.
        let addition = first.get(word.len()..first.floor_char_boundary(common)).unwrap_or_default();
        for character in addition.chars() {
            self.insert(character, echo);
        }
        if others.is_empty() {
            // A directory goes on.
            if !first.ends_with('/') {
                self.insert(' ', echo);
            }
        } else if addition.is_empty() {
            echo.push('\n');
            echo.push_str(&candidates.join("  "));
            echo.push('\n');
            self.show(echo);
        }
    }
}

impl History {
    /// The line before the one that is shown; `line` is what is being edited.
    fn older(&mut self, line: &[char]) -> Option<Vec<char>> {
        let older = self.shown.unwrap_or(self.lines.len()).checked_sub(1)?;
        if self.shown.is_none() {
            self.draft = line.to_vec();
        }
        self.shown = Some(older);
        self.lines.get(older).cloned()
    }

    /// The line after the one that is shown; after the last, what was being typed before.
    fn newer(&mut self, _line: &[char]) -> Option<Vec<char>> {
        let newer = self.shown? + 1;
        match self.lines.get(newer) {
            Some(line) => {
                self.shown = Some(newer);
                Some(line.clone())
            }
            None => {
                self.shown = None;
                Some(mem::take(&mut self.draft))
            }
        }
    }

    fn leave(&mut self) {
        self.shown = None;
        self.draft.clear();
    }

    /// Adds a line, unless it is blank or the same as the last.
    fn remember(&mut self, line: Vec<char>) {
        if line.iter().all(|character| *character == ' ') || self.lines.back() == Some(&line) {
            return;
        }
        if self.lines.len() == REMEMBERED {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

fn go_back(columns: usize, echo: &mut String) {
    echo.extend(core::iter::repeat_n(BACK, columns));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::format;

    /// What a terminal of one line shows after `output`, and in which column its cursor is.
    fn on_screen(output: &str) -> (String, usize) {
        let (mut row, mut column): (Vec<char>, usize) = (Vec::new(), 0);
        let mut rest = output;
        while let Some(character) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix(ERASE_TO_END) {
                row.truncate(column);
                rest = after;
                continue;
            }
            rest = &rest[character.len_utf8()..];
            match character {
                '\n' => (row, column) = (Vec::new(), 0),
                BACK => column = column.checked_sub(1).expect("the cursor stays on the screen"),
                BELL => {}
                character => {
                    assert!(!character.is_control(), "{character:?} in {output:?}");
                    row.resize(row.len().max(column + 1), ' ');
                    row[column] = character;
                    column += 1;
                }
            }
        }
        (row.into_iter().collect(), column)
    }

    struct Session {
        editor: Editor,
        output: String,
    }

    impl Session {
        fn new() -> Self {
            let editor = Editor::new("> ", |line| {
                let words = match line.contains(' ') {
                    false => ["lsdev", "lsmod", "ip", "insmod", "help"].as_slice(),
                    true => &["/vda1/", "/vdb1/überall", "/vdb1/öde"],
                };
                words.iter().map(|word| (*word).to_owned()).collect()
            });
            let mut output = String::new();
            editor.show(&mut output);
            Self { editor, output }
        }

        /// The lines that `input` completes. After each byte the screen must show the line as it is.
        fn type_in(&mut self, input: &str) -> Vec<String> {
            let mut lines = Vec::new();
            for byte in input.bytes() {
                if let Some(line) = self.editor.feed(byte, &mut self.output) {
                    lines.push(line);
                    self.editor.show(&mut self.output);
                }
                let expected: String = "> ".chars().chain(self.editor.line.iter().copied()).collect();
                assert_eq!(on_screen(&self.output), (expected, 2 + self.editor.cursor), "{:?}", self.output);
            }
            lines
        }
    }

    #[test]
    fn typing_echoes_each_character_once() {
        let mut session = Session::new();
        assert_eq!(session.type_in("help\r"), ["help"]);
        assert_eq!(session.output, "> help\n> ");
    }

    #[test]
    fn lines_from_a_pipe_come_in_order() {
        let mut session = Session::new();
        assert_eq!(session.type_in("one\ntwo\r\nthree\r\r\n"), ["one", "two", "three", ""]);
    }

    #[test]
    fn editing_within_the_line() {
        let cases = [
            ("ac\x1b[Db\r", "abc"),
            ("bc\x01a\r", "abc"),
            ("bc\x1b[Ha\x1b[Fd\r", "abcd"),
            ("abx\x7fc\r", "abc"),
            ("axbc\x1b[D\x1b[D\x08\r", "abc"),
            ("xabc\x01\x1b[3~\r", "abc"),
            ("xabc\x01\x04\r", "abc"),
            ("one two three\x17four\r", "one two four"),
            ("one two   \x17\r", "one "),
            ("one two\x1b[D\x1b[D\x17\r", "one wo"),
            ("one two\x15three\r", "three"),
            ("one two\x1b[D\x1b[D\x15\r", "wo"),
            ("one two\x01\x1b[C\x0b\r", "o"),
            ("\x7f\x1b[3~\x1b[D\x1b[C\x17\x15\x0b\x04a\r", "a"),
            ("gün\x1b[D\x7fr€\r", "gr€n"),
        ];
        for (input, line) in cases {
            assert_eq!(Session::new().type_in(input), [line], "{input:?}");
        }
    }

    #[test]
    fn control_c_throws_the_line_away() {
        let mut session = Session::new();
        assert_eq!(session.type_in("rmmod net\x03help\r"), ["help"]);
        assert_eq!(session.output, "> rmmod net^C\n> help\n> ");
    }

    #[test]
    fn control_l_shows_the_line_on_a_clear_screen() {
        let mut session = Session::new();
        session.type_in("abc\x1b[D");
        session.output.clear();
        session.editor.feed(0x0c, &mut session.output);
        assert_eq!(session.output, "\x1b[H\x1b[2J> abc\x08");
    }

    #[test]
    fn the_history_goes_up_and_down_and_keeps_what_was_being_typed() {
        let mut session = Session::new();
        let (up, down) = ("\x1b[A", "\x1b[B");
        session.type_in("one\r \rtwo\rtwo\r\r");
        for (input, line) in [
            ([up, "\r"].concat(), "two"),
            ([up, up, "\r"].concat(), "one"),
            // "one" has become the latest.
            ([up, "\r"].concat(), "one"),
            ([up, up, up, up, up, "\r"].concat(), "one"),
            (["draft", up, up, down, down, "s\r"].concat(), "drafts"),
            ([down, up, "!\r"].concat(), "drafts!"),
            (["x\x03", up, "\r"].concat(), "drafts!"),
        ] {
            assert_eq!(session.type_in(&input), [line], "{input:?}");
        }
    }

    #[test]
    fn the_history_and_the_line_are_bounded() {
        let mut session = Session::new();
        for number in 0..100 {
            session.type_in(&format!("{number}\r"));
        }
        assert_eq!(session.type_in(&["\x1b[A".repeat(100).as_str(), "\r"].concat()), ["68"]);
        let lines = session.type_in(&["a".repeat(300).as_str(), "\r"].concat());
        assert_eq!(lines, ["a".repeat(LONGEST)]);
        assert!(session.output.contains(BELL));
    }

    #[test]
    fn tab_completes_the_last_word() {
        assert_eq!(Session::new().type_in("he\t\r"), ["help "]);
        assert_eq!(Session::new().type_in("ins\tnet\r"), ["insmod net"]);
        assert_eq!(Session::new().type_in("l\td\t\r"), ["lsdev "]);
        assert_eq!(Session::new().type_in("insmod ip\t\r"), ["insmod ip"]);
        let mut session = Session::new();
        session.type_in("ls\t");
        assert_eq!(session.output, "> ls\nlsdev  lsmod\n> ls");

        assert_eq!(Session::new().type_in("cp /vda\tx /vdb\tü\ty\r"), ["cp /vda1/x /vdb1/überall y"]);
    }
}
