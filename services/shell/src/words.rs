//! A command line, taken apart: words, and where the output goes.

use abi::prelude::*;
use core::iter::Peekable;
use core::str::Chars;

/// A command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The command and its arguments.
    pub words: Vec<String>,
    /// Where the output goes, if not to the terminal.
    pub output: Option<Output>,
}

/// A file for output.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    /// Its path.
    pub path: String,
    /// Whether what it holds stays.
    pub append: bool,
}

impl CommandLine {
    /// Takes a line apart. Words end at white space, which belongs to a word between `'` or `"`, as does everything else.
    /// `> PATH` and `>> PATH` say where the output goes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a quotation doesn't end or a path is missing.
    pub fn parse(text: &str) -> Result<Self> {
        let mut line = Self::default();
        let mut rest = text.chars().peekable();
        loop {
            skip_white_space(&mut rest);
            let arrows = core::iter::from_fn(|| rest.next_if_eq(&'>')).take(2).count();
            skip_white_space(&mut rest);
            let word = word(&mut rest)?;
            match (arrows, word) {
                (0, Some(word)) => line.words.push(word),
                (0, None) => return Ok(line),
                (_, Some(path)) => line.output = Some(Output { path, append: arrows == 2 }),
                (_, None) => return Err(Error::Invalid("a path has to follow `>`".to_owned())),
            }
        }
    }
}

fn skip_white_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|character| character.is_whitespace()).is_some() {}
}

/// The word that begins here, if one does.
fn word(rest: &mut Peekable<Chars<'_>>) -> Result<Option<String>> {
    let (mut word, mut is_there) = (String::new(), false);
    while let Some(character) = rest.next_if(|character| !character.is_whitespace() && *character != '>') {
        is_there = true;
        match character {
            '\'' | '"' => loop {
                match rest.next() {
                    Some(end) if end == character => break,
                    Some(other) => word.push(other),
                    None => return Err(Error::Invalid(format!("the quotation that {character} begins has no end"))),
                }
            },
            other => word.push(other),
        }
    }
    Ok(is_there.then_some(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Option<(String, bool)>) {
        let line = CommandLine::parse(text).expect(text);
        (line.words, line.output.map(|output| (output.path, output.append)))
    }

    #[test]
    fn words_end_at_white_space_outside_of_quotations() {
        for (text, words) in [
            ("", vec![]),
            ("  \t ", vec![]),
            (" echo  a b ", vec!["echo", "a", "b"]),
            ("cat '/vda1/a  b' \"it's\" x'y z'w ''", vec!["cat", "/vda1/a  b", "it's", "xy zw", ""]),
            ("echo 'a > b'", vec!["echo", "a > b"]),
        ] {
            assert_eq!(parsed(text), (words.into_iter().map(str::to_owned).collect(), None), "{text}");
        }
    }

    #[test]
    fn arrows_lead_to_files() {
        for text in ["echo a > /b", "echo a>/b", "> /b echo a", "echo >/b a"] {
            let words = vec!["echo".to_owned(), "a".to_owned()];
            assert_eq!(parsed(text), (words.clone(), Some(("/b".to_owned(), false))), "{text}");
            assert_eq!(parsed(&text.replace('>', ">>")), (words, Some(("/b".to_owned(), true))), "{text}");
        }
        assert_eq!(parsed("a > '/b c'").1, Some(("/b c".to_owned(), false)));
    }

    #[test]
    fn what_is_left_open_is_refused() {
        for text in ["echo >", "echo a >> ", "echo >>> /a", "echo 'a", "echo \"a'"] {
            assert!(CommandLine::parse(text).is_err(), "{text}");
        }
    }
}
