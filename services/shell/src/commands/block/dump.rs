//! Bytes as `hexdump -C` shows them.

use abi::prelude::*;
use core::fmt::Write;

/// Bytes of a line.
const LINE: usize = 16;

/// Makes lines of bytes that come in pieces. Of equal lines in a row one `*` is shown instead of all but the first.
pub struct Dump {
    /// Where the line that is being collected begins.
    offset: u64,
    line: Vec<u8>,
    previous: Vec<u8>,
    starred: bool,
}

impl Dump {
    /// A dump of what begins at that offset.
    pub fn new(offset: u64) -> Self {
        Self { offset, line: Vec::new(), previous: Vec::new(), starred: false }
    }

    /// Shows the lines that `bytes` complete.
    pub fn add(&mut self, mut bytes: &[u8], mut show: impl FnMut(&str)) {
        while let Some((now, rest)) = bytes.split_at_checked(LINE - self.line.len()) {
            self.line.extend(now);
            bytes = rest;
            self.finish_line(&mut show);
        }
        self.line.extend(bytes);
    }

    /// Shows what is left, and where it ends. Nothing at all is shown of nothing.
    pub fn end(mut self, mut show: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.finish_line(&mut show);
        }
        if !self.previous.is_empty() {
            show(&format!("{:08x}", self.offset));
        }
    }

    fn finish_line(&mut self, show: &mut impl FnMut(&str)) {
        if self.line != self.previous {
            show(&text(self.offset, &self.line));
            self.starred = false;
        } else if !self.starred {
            show("*");
            self.starred = true;
        }
        self.offset += self.line.len() as u64;
        self.previous = core::mem::take(&mut self.line);
    }
}

fn text(offset: u64, bytes: &[u8]) -> String {
    let mut numbers = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let gap = if index == LINE / 2 { " " } else { "" };
        // To write to a string can't fail.
        let _ = write!(numbers, "{gap} {byte:02x}");
    }
    let visible = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
    let characters: String = bytes.iter().map(visible).collect();
    format!("{offset:08x} {numbers:49}  |{characters}|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_look_like_those_of_hexdump() {
        // { printf 'Hello, world!\n\t\377'; head -c 48 /dev/zero; printf 'and more~\177'; } | hexdump -C
        let bytes = [b"Hello, world!\n\t\xff".as_slice(), &[0; 48], b"and more~\x7f"].concat();
        let expected = "\
00000000  48 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 0a 09 ff  |Hello, world!...|
00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000040  61 6e 64 20 6d 6f 72 65  7e 7f                    |and more~.|
0000004a
";
        for piece in [1, 7, 16, 50, 100] {
            let mut shown = String::new();
            let mut show = |line: &str| shown += &format!("{line}\n");
            let mut dump = Dump::new(0);
            bytes.chunks(piece).for_each(|piece| dump.add(piece, &mut show));
            dump.end(&mut show);
            assert_eq!(shown, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn of_nothing_nothing_is_shown_and_offsets_have_as_many_digits_as_they_need() {
        Dump::new(5).end(|line| panic!("{line}"));
        let mut shown = Vec::new();
        let mut dump = Dump::new(0xf_ffff_fff8);
        dump.add(b"abc", |line| panic!("{line}"));
        dump.end(|line| shown.push(line.to_owned()));
        assert_eq!(shown, [format!("ffffffff8  61 62 63{:42}|abc|", ""), "ffffffffb".into()]);
    }
}
